import { setImmediate as nextTurn, setTimeout as delay } from 'node:timers/promises';
import type { FairSlots } from '../shared/fair-slots.ts';
import { approximateSize } from './event-size.ts';
import type { Batch, EventStore, Position, RecordedEvent, SubscribeOptions } from './port.ts';

/**
 * So much is kept for followers that are slower than the fastest; who needs older events reads the
 * log itself.
 */
const MAX_KEPT_EVENTS = 2_000;
const MAX_KEPT_BATCHES = 200;
const MAX_KEPT_BYTES = 8 * 1024 * 1024;
/** The number of events that are given at once, about. */
const MAX_GIVEN_EVENTS = 1_000;
/** How long a follower that catches up reads before another one may. */
const CATCH_UP_TURN_MS = 1_000;

export interface SharedFeedOptions {
  /** What comes within this time after a batch is given together; at once unless it is given. */
  readonly pauseMs?: number;
  /**
   * Followers that have a `share` take turns in these slots while they catch up. Each holds the
   * events that it reads, so the slots bound the memory, however many catch up.
   */
  readonly catchUpSlots?: FairSlots;
}

export interface FeedOptions extends SubscribeOptions {
  /**
   * Whose turn it takes while it catches up, for example a project; it reads at once without one.
   */
  readonly share?: string;
}

/**
 * One subscription for many followers in a process: what comes is read once and given to each. A
 * follower that is behind reads the log itself, and joins where the shared reading stands.
 *
 * Read on demand: the next batch is asked for when a follower has seen all that is kept. So the
 * feed is as fast as its fastest follower, a slow one delays no other, and memory is bounded, in
 * bytes.
 */
export class SharedFeed {
  readonly #store: EventStore;
  readonly #types: readonly string[];
  readonly #options: SharedFeedOptions;
  readonly #followers = new Set<{ position: Position }>();
  #reading: Reading | undefined;

  constructor(store: EventStore, types: readonly string[], options: SharedFeedOptions = {}) {
    this.#store = store;
    this.#types = types;
    this.#options = options;
  }

  /** Subscribes as `subscribe` of the port does. */
  async *subscribe({ after, types, signal, share }: FeedOptions): AsyncIterable<Batch> {
    const wanted = new Set(types ?? this.#types);
    const follower = { position: after };
    this.#followers.add(follower);
    try {
      while (!signal.aborted) {
        if (this.#reading?.isOver === true) this.#reading = undefined;
        if (this.#reading === undefined || follower.position < this.#reading.start) {
          for await (const batch of this.#catchUp(follower.position, [...wanted], share)) {
            if (signal.aborted) return;
            follower.position = batch.position;
            yield batch;
          }
          continue;
        }
        const kept = this.#reading.after(follower.position);
        if (kept === undefined) {
          await this.#reading.next(signal, () => this.#slowest());
          continue;
        }
        const seen = follower.position;
        follower.position = kept.position;
        const isNew = (event: RecordedEvent): boolean => event.position > seen;
        yield {
          events: kept.events.filter((event) => wanted.has(event.type) && isNew(event)),
          position: kept.position,
        };
      }
    } finally {
      this.#followers.delete(follower);
      // Without followers nothing is read, so the feed would only fall behind.
      if (this.#followers.size === 0) this.#end();
    }
  }

  /**
   * Reads towards the shared reading for one turn, and begins that where the log ends before there
   * is one.
   */
  async *#catchUp(
    after: Position,
    types: readonly string[],
    share: string | undefined,
  ): AsyncIterable<Batch> {
    const slots = share === undefined ? undefined : this.#options.catchUpSlots;
    const release = await slots?.take(share ?? '');
    try {
      // The reading may stand beyond the last event: its position moves also where no wanted event
      // is.
      const until = this.#reading?.start;
      const endsAtMs = performance.now() + CATCH_UP_TURN_MS;
      const reading = { after, types, ...(until !== undefined && { until }) };
      let position = after;
      for await (const batch of this.#store.readAll(reading)) {
        yield batch;
        position = batch.position;
        if (release !== undefined && performance.now() > endsAtMs) return;
      }
      // Whoever is first at the head begins there; the others meet it when they get to it.
      this.#reading ??= new Reading(this.#store, this.#types, position, this.#options.pauseMs);
    } finally {
      release?.();
    }
  }

  #slowest(): Position {
    const positions = [...this.#followers].map(({ position }) => position);
    return positions.reduce((slowest, position) => (position < slowest ? position : slowest));
  }

  #end(): void {
    this.#reading?.end();
    this.#reading = undefined;
  }
}

interface Kept extends Batch {
  readonly bytes: number;
}

/** The one subscription, and the last of what it gave. */
class Reading {
  readonly #ending = new AbortController();
  readonly #batches: AsyncIterator<Batch>;
  readonly #pauseMs: number;
  #kept: Kept[] = [];
  #count = 0;
  #bytes = 0;
  #start: Position;
  #isOver = false;
  #next: Promise<void> | undefined;

