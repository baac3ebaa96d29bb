import { LRUCache } from 'lru-cache';
import { domainEvent, isKnownType } from '../../events/registry.ts';
import type { EventStore, Position, RecordedEvent, SnapshotStore } from '../../event-store/port.ts';
import { BEGINNING } from '../../event-store/port.ts';
import {
  EventMissingError,
  LogWentBackError,
  revisionBeyond,
} from '../../event-store/log-went-back.ts';
import type { StreamName } from '../../event-store/stream-name.ts';
import type { JsonObject } from '../../shared/json.ts';
import type { Logger } from '../../shared/logger.ts';
import type { Decider } from './decider.ts';

export interface FoldedState<State> {
  readonly state: State;
  /** The revision of the last event: callers are answered it, and preconditions compare it. */
  readonly revision: bigint | 'no-stream';
  /** The position of the last event; `BEGINNING` when there is none. */
  readonly position: Position;
  /** Events of other applications follow, up to this revision. They fold as nothing. */
  readonly foreignUntil?: bigint;
}

/** Where a stream ends, as far as a state knows: what an append to it has to expect. */
export function endOf({ revision, foreignUntil }: FoldedState<unknown>): bigint | 'no-stream' {
  return foreignUntil ?? revision;
}

export interface CaughtUp {
  readonly folded: FoldedState<unknown>;
  /** The stream was longer than the state knew. */
  readonly isNewer: boolean;
  /**
   * Every event that is new was given to `onEvent`; false when a snapshot stands for some of them.
   */
  readonly isComplete: boolean;
}

export interface CatchUpOptions {
  /** The revision that an append at this state was refused for. */
  readonly refusedFor?: bigint | 'no-stream';
  /** Called for each event that is folded, none of which is kept here. */
  readonly onEvent?: (event: RecordedEvent) => void;
}

interface Cached extends FoldedState<unknown> {
  readonly size: number;
  /** When the log was last seen to end here (performance.now()). */
  readonly checkedAtMs: number;
  readonly snapshotRevision: bigint;
}

interface Tail {
  readonly folded: FoldedState<unknown>;
  /** The revision of the snapshot that it was folded from; undefined without a snapshot. */
  readonly snapshotRevision: bigint | undefined;
}

// oxlint-disable-next-line typescript/no-explicit-any -- the folds of all aggregates meet here
type AnyDecider = Decider<any, any, any>;

const MAX_CACHE_SIZE = 128 * 1024 * 1024;
const MAX_CACHED_STREAMS = 100_000;
const SNAPSHOT_EVERY = 500n;

/**
 * What streams have folded to, in a bounded cache over snapshots over the log: a command on a
 * stream of a million events costs what it costs on a stream of ten.
 */
