import { recordable } from '../events/registry.ts';
import type { DomainEvent } from '../events/event.ts';
import type { EventStore, NewEvent, Position, RecordedEvent } from '../event-store/port.ts';
import type { StreamName } from '../event-store/stream-name.ts';
import { newEventId } from '../shared/ids.ts';
import type { Decider } from './decider.ts';
import type { FoldedState, FoldedStates } from './folded-states.ts';

/** Who asks, and in what connection. */
export interface CommandContext {
  readonly projectId: string;
  readonly actor: string;
  readonly correlationId: string;
  /** The source's own time of what it reports. */
  readonly occurredAt?: Date;
  readonly identity?: CommandIdentity;
  /** Throws to refuse, given the revision and state that the command would be decided on. */
  readonly precondition?: (revision: bigint | 'no-stream', state: unknown) => void;
}

/**
 * A command that may arrive twice: its events carry `id` as their cause, and an event of that cause
 * after `reservedAt` means that the command has run (in a process that died, or in a twin).
 *
 * Rejected: event ids derived from `id`. The log then answers the append of a twin as if it had been
 * ours, although the twin may have decided otherwise, and the state kept here would not be the log's.
 */
export interface CommandIdentity {
  /** A UUID. */
  readonly id: string;
  /** No event of this command is at or before this position … */
  readonly reservedAt: Position;
  /** … nor, if given, at or before this revision: the search then starts there. */
  readonly reservedAtRevision?: bigint | 'no-stream';
  /** Whether the run was answered: what left no event then decided nothing, and is not run again. */
  readonly isAnswered?: boolean;
}

export type Handled<State> =
  /** The revision of the command's last event, and a position at which the log holds it. */
  | { readonly outcome: 'recorded'; readonly revision: bigint; readonly position: Position }
  /** The command has run before; its events stand there. */
  | { readonly outcome: 'repeated'; readonly revision: bigint; readonly position: Position }
  /** The command decided nothing on this state, which was the stream's newest. */
  | {
      readonly outcome: 'nothing';
      readonly revision: bigint | 'no-stream';
      readonly position: Position;
      readonly state: State;
    };

/** What one append takes at most, well below the 1 MiB of the port. In characters of JSON. */
const MAX_APPEND_SIZE = 400_000;
const MAX_JOBS_PER_APPEND = 256;

