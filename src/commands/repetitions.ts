import type { RecordedEvent } from '../event-store/port.ts';

/** What a cause has left on a stream: the first and the last event of each of its commands. */
type Runs = ReadonlyMap<string, ReadonlyMap<number, CommandRun>>;

interface CommandRun {
  readonly first: RecordedEvent;
  readonly last: RecordedEvent;
}

export function runsIn(events: readonly RecordedEvent[]): Runs {
  const runs = new Map<string, Map<number, CommandRun>>();
  for (const event of events) {
    const { causationId, causationOrdinal = 0 } = event.metadata;
    if (causationId === undefined) continue;
    const run = runs.get(causationId) ?? new Map<number, CommandRun>();
    runs.set(causationId, run);
    const { first = event, last = event } = run.get(causationOrdinal) ?? {};
    run.set(causationOrdinal, {
      first: event.revision < first.revision ? event : first,
      last: event.revision > last.revision ? event : last,
    });
  }
  return runs;
}

/** How it shows that a command has run: by its last event, or by the first of a later command. */
type Repetition =
  { readonly event: RecordedEvent } | { readonly event: undefined; readonly before: bigint };

/** Whether a command has run, as far as the events show of which `runs` were made. */
export function repetitionOf(
  identity: { readonly id: string; readonly ordinal?: number } | undefined,
  runs: Runs,
): Repetition | undefined {
  const run = identity && runs.get(identity.id);
  if (identity === undefined || run === undefined) return undefined;
  const ordinal = identity.ordinal ?? 0;
  const own = run.get(ordinal);
  if (own !== undefined) return { event: own.last };
  const later = [...run]
    .filter(([other]) => other > ordinal)
    .map(([, { first }]) => first.revision);
  if (later.length === 0) return undefined;
  return { event: undefined, before: later.reduce((a, b) => (a < b ? a : b)) };
}
