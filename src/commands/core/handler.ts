import type { DomainEvent } from '../../events/event.ts';
import type { EventStore, Position } from '../../event-store/port.ts';
import type { StreamName } from '../../event-store/stream-name.ts';
import { appendOne } from './append.ts';
import type { CommandContext, CommandIdentity } from './context.ts';
import type { Decider } from './decider.ts';
import {
  decideAgain,
  decideInTurn,
  takeJobs,
  type AnyJob,
  type Decided,
} from './decide-in-turn.ts';
import { EarlierRuns, runsOn, type Place } from './earlier-runs.ts';
import { endOf, type FoldedState, type FoldedStates } from './folded-states.ts';

/** What became of a command, and the state that it left: its answer needs nothing else. */
export type Handled<State, Event extends DomainEvent = DomainEvent> = {
  readonly state: State;
  /** A position at which the log holds what the command did. */
  readonly position: Position;
  /** What this run of the command has recorded. */
  readonly events: readonly Event[];
} & (
  | { readonly outcome: 'recorded'; readonly revision: bigint }
  /**
   * The command has run before: its last event has this revision, and left this state. (Of a
   * decider that `isAnsweredByRevision`, the state is the newest.)
   */
  | { readonly outcome: 'repeated'; readonly revision: bigint }
  /** The command decided nothing on this state, which was the stream's newest. */
  | { readonly outcome: 'nothing'; readonly revision: bigint | 'no-stream' }
);

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
   * Whether a command has run, as a stream shows that was folded to its end: `execute` then gives
   * its answer again, and records nothing.
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
      const { results, state } = decideInTurn(stream, waiting, folded);
      const events = results.flatMap(({ events: own }) => own);
      let refusedFor: bigint | 'no-stream' | undefined;
      if (events.length > 0) {
        const write = { stream, events, expectedRevision: endOf(folded) };
        const appended = await appendOne(this.#store, write);
        if (appended.outcome === 'appended') {
          const { revision, position } = appended;
          folded = { state, revision, position };
          await this.#settleRecorded(stream, decider, results, folded);
          // What did not fit into this append is decided on the state it left.
          waiting = waiting.slice(results.length);
          continue;
        }
        refusedFor = appended.actualRevision;
      }
      // Nothing was appended, so nothing has shown that the state is the newest: the log is asked.
      // (It is also how a conflict is resolved: the tail holds what came first.)
      const runs = new EarlierRuns(waiting.map(({ context }) => context.identity));
      const tail = await this.#states.catchUp(decider, stream, folded, {
        ...(refusedFor !== undefined && { refusedFor }),
        onEvent: (event) => runs.note(event),
      });
      waiting = tail.isComplete
        ? await this.#settleRepeated(stream, waiting, runs, tail.folded)
        : await this.#withoutRepeated(stream, waiting, tail.folded);
      if (!tail.isNewer && events.length === 0) {
        settle(results, folded.position);
        waiting = waiting.slice(results.length);
      }
      folded = tail.folded;
    }
  }

  async #settleRecorded(
    stream: StreamName,
    decider: AnyJob['decider'],
    results: readonly Decided[],
    after: FoldedState<unknown>,
  ): Promise<void> {
    if (decider.isTimedByLog !== true) {
      this.#states.remember(decider, stream, after);
      settle(results, after.position);
      return;
    }
    this.#states.forget(stream);
    const revisions = results.flatMap((result) =>
      'refusal' in result || result.revision === 'no-stream' ? [] : result.revision,
    );
    // What is recorded is answered, also where it cannot be read again: by the time of this
    // process.
    const asRecorded = await this.#states
      .after(decider, stream, revisions)
      .catch(() => new Map<bigint, FoldedState<unknown>>());
    settle(results, after.position, (revision) => asRecorded.get(revision)?.state);
  }

  /** Answers the identified commands that have run already, and gives back the others. */
  async #withoutRepeated(
    stream: StreamName,
    jobs: readonly AnyJob[],
    folded: FoldedState<unknown>,
  ): Promise<AnyJob[]> {
    const identities = jobs.flatMap(({ context: { identity } }) => identity ?? []);
    const runs = await runsOn(this.#store, stream, identities, folded);
    return this.#settleRepeated(stream, jobs, runs, folded);
  }

  /**
   * Answers the commands that have run, as the events of their causes show, and gives back the
   * others. One that left no event is decided again on the state before the next command of its
   * cause, since it was refused there or changed nothing.
   */
  async #settleRepeated(
    stream: StreamName,
    jobs: readonly AnyJob[],
    runs: EarlierRuns,
    newest: FoldedState<unknown>,
  ): Promise<AnyJob[]> {
    const waiting: AnyJob[] = [];
    const repeated: { job: AnyJob; event: Place | undefined; revision: bigint }[] = [];
    for (const job of jobs) {
      const repetition = runs.repetitionOf(job.context.identity);
      if (repetition === undefined) waiting.push(job);
      else {
        const { event } = repetition;
        const revision = event === undefined ? repetition.before - 1n : event.revision;
        repeated.push({ job, event, revision });
      }
    }
    const needed = repeated.filter(
      ({ job, event }) => event === undefined || job.decider.isAnsweredByRevision !== true,
    );
    const [first] = needed;
    const pasts =
      first === undefined
        ? new Map<bigint, FoldedState<unknown>>()
        : await this.#states.after(
            first.job.decider,
            stream,
            needed.map(({ revision }) => revision),
          );
    for (const { job, event, revision } of repeated) {
      const past = pasts.get(revision) ?? newest;
      if (event !== undefined) {
        job.resolve({ outcome: 'repeated', events: [], state: past.state, ...event });
        continue;
      }
      try {
        job.resolve(decideAgain(job, past));
      } catch (error) {
        job.reject(error);
      }
    }
    return waiting;
  }
}

/** Answers what was decided. `stateAt`: the state after a revision, where the log knows better. */
function settle(
  results: readonly Decided[],
  position: Position,
  stateAt: (revision: bigint) => unknown = () => undefined,
): void {
  for (const result of results) {
    if ('refusal' in result) {
      result.job.reject(result.refusal);
      continue;
    }
    const { job, decided, revision } = result;
    const state = (revision === 'no-stream' ? undefined : stateAt(revision)) ?? result.state;
    const handled = { events: decided, position, state };
    if (decided.length === 0 || revision === 'no-stream') {
      job.resolve({ ...handled, outcome: 'nothing', revision });
    } else job.resolve({ ...handled, outcome: 'recorded', revision });
  }
}
