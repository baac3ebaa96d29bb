import type { EventStore, Position, RecordedEvent } from '../../event-store/port.ts';
import type { StreamName } from '../../event-store/stream-name.ts';
import type { FoldedState } from './folded-states.ts';

export interface Place {
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

/** Where the search for the events of a command begins (`CommandIdentity`). */
interface ReservedIdentity extends Identity {
  readonly reservedAt: Position;
  readonly reservedAtRevision?: bigint | 'no-stream';
}

/**
 * What causes have left on a stream: where the first and the last event of each of their commands
 * stand. Events are noted one by one and not kept, as a stream may be longer than memory.
 */
export class EarlierRuns {
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

/** What commands have left on a stream, up to the end of its folded state. */
export async function runsOn(
  store: EventStore,
  stream: StreamName,
  identities: readonly ReservedIdentity[],
  folded: FoldedState<unknown>,
): Promise<EarlierRuns> {
  const searched = identities.filter(({ reservedAt }) => folded.position > reservedAt);
  const runs = new EarlierRuns(searched);
  for (const identity of searched) {
    if (identity.reservedAtRevision === undefined) continue;
    await noteRunsOf(store, stream, identity, folded, runs);
  }
  // One reading for all that are only known by position: many come from one request.
  const byPosition = searched.filter((identity) => identity.reservedAtRevision === undefined);
  if (byPosition.length > 0 && folded.revision !== 'no-stream') {
    const oldest = byPosition.reduce(
      (position, { reservedAt }) => (reservedAt < position ? reservedAt : position),
      folded.position,
    );
    const backwards = { from: folded.revision, direction: 'backwards' } as const;
    for await (const event of store.readStream(stream, backwards)) {
      if (event.position <= oldest) break;
      runs.note(event);
    }
  }
  return runs;
}

/**
 * Notes the events of a cause, which stand together, from the revision on that it was reserved at.
 */
async function noteRunsOf(
  store: EventStore,
  stream: StreamName,
  { id, reservedAtRevision }: ReservedIdentity,
  folded: FoldedState<unknown>,
  runs: EarlierRuns,
): Promise<void> {
  let isFound = false;
  const from = typeof reservedAtRevision === 'bigint' ? reservedAtRevision + 1n : 0n;
  for await (const event of store.readStream(stream, { from })) {
    if (folded.revision === 'no-stream' || event.revision > folded.revision) break;
    const isOwn = event.metadata.causationId === id;
    if (isFound && !isOwn) break;
    isFound = isOwn;
    runs.note(event);
  }
}
