import type { DomainEvent } from '../../events/event.ts';
import type { NewEvent } from '../../event-store/port.ts';
import type { StreamName } from '../../event-store/stream-name.ts';
import { LedgerError } from '../../shared/errors.ts';
import { envelope, type CommandContext } from './context.ts';
import type { Decider } from './decider.ts';
import { endOf, type FoldedState } from './folded-states.ts';
import type { Handled } from './handler.ts';

/** A command that waits to be decided, and whoever waits for its answer. */
export interface Job<State, Command, Event extends DomainEvent> {
  readonly decider: Decider<State, Command, Event>;
  readonly command: Command;
  readonly context: CommandContext;
  readonly resolve: (handled: Handled<State, Event>) => void;
  readonly reject: (error: unknown) => void;
}

// oxlint-disable-next-line typescript/no-explicit-any -- a stream's queue holds one decider's jobs
export type AnyJob = Job<any, any, any>;

/**
 * Commands are appended together up to so many bytes of data and metadata, well below the 1 MiB
 * that the port takes.
 */
const MAX_APPEND_BYTES = 400_000;
const MAX_JOBS_PER_APPEND = 256;

/**
 * The next jobs of a queue, which keeps the others. Copies of one identified command are not
 * decided together, since none would find the events of the other; the later finds what the first
 * has done.
 */
export function takeJobs(queue: AnyJob[]): AnyJob[] {
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

/** What one job was decided to, on the state that the job before it left. */
export type Decided =
  | {
      readonly job: AnyJob;
      readonly decided: readonly DomainEvent[];
      readonly events: readonly NewEvent[];
      readonly state: unknown;
      /** Where the stream ends once the events are recorded; without any, where it ended before. */
      readonly revision: bigint | 'no-stream';
    }
  | { readonly job: AnyJob; readonly events: readonly []; readonly refusal: unknown };

/** Decides as many jobs as one append takes, each on the state that the one before it left. */
export function decideInTurn(
  stream: StreamName,
  jobs: readonly AnyJob[],
  folded: FoldedState<unknown>,
): { results: Decided[]; state: unknown } {
  const results: Decided[] = [];
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
      if (events.length > 0) {
        revision = end = (end === 'no-stream' ? -1n : end) + BigInt(events.length);
      }
      results.push({ job, decided, events, state, revision });
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

/** Decides a command that has run on a past state, and recorded nothing there. */
export function decideAgain(
  { decider, command, context }: AnyJob,
  past: FoldedState<unknown>,
): Handled<unknown> {
  context.precondition?.(past.revision, past.state);
  decider.decide(past.state, command);
  const { state, revision, position } = past;
  return { outcome: 'nothing', events: [], state, revision, position };
}
