import { recordable } from '../../events/registry.ts';
import type { DomainEvent } from '../../events/event.ts';
import type { EventStore, NewEvent, Position } from '../../event-store/port.ts';
import type { StreamName } from '../../event-store/stream-name.ts';
import { LedgerError } from '../../shared/errors.ts';
import { newEventId } from '../../shared/ids.ts';
import type { CommandGroup } from './command-group.ts';
import type { Decider } from './decider.ts';
import { endOf, type FoldedState, type FoldedStates } from './folded-states.ts';
import { EarlierRuns, runsOn } from './earlier-runs.ts';

/** Who asks, and in what connection. */
export interface CommandContext {
  readonly projectId: string;
  readonly actor: string;
  readonly correlationId: string;
  /** The source's own time of what it reports. */
  readonly occurredAt?: Date;
  readonly identity?: CommandIdentity;
  /** The other commands of its request, which may not run when this one fails. */
  readonly group?: CommandGroup;
  /** Throws to refuse, given the revision and state that the command would be decided on. */
  readonly precondition?: (revision: bigint | 'no-stream', state: unknown) => void;
}

/**
 * A command that may arrive twice: its events carry `id` as their cause, and one of them after
 * `reservedAt` means that the command has run (in a process that died, or in a twin).
 */
export interface CommandIdentity {
  /** A UUID, of the request or the message. */
  readonly id: string;
  /**
   * Which command of that cause it is. Those on one stream run in this order (their group sees to
   * it), so an event of a later one shows that an earlier one has run, also when it recorded nothing.
   * Default: 0.
   */
  readonly ordinal?: number;
  /** No event of this cause is at or before this position … */
  readonly reservedAt: Position;
  /** … nor, if given, at or before this revision: the search then starts there. */
  readonly reservedAtRevision?: bigint | 'no-stream';
}

export type Handled<State, Event extends DomainEvent = DomainEvent> =
  /** The revision of the command's last event, a position at which the log holds it, and the state after it. */
  | {
      readonly outcome: 'recorded';
      readonly revision: bigint;
      readonly position: Position;
      readonly events: readonly Event[];
      readonly state: State;
    }
  /** The command has run before; its events stand there. */
  | { readonly outcome: 'repeated'; readonly revision: bigint; readonly position: Position }
  /** The command decided nothing on this state, which was the stream's newest. */
  | {
      readonly outcome: 'nothing';
      readonly revision: bigint | 'no-stream';
      readonly position: Position;
      readonly state: State;
    };

/**
 * Commands are appended together up to so many bytes of data and metadata, well below the 1 MiB that
 * the port takes.
 */
const MAX_APPEND_BYTES = 400_000;
const MAX_JOBS_PER_APPEND = 256;

interface Job<State, Command, Event extends DomainEvent> {
  readonly decider: Decider<State, Command, Event>;
  readonly command: Command;
  readonly context: CommandContext;
  readonly resolve: (handled: Handled<State, Event>) => void;
  readonly reject: (error: unknown) => void;
}

// oxlint-disable-next-line typescript/no-explicit-any -- the queue of a stream holds one decider's jobs
type AnyJob = Job<any, any, any>;

/**
 * Runs commands: load, decide, append with the expected revision, and on a conflict fold the tail
 * and decide again.
 *
 * Commands on one stream queue up in this process and are decided together, each on the state that
 * the one before it left, and appended as one write: against themselves they never conflict, and a
 * busy stream costs a flush for many commands instead of one for each.
 */
export class CommandHandler {
  readonly #store: EventStore;
  readonly #states: FoldedStates;
  readonly #queues = new Map<StreamName, AnyJob[]>();

  constructor(store: EventStore, states: FoldedStates) {
    this.#store = store;
    this.#states = states;
  }

  execute<State, Command, Event extends DomainEvent>(
    decider: Decider<State, Command, Event>,
    stream: StreamName,
    command: Command,
    context: CommandContext,
  ): Promise<Handled<State, Event>> {
    return new Promise((resolve, reject) => {
      const job: AnyJob = { decider, command, context, resolve, reject };
      const queue = this.#queues.get(stream);
      if (queue !== undefined) {
        queue.push(job);
        return;
      }
      const started = [job];
      this.#queues.set(stream, started);
      void this.#drain(stream, started);
    });
  }