export class FoldedStates {
  readonly #store: EventStore;
  readonly #snapshots: SnapshotStore;
  readonly #logger: Logger;
  readonly #onWentBack: (error: LogWentBackError) => void;
  #wentBack: LogWentBackError | undefined;
  readonly #cache = new LRUCache<StreamName, Cached>({
    max: MAX_CACHED_STREAMS,
    maxSize: MAX_CACHE_SIZE,
    sizeCalculation: ({ size }) => size,
  });

  /** `onWentBack` is called once; from then on every state is refused. */
  constructor(
    store: EventStore,
    snapshots: SnapshotStore,
    logger: Logger,
    onWentBack: (error: LogWentBackError) => void = () => undefined,
  ) {
    this.#store = store;
    this.#snapshots = snapshots;
    this.#logger = logger;
    this.#onWentBack = onWentBack;
  }

  /**
   * The folded state, which may be behind the log by `maxAgeMs`: an append would notice.
   * @throws LogWentBackError
   */
  async load(
    decider: AnyDecider,
    stream: StreamName,
    maxAgeMs = Number.POSITIVE_INFINITY,
  ): Promise<FoldedState<unknown>> {
    if (this.#wentBack !== undefined) throw this.#wentBack;
    const cached = this.#cache.get(stream);
    if (cached === undefined) return this.#loadCold(decider, stream);
    if (performance.now() - cached.checkedAtMs <= maxAgeMs) return cached;
    return (await this.catchUp(decider, stream, cached)).folded;
  }

  /**
   * Folds what the log holds beyond a state. Where that is much, a newer snapshot stands for most
   * of it, if there is one.
   * @throws LogWentBackError, and EventMissingError where that may pass
   */
  async catchUp(
    decider: AnyDecider,
    stream: StreamName,
    from: FoldedState<unknown>,
    { refusedFor, onEvent }: CatchUpOptions = {},
  ): Promise<CaughtUp> {
    try {
      const actual =
        refusedFor === undefined ? undefined : revisionBeyond(stream, endOf(from), refusedFor);
      const tail = await this.#foldTail(decider, stream, from, onEvent);
      const known = this.#cache.peek(stream)?.snapshotRevision;
      const end = endOf(tail.folded);
      // The stream can be read up to this revision: what was not read of it is not ours.
      const isForeign = actual !== undefined && (end === 'no-stream' || end < actual);
      const folded = isForeign ? { ...tail.folded, foreignUntil: actual } : tail.folded;
      this.#keep(decider, stream, folded, tail.snapshotRevision ?? known ?? -1n);
      return { folded, isNewer: folded !== from, isComplete: tail.snapshotRevision === undefined };
    } catch (error) {
      this.forget(stream);
      if (error instanceof LogWentBackError) this.#stop(error);
      throw error;
    }
  }

  /** The states that a stream had right after these revisions, in one reading; -1: before all. */
  async after(
    decider: AnyDecider,
    stream: StreamName,
    revisions: readonly bigint[],
  ): Promise<Map<bigint, FoldedState<unknown>>> {
    const wanted = [...new Set(revisions)].toSorted((a, b) => (a < b ? -1 : 1));
    const states = new Map<bigint, FoldedState<unknown>>();
    const [oldest, newest] = [wanted[0], wanted.at(-1)];
    if (oldest === undefined || newest === undefined) return states;
    const cached = this.#cache.peek(stream);
    if (cached?.revision === oldest && oldest === newest) return states.set(oldest, cached);
    const snapshot = await this.#snapshots.load(stream, decider.fold);
    const isBefore = snapshot !== undefined && snapshot.revision <= oldest;
    let folded: FoldedState<unknown> = isBefore ? snapshot : beforeAll(decider);
    const noteUpTo = (end: bigint): void => {
      while (wanted[0] !== undefined && wanted[0] < end) states.set(wanted.shift() ?? end, folded);
    };
    const from = folded.revision === 'no-stream' ? 0n : folded.revision + 1n;
    for await (const event of this.#store.readStream(stream, { from })) {
      noteUpTo(event.revision);
      if (event.revision > newest) break;
      folded = foldOne(decider, folded, event);
    }
    noteUpTo(newest + 1n);
    return states;
  }

  remember(decider: AnyDecider, stream: StreamName, folded: FoldedState<unknown>): void {
    const snapshotRevision = this.#cache.peek(stream)?.snapshotRevision ?? -1n;
    this.#keep(decider, stream, folded, snapshotRevision);
  }

  forget(stream: StreamName): void {
    this.#cache.delete(stream);
  }

  async #loadCold(decider: AnyDecider, stream: StreamName): Promise<FoldedState<unknown>> {
    const { folded, snapshotRevision } =
      (await this.#foldFromSnapshot(decider, stream, -1n)) ??
      (await this.#foldTail(decider, stream, beforeAll(decider)));
    this.#keep(decider, stream, folded, snapshotRevision ?? -1n);
    return folded;
  }

  /** Folds event by event, and none is held: what follows a state may be longer than memory. */
  async #foldTail(
    decider: AnyDecider,
    stream: StreamName,
    from: FoldedState<unknown>,
    onEvent: (event: RecordedEvent) => void = () => undefined,
  ): Promise<Tail> {
    let folded = from;
    let count = 0n;
    for await (const event of this.#behind(stream, from)) {
      if (count === SNAPSHOT_EVERY) {
        // So much was appended by another process, which has saved snapshots of it.
        const newer = await this.#foldFromSnapshot(decider, stream, event.revision);
        if (newer !== undefined) return newer;
      }
      folded = foldOne(decider, folded, event);
      onEvent(event);
      count += 1n;
    }
    return { folded, snapshotRevision: undefined };
  }

  /** Undefined when there is no snapshot behind a revision, or none of this log. */
  async #foldFromSnapshot(
    decider: AnyDecider,
    stream: StreamName,
    after: bigint,
  ): Promise<Tail | undefined> {
    const snapshot = await this.#snapshots.load(stream, decider.fold);
    if (snapshot === undefined || snapshot.revision <= after) return undefined;
    let folded: FoldedState<unknown> = snapshot;
    try {
      for await (const event of this.#behind(stream, snapshot)) {
        folded = foldOne(decider, folded, event);
      }
      return { folded, snapshotRevision: snapshot.revision };
    } catch (error) {
      const isOfThisLog = !(
        error instanceof LogWentBackError || error instanceof EventMissingError
      );
      if (isOfThisLog) throw error;
      // The log went back since it was saved, perhaps before this process was started.
      this.#logger.warn({ err: error, stream }, 'snapshot ignored: it belongs to another log');
      return undefined;
    }
  }

  /** The events behind a state, of which the last one has to be where it was. */
  async *#behind(stream: StreamName, folded: FoldedState<unknown>): AsyncIterable<RecordedEvent> {
    const { revision, position } = folded;
    if (revision === 'no-stream') {
      yield* this.#store.readStream(stream, { from: 0n });
      return;
    }
    let isThere = false;
    for await (const event of this.#store.readStream(stream, { from: revision })) {
      isThere = true;
      if (event.revision > revision) yield event;
      else if (event.position !== position) {
        throw new LogWentBackError(stream, revision, 'another event is there now');
      }
    }
    if (!isThere) throw new EventMissingError(stream, revision);
  }

  #stop(error: LogWentBackError): void {
    if (this.#wentBack !== undefined) return;
    this.#wentBack = error;
    this.#cache.clear();
    this.#onWentBack(error);
  }

  #keep(
    decider: AnyDecider,
    stream: StreamName,
    folded: FoldedState<unknown>,
    snapshotRevision: bigint,
  ): void {
    const { state, revision, position, foreignUntil } = folded;
    // A reading that began before the append of another may end after it.
    const cached = this.#cache.peek(stream);
    if (cached !== undefined && cached.position > position) return;
    const isDue = revision !== 'no-stream' && revision - snapshotRevision >= SNAPSHOT_EVERY;
    this.#cache.set(stream, {
      state,
      revision,
      position,
      ...(foreignUntil !== undefined && { foreignUntil }),
      size: 500 + stream.length + decider.sizeOf(state),
      checkedAtMs: performance.now(),
      snapshotRevision: isDue ? revision : snapshotRevision,
    });
    if (!isDue) return;
    this.#snapshots
      .save(stream, decider.fold, { revision, position, state: state as JsonObject })
      .catch((error: unknown) =>
        this.#logger.debug({ err: error, stream }, 'cannot save a snapshot'),
      );
  }
}

function beforeAll({ initialState }: AnyDecider): FoldedState<unknown> {
  return { state: initialState, revision: 'no-stream', position: BEGINNING };
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
