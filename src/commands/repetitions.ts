import type { Position, RecordedEvent } from '../event-store/port.ts';

interface Place {
  readonly revision: bigint;
  readonly position: Position;
}

interface CommandRun {
  readonly first: Place;
  readonly last: Place;
}

/** How it shows that a command has run: by its last event, or by the first of a later command. */
type Repetition =
  { readonly event: Place } | { readonly event: undefined; readonly before: bigint };

interface Identity {
  readonly id: string;
  readonly ordinal?: number;
}

/**
 * What causes have left on a stream: where the first and the last event of each of their commands
 * stand. Events are noted one by one and not kept, as a stream may be longer than memory.
 */
export class Runs {
  readonly #runs = new Map<string, Map<number, CommandRun>>();

  /** Only events of these causes are noted. */
  constructor(identities: readonly (Identity | undefined)[]) {
    for (const identity of identities) {
      if (identity !== undefined) this.#runs.set(identity.id, new Map());
    }
  }

  note({ revision, position, metadata }: RecordedEvent): void {
    const { causationId, causationOrdinal = 0 } = metadata;
    const run = causationId === undefined ? undefined : this.#runs.get(causationId);
    if (run === undefined) return;
    const place = { revision, position };
    const { first = place, last = place } = run.get(causationOrdinal) ?? {};
    run.set(causationOrdinal, {
      first: revision < first.revision ? place : first,
      last: revision > last.revision ? place : last,
    });
  }

  /** Whether a command has run, as far as the noted events show. */
  repetitionOf(identity: Identity | undefined): Repetition | undefined {
    const run = identity && this.#runs.get(identity.id);
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
}