  /** The state of a stream that another aggregate decides by, at most `maxAgeMs` behind the log. */
  async peek<State, Command, Event extends DomainEvent>(
    decider: Decider<State, Command, Event>,
    stream: StreamName,
    maxAgeMs: number,
  ): Promise<FoldedState<State>> {
    return (await this.#states.load(decider, stream, maxAgeMs)) as FoldedState<State>;
  }

  /**
   * Whether a command has run, as a stream shows that was folded to its end: `execute` then gives its
   * answer again, and records nothing.
   */
  async hasRun(
    stream: StreamName,
    folded: FoldedState<unknown>,
    identity: CommandIdentity | undefined,
  ): Promise<boolean> {
    if (identity === undefined) return false;
    const runs = await runsOn(this.#store, stream, [identity], folded);
    return runs.repetitionOf(identity) !== undefined;
  }

  /** The state that a stream had right after its event of a revision, as the log has it. */
  async stateAfter<State, Command, Event extends DomainEvent>(
    decider: Decider<State, Command, Event>,
    stream: StreamName,
    revision: bigint,
  ): Promise<State> {
    return (await this.#states.before(decider, stream, revision + 1n)).state as State;
  }

  async #drain(stream: StreamName, queue: AnyJob[]): Promise<void> {
    while (queue.length > 0) {
      const jobs = takeJobs(queue);
      try {
        await this.#run(stream, jobs);
      } catch (error) {
        // The outcome may be unknown, so what was folded is not trusted any more.
        this.#states.forget(stream);
        for (const { context, reject } of jobs) {
          context.group?.fail(error, stream);
          reject(error);
        }
      }
    }
    this.#queues.delete(stream);
  }

  async #run(stream: StreamName, jobs: AnyJob[]): Promise<void> {
    const [first] = jobs;
    if (first === undefined) return;
    const { decider } = first;
    let folded: FoldedState<unknown> = await this.#states.load(decider, stream);
    let waiting = await this.#withoutRepeated(stream, jobs, folded);
    while (waiting.length > 0) {
      const decided = decideInTurn(stream, waiting, folded);
      const events = decided.results.flatMap(({ events: own }) => own);
      let refusedFor: bigint | 'no-stream' | undefined;
      if (events.length > 0) {
        const [appended] = await this.#store.append([
          { stream, events, expectedRevision: endOf(folded) },
        ]);
        if (appended?.outcome === 'appended') {
          if (decider.isTimedByLog === true) this.#states.forget(stream);
          else {
            this.#states.remember(decider, stream, {
              state: decided.state,
              revision: appended.revision,
              position: appended.position,
            });
          }
          settle(decided.results, folded, appended.position);
          // What did not fit into this append is decided on the state it left.
          const rest = waiting.slice(decided.results.length);
          folded = {
            state: decided.state,
            revision: appended.revision,
            position: appended.position,
          };
          waiting = rest;
          continue;
        }
        refusedFor = appended?.actualRevision;
      }
      // Nothing was appended, so nothing has shown that the state is the newest: the log is asked.
      // (It is also how a conflict is resolved: the tail holds what came first.)
      const runs = new EarlierRuns(waiting.map(({ context }) => context.identity));
      const tail = await this.#states.catchUp(decider, stream, folded, {
        ...(refusedFor !== undefined && { refusedFor }),
        onEvent: (event) => runs.note(event),
      });
      waiting = tail.isComplete
        ? await this.#settleRepeated(stream, waiting, runs)
        : await this.#withoutRepeated(stream, waiting, tail.folded);
      if (!tail.isNewer && events.length === 0) {
        settle(decided.results, folded, folded.position);
        waiting = waiting.slice(decided.results.length);
      }
      folded = tail.folded;
    }
  }

  /** Answers the identified commands that have run already, and gives back the others. */
  async #withoutRepeated(
    stream: StreamName,
    jobs: readonly AnyJob[],
    folded: FoldedState<unknown>,
  ): Promise<AnyJob[]> {
    const identities = jobs.flatMap(({ context: { identity } }) => identity ?? []);
    const runs = await runsOn(this.#store, stream, identities, folded);
    return this.#settleRepeated(stream, jobs, runs);
  }

  /**
   * Answers the commands that have run, as the events of their causes show, and gives back the others.
   * One that left no event is decided again on the state before the next command of its cause, since
   * it was refused there or changed nothing.
   */
  async #settleRepeated(
    stream: StreamName,
    jobs: readonly AnyJob[],
    runs: EarlierRuns,
  ): Promise<AnyJob[]> {
    const waiting: AnyJob[] = [];
    const pasts = new Map<bigint, FoldedState<unknown>>();
    for (const job of jobs) {
      const repetition = runs.repetitionOf(job.context.identity);
      if (repetition === undefined) waiting.push(job);
      else if (repetition.event !== undefined) {
        const { revision, position } = repetition.event;
        job.resolve({ outcome: 'repeated', revision, position });
      } else {
        const { before } = repetition;
        const past = pasts.get(before) ?? (await this.#states.before(job.decider, stream, before));
        pasts.set(before, past);
        settleUnrecorded(job, past);
      }
    }
    return waiting;
  }
}