interface Job<State, Command, Event extends DomainEvent> {
  readonly decider: Decider<State, Command, Event>;
  readonly command: Command;
  readonly context: CommandContext;
  readonly resolve: (handled: Handled<State>) => void;
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
  ): Promise<Handled<State>> {
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

  async #drain(stream: StreamName, queue: AnyJob[]): Promise<void> {
    while (queue.length > 0) {
      const jobs = takeJobs(queue);
      try {
        await this.#run(stream, jobs);
      } catch (error) {
        // The outcome may be unknown, so what was folded is not trusted any more.
        this.#states.forget(stream);
        for (const { reject } of jobs) reject(error);
      }
    }
    this.#queues.delete(stream);
  }

  async #run(stream: StreamName, jobs: AnyJob[]): Promise<void> {
    const [first] = jobs;
    if (first === undefined) return;
    const { decider } = first;
    let folded: FoldedState<unknown> = await this.#states.load(decider, stream);
    if (jobs.some(({ context }) => context.identity?.isAnswered === true)) {
      folded = (await this.#states.catchUp(decider, stream, folded)).folded;
    }
    let waiting = await this.#withoutRepeated(stream, jobs, folded);
    while (waiting.length > 0) {
      const decided = decideInTurn(waiting, folded);
      const events = decided.results.flatMap(({ events: own }) => own);
      if (events.length > 0) {
        const [appended] = await this.#store.append([
          { stream, events, expectedRevision: folded.revision },
        ]);
        if (appended?.outcome === 'appended') {
          this.#states.remember(decider, stream, {
            state: decided.state,
            revision: appended.revision,
            position: appended.position,
          });
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
      }
      // Nothing was appended, so nothing has shown that the state is the newest: the log is asked.
      // (It is also how a conflict is resolved: the tail holds what came first.)
      const tail = await this.#states.catchUp(decider, stream, folded);
      waiting = settleRepeated(waiting, tail.events);
      if (tail.events.length === 0 && events.length === 0) {
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
    const sought = jobs
      .map(({ context }) => context.identity)
      .filter((identity) => identity !== undefined)
      .filter(({ reservedAt }) => folded.position > reservedAt);
    const runs = await this.#findRuns(stream, sought, folded);
    const waiting: AnyJob[] = [];
    for (const job of jobs) {
      const { identity } = job.context;
      const found = identity && runs.get(identity.id);
      if (found !== undefined) resolveRepeated(job, found);
      else if (identity?.isAnswered === true) job.resolve({ outcome: 'nothing', ...folded });
      else waiting.push(job);
    }
    return waiting;
  }

  /** The last event of each that has run. One pass for all: they may be the many lines of a request. */
  async #findRuns(
    stream: StreamName,
    identities: readonly CommandIdentity[],
    folded: FoldedState<unknown>,
  ): Promise<Map<string, RecordedEvent>> {
    const runs = new Map<string, RecordedEvent>();
    if (folded.revision === 'no-stream') return runs;
    const sought = new Set<string>();
    let reservedAt = folded.position;
    for (const identity of identities) {
      if (identity.reservedAtRevision !== undefined) {
        const run = await this.#findRunAfter(stream, identity, identity.reservedAtRevision, folded);
        if (run !== undefined) runs.set(identity.id, run);
        continue;
      }
      sought.add(identity.id);
      if (identity.reservedAt < reservedAt) reservedAt = identity.reservedAt;
    }
    if (sought.size === 0) return runs;
    const backwards = { from: folded.revision, direction: 'backwards' } as const;
    for await (const event of this.#store.readStream(stream, backwards)) {
      if (event.position <= reservedAt) break;
      const { causationId } = event.metadata;
      if (causationId === undefined || !sought.delete(causationId)) continue;
      runs.set(causationId, event);
      if (sought.size === 0) break;
    }
    return runs;
  }

  async #findRunAfter(
    stream: StreamName,
    { id }: CommandIdentity,
    revision: bigint | 'no-stream',
    folded: FoldedState<unknown>,
  ): Promise<RecordedEvent | undefined> {
    let last: RecordedEvent | undefined;
    const from = revision === 'no-stream' ? 0n : revision + 1n;
    for await (const event of this.#store.readStream(stream, { from })) {
      if (folded.revision === 'no-stream' || event.revision > folded.revision) break;
      if (event.metadata.causationId === id) last = event;
      else if (last !== undefined) break;
    }
    return last;
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
    const id = job.context.identity?.id;
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
  | { readonly job: AnyJob; readonly events: readonly NewEvent[]; readonly state: unknown }
  | { readonly job: AnyJob; readonly events: readonly []; readonly refusal: unknown };

/** Decides as many jobs as one append takes, each on the state that the one before it left. */
function decideInTurn(
  jobs: readonly AnyJob[],
  folded: FoldedState<unknown>,
): { results: Result[]; state: unknown } {
  const results: Result[] = [];
  let { state } = folded;
  let revision = folded.revision;
  let size = 0;
  for (const job of jobs) {
    const { decider, command, context } = job;
    try {
      context.precondition?.(revision, state);
      const decided: readonly DomainEvent[] = decider.decide(state, command);
      const events = decided.map((event) => envelope(event, context));
      if (jobs.length > 1) for (const { data } of events) size += JSON.stringify(data).length;
      if (size > MAX_APPEND_SIZE && results.length > 0) break;
      for (const event of decided) state = decider.evolve(state, event);
      if (events.length > 0) {
        revision = (revision === 'no-stream' ? -1n : revision) + BigInt(events.length);
      }
      results.push({ job, events, state });
    } catch (error) {
      results.push({ job, events: [], refusal: error });
    }
  }
  return { results, state };
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
  for (const result of results) {
    if ('refusal' in result) {
      result.job.reject(result.refusal);
      continue;
    }
    const { job, events, state } = result;
    if (events.length === 0) {
      job.resolve({ outcome: 'nothing', revision, position, state });
      continue;
    }
    revision = (revision === 'no-stream' ? -1n : revision) + BigInt(events.length);
    job.resolve({ outcome: 'recorded', revision, position });
  }
}

/** Answers those whose events stand in the tail (written by a twin), and gives back the others. */
function settleRepeated(jobs: readonly AnyJob[], tail: readonly RecordedEvent[]): AnyJob[] {
  const lastByCause = new Map<string, RecordedEvent>();
  for (const event of tail) {
    if (event.metadata.causationId !== undefined)
      lastByCause.set(event.metadata.causationId, event);
  }
  return jobs.filter((job) => {
    const cause = job.context.identity?.id;
    const found = cause === undefined ? undefined : lastByCause.get(cause);
    if (found === undefined) return true;
    resolveRepeated(job, found);
    return false;
  });
}

function resolveRepeated(job: AnyJob, { revision, position }: RecordedEvent): void {
  job.resolve({ outcome: 'repeated', revision, position });
}
