import { LRUCache } from 'lru-cache';
import { domainEvent, isKnownType } from '../events/registry.ts';
import type { EventStore, Position, RecordedEvent, SnapshotStore } from '../event-store/port.ts';
import { BEGINNING } from '../event-store/port.ts';
import type { StreamName } from '../event-store/stream-name.ts';
import type { JsonObject } from '../shared/json.ts';
import type { Logger } from '../shared/logger.ts';
import type { Decider } from './decider.ts';

export interface FoldedState<State> {
  readonly state: State;
  readonly revision: bigint | 'no-stream';
  /** Of the stream's last event; `BEGINNING` when there is none. */
  readonly position: Position;
}

interface Cached extends FoldedState<unknown> {
  readonly size: number;
  /** When the log was last seen to end here (performance.now()). */
  readonly checkedAtMs: number;
  readonly snapshotRevision: bigint;
}

// oxlint-disable-next-line typescript/no-explicit-any -- the folds of all aggregates meet here
type AnyDecider = Decider<any, any, any>;

const MAX_CACHE_SIZE = 128 * 1024 * 1024;
const MAX_CACHED_STREAMS = 100_000;
const SNAPSHOT_EVERY = 500n;

/**
 * What streams have folded to, in a bounded cache over snapshots over the log: a command on a stream
 * of a million events costs what it costs on a stream of ten.
 */
export class FoldedStates {
  readonly #store: EventStore;
  readonly #snapshots: SnapshotStore;
  readonly #logger: Logger;
  readonly #cache = new LRUCache<StreamName, Cached>({
    max: MAX_CACHED_STREAMS,
    maxSize: MAX_CACHE_SIZE,
    sizeCalculation: ({ size }) => size,
  });

  constructor(store: EventStore, snapshots: SnapshotStore, logger: Logger) {
    this.#store = store;
    this.#snapshots = snapshots;
    this.#logger = logger;
  }

  /** The folded state, which may be behind the log by `maxAgeMs`: an append would notice. */
  async load(
    decider: AnyDecider,
    stream: StreamName,
    maxAgeMs = Number.POSITIVE_INFINITY,
  ): Promise<FoldedState<unknown>> {
    const cached = this.#cache.get(stream);
    if (cached === undefined) return this.#loadCold(decider, stream);
    if (performance.now() - cached.checkedAtMs <= maxAgeMs) return cached;
    return (await this.catchUp(decider, stream, cached)).folded;
  }

  /** Folds what the log holds beyond a state, and gives the events that did. */
  async catchUp(
    decider: AnyDecider,
    stream: StreamName,
    from: FoldedState<unknown>,
  ): Promise<{ folded: FoldedState<unknown>; events: RecordedEvent[] }> {
    const events: RecordedEvent[] = [];
    let folded = from;
    const next = from.revision === 'no-stream' ? 0n : from.revision + 1n;
    for await (const event of this.#store.readStream(stream, { from: next })) {
      folded = foldOne(decider, folded, event);
      events.push(event);
    }
    this.remember(decider, stream, folded);
    return { folded, events };
  }

  /** The state that a stream had before its event of a revision. */
  async before(
    decider: AnyDecider,
    stream: StreamName,
    revision: bigint,
  ): Promise<FoldedState<unknown>> {
    const snapshot = await this.#snapshots.load(stream, decider.fold);
    const isOlder = snapshot !== undefined && snapshot.revision < revision;
    let folded: FoldedState<unknown> = isOlder
      ? snapshot
      : { state: decider.initialState, revision: 'no-stream', position: BEGINNING };
    const from = folded.revision === 'no-stream' ? 0n : folded.revision + 1n;
    for await (const event of this.#store.readStream(stream, { from })) {
      if (event.revision >= revision) break;
      folded = foldOne(decider, folded, event);
    }
    return folded;
  }

  remember(decider: AnyDecider, stream: StreamName, folded: FoldedState<unknown>): void {
    const snapshotRevision = this.#cache.peek(stream)?.snapshotRevision ?? -1n;
    this.#keep(decider, stream, folded, snapshotRevision);
  }

  forget(stream: StreamName): void {
    this.#cache.delete(stream);
  }

  async #loadCold(decider: AnyDecider, stream: StreamName): Promise<FoldedState<unknown>> {
    const snapshot = await this.#snapshots.load(stream, decider.fold);
    let folded: FoldedState<unknown> = snapshot ?? {
      state: decider.initialState,
      revision: 'no-stream',
      position: BEGINNING,
    };
    const from = snapshot === undefined ? 0n : snapshot.revision + 1n;
    // Folded one by one, never held together: a stream may be longer than memory.
    for await (const event of this.#store.readStream(stream, { from })) {
      folded = foldOne(decider, folded, event);
    }
    this.#keep(decider, stream, folded, snapshot?.revision ?? -1n);
    return folded;
  }

  #keep(
    decider: AnyDecider,
    stream: StreamName,
    folded: FoldedState<unknown>,
    snapshotRevision: bigint,
  ): void {
    const { state, revision, position } = folded;
    // A reading that began before the append of another may end after it.
    const cached = this.#cache.peek(stream);
    if (cached !== undefined && cached.position > position) return;
    const isDue = revision !== 'no-stream' && revision - snapshotRevision >= SNAPSHOT_EVERY;
    this.#cache.set(stream, {
      state,
      revision,
      position,
      size: 500 + stream.length + decider.sizeOf(state),
      checkedAtMs: performance.now(),
      snapshotRevision: isDue ? revision : snapshotRevision,
    });
    if (!isDue) return;
    this.#snapshots
      .save(stream, decider.fold, { revision, position, state: state as JsonObject })
      .catch((error: unknown) =>
        this.#logger.debug({ err: error, stream }, 'no snapshot was saved'),
      );
  }
}

function foldOne(
  decider: AnyDecider,
  { state }: FoldedState<unknown>,
  event: RecordedEvent,
): FoldedState<unknown> {
  return {
    state: isKnownType(event.type) ? (decider.evolve(state, domainEvent(event)) as unknown) : state,
    revision: event.revision,
    position: event.position,
  };
}