/**
 * The next jobs of a queue, which keeps the others. Copies of one identified command are not decided
 * together, since none would find the events of the other; the later finds what the first has done.
 */
function takeJobs(queue: AnyJob[]): AnyJob[] {
  const identities = new Set<string>();
  const first = queue.splice(0, MAX_JOBS_PER_APPEND);
  const taken: AnyJob[] = [];
  const copies: AnyJob[] = [];
  for (const job of first) {
    const { identity } = job.context;
    const id = identity && `${identity.id}:${identity.ordinal ?? 0}`;
    if (id !== undefined && identities.has(id)) {
      copies.push(job);
      continue;
    }
    if (id !== undefined) identities.add(id);
    taken.push(job);
  }
  queue.unshift(...copies);
  return taken;
}

type Result =
  | {
      readonly job: AnyJob;
      readonly decided: readonly DomainEvent[];
      readonly events: readonly NewEvent[];
      readonly state: unknown;
    }
  | { readonly job: AnyJob; readonly events: readonly []; readonly refusal: unknown };

/** Decides as many jobs as one append takes, each on the state that the one before it left. */
function decideInTurn(
  stream: StreamName,
  jobs: readonly AnyJob[],
  folded: FoldedState<unknown>,
): { results: Result[]; state: unknown } {
  const results: Result[] = [];
  let { state, revision } = folded;
  let end = endOf(folded);
  let bytes = 0;
  for (const job of jobs) {
    const { decider, command, context } = job;
    const failure = context.group?.failureOn(stream);
    if (failure !== undefined) {
      results.push({ job, events: [], refusal: failure.error });
      continue;
    }
    try {
      context.precondition?.(revision, state);
      const decided: readonly DomainEvent[] = decider.decide(state, command);
      const events = decided.map((event) => envelope(event, context));
      if (jobs.length > 1) bytes += events.reduce((sum, one) => sum + bytesOf(one), 0);
      if (bytes > MAX_APPEND_BYTES && results.length > 0) break;
      for (const event of decided) state = decider.evolve(state, event);
      if (events.length > 0) revision = end = lengthened(end, events);
      results.push({ job, decided, events, state });
    } catch (error) {
      if (!(error instanceof LedgerError)) context.group?.fail(error, stream);
      results.push({ job, events: [], refusal: error });
    }
  }
  return { results, state };
}

function bytesOf({ data, metadata }: NewEvent): number {
  return Buffer.byteLength(JSON.stringify(data)) + Buffer.byteLength(JSON.stringify(metadata));
}

/** Where a stream ends after an append. */
function lengthened(end: bigint | 'no-stream', events: readonly unknown[]): bigint {
  return (end === 'no-stream' ? -1n : end) + BigInt(events.length);
}

function envelope(event: DomainEvent, context: CommandContext): NewEvent {
  const { projectId, actor, correlationId, occurredAt, identity } = context;
  return {
    id: newEventId(),
    ...recordable(event, {
      projectId,
      actor,
      correlationId,
      ...(identity && { causationId: identity.id }),
      ...(identity?.ordinal !== undefined && { causationOrdinal: identity.ordinal }),
      ...(occurredAt && { occurredAt: occurredAt.toISOString() }),
    }),
  };
}

function settle(
  results: readonly Result[],
  before: FoldedState<unknown>,
  position: Position,
): void {
  let { revision } = before;
  let end = endOf(before);
  for (const result of results) {
    if ('refusal' in result) {
      result.job.reject(result.refusal);
      continue;
    }
    const { job, decided, events, state } = result;
    if (events.length === 0) {
      job.resolve({ outcome: 'nothing', revision, position, state });
      continue;
    }
    revision = end = lengthened(end, events);
    job.resolve({ outcome: 'recorded', revision, position, events: decided, state });
  }
}

/** Answers a command that has run on a past state, and recorded nothing. */
function settleUnrecorded(
  { decider, command, context, resolve, reject }: AnyJob,
  past: FoldedState<unknown>,
): void {
  try {
    context.precondition?.(past.revision, past.state);
    decider.decide(past.state, command);
    resolve({ outcome: 'nothing', ...past });
  } catch (error) {
    reject(error);
  }
}