  constructor(store: EventStore, types: readonly string[], after: Position, pauseMs = 0) {
    this.#start = after;
    this.#pauseMs = pauseMs;
    const { signal } = this.#ending;
    this.#batches = store.subscribe({ after, types, signal })[Symbol.asyncIterator]();
  }

  /** Everything after this position is kept. */
  get start(): Position {
    return this.#start;
  }

  /** Ended, or failed: those who were waiting were told, and nothing comes any more. */
  get isOver(): boolean {
    return this.#isOver;
  }

  /**
   * What follows a position; undefined at the end, and beyond. It gives several batches at once,
   * because a projection that is slower than the reading would otherwise commit every few events.
   */
  after(position: Position): Batch | undefined {
    const events: RecordedEvent[] = [];
    let end: Position | undefined;
    for (const batch of this.#kept) {
      if (batch.position <= position) continue;
      events.push(...batch.events);
      end = batch.position;
      if (events.length >= MAX_GIVEN_EVENTS) break;
    }
    return end === undefined ? undefined : { events, position: end };
  }

  /**
   * Until there is more; asked for once, however many wait. `slowest`: what all followers have
   * seen, which is kept no longer.
   */
  async next(signal: AbortSignal, slowest: () => Position): Promise<void> {
    if (this.#next === undefined) {
      this.#forget(slowest());
      this.#next = this.#read().finally(() => {
        this.#next = undefined;
      });
      // Those who wait get the failure; there may be none by then.
      this.#next.catch(() => undefined);
    }
    let leave: () => void = () => undefined;
    const aborted = new Promise<void>((resolve) => {
      leave = resolve;
    });
    signal.addEventListener('abort', leave);
    try {
      await Promise.race([this.#next, aborted]);
    } finally {
      signal.removeEventListener('abort', leave);
    }
  }

  end(): void {
    this.#ending.abort();
  }

  async #read(): Promise<void> {
    if (this.#pauseMs > 0) await this.#rest();
    const { done, value } = await this.#batches.next().catch((error: unknown) => {
      this.#isOver = true;
      throw error;
    });
    if (done === true) {
      this.#isOver = true;
      return;
    }
    const bytes = value.events.reduce((sum, event) => sum + approximateSize(event), 0);
    this.#kept.push({ ...value, bytes });
    this.#count += value.events.length;
    this.#bytes += bytes;
    while (this.#isFull() && this.#kept.length > 1) this.#dropOldest();
  }

  /**
   * Rests for as long as the followers took for the last batch, and at least so that a batch comes
   * each `pauseMs`. Without that rest, a thousand followers would leave no time for appends.
   */
  async #rest(): Promise<void> {
    const begunAtMs = performance.now();
    // The followers are told in the same turn of the event loop.
    await nextTurn();
    const tookMs = performance.now() - begunAtMs;
    await delay(Math.max(this.#pauseMs - tookMs, tookMs));
  }

  #forget(seen: Position): void {
    while ((this.#kept[0]?.position ?? seen + 1n) <= seen) this.#dropOldest();
  }

  #dropOldest(): void {
    const oldest = this.#kept.shift();
    if (oldest === undefined) return;
    this.#count -= oldest.events.length;
    this.#bytes -= oldest.bytes;
    this.#start = oldest.position;
  }

  #isFull(): boolean {
    return (
      this.#count > MAX_KEPT_EVENTS ||
      this.#bytes > MAX_KEPT_BYTES ||
      this.#kept.length > MAX_KEPT_BATCHES
    );
  }
}
