import type { Batch, EventStore, Position, RecordedEvent, SubscribeOptions } from './port.ts';

/** So much is kept for those who are not as fast as the fastest; who is slower reads by himself. */
const MAX_KEPT_EVENTS = 2_000;
const MAX_KEPT_BATCHES = 200;
/** About so many are given at once. */
const MAX_GIVEN_EVENTS = 1_000;

/**
 * One subscription for all projections of a process: what comes is read once, and given to each that
 * follows. Who is behind reads the log by himself, and joins where the reading stands.
 *
 * Read on demand: the next batch is asked for when somebody has seen all that is kept. So the feed is
 * as fast as its fastest follower, a slow one holds nobody up, and memory is bounded.
 */
export class SharedFeed {
  readonly #store: EventStore;
  readonly #types: readonly string[];
  readonly #followers = new Set<{ position: Position }>();
  #reading: Reading | undefined;

  constructor(store: EventStore, types: readonly string[]) {
    this.#store = store;
    this.#types = types;
  }

  /** As the port's `subscribe`. */
  async *subscribe({ after, types, signal }: SubscribeOptions): AsyncIterable<Batch> {
    const wanted = new Set(types ?? this.#types);
    const follower = { position: after };
    this.#followers.add(follower);
    try {
      while (!signal.aborted) {
        if (this.#reading?.isOver === true) this.#reading = undefined;
        if (this.#reading === undefined || follower.position < this.#reading.start) {
          // As far as the reading, which may stand beyond the last event: its position moves on where
          // nothing of ours is.
          const until = this.#reading?.start;
          const own = this.#store.readAll({
            after: follower.position,
            ...(until !== undefined && { until }),
            types: [...wanted],
          });
          for await (const batch of own) {
            if (signal.aborted) return;
            follower.position = batch.position;
            yield batch;
          }
          // Whoever is first at the head begins there; the others meet it when they get to it.
          this.#reading ??= new Reading(this.#store, this.#types, follower.position);
          continue;
        }
        const kept = this.#reading.after(follower.position);
        if (kept === undefined) {
          this.#reading.forget(this.#slowest());
          await this.#reading.next(signal);
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
      // Left alone, it would fall behind for as long as nobody comes.
      if (this.#followers.size === 0) this.#end();
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

/** The one subscription, and the last of what it gave. */
class Reading {
  readonly #ending = new AbortController();
  readonly #batches: AsyncIterator<Batch>;
  #kept: Batch[] = [];
  #count = 0;
  #start: Position;
  #isOver = false;
  #next: Promise<void> | undefined;

  constructor(store: EventStore, types: readonly string[], after: Position) {
    this.#start = after;
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
   * What goes on from a position; undefined at the end, and beyond. Several batches at once: to whoever
   * is slower than the reading, batch by batch would be a commit for each few events.
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

  /** What everybody has seen is not kept. */
  forget(seen: Position): void {
    while ((this.#kept[0]?.position ?? seen + 1n) <= seen) this.#dropOldest();
  }

  /** Until there is more; asked for once, however many wait. */
  async next(signal: AbortSignal): Promise<void> {
    this.#next ??= this.#read().finally(() => {
      this.#next = undefined;
    });
    // Whoever waits hears of its failure; perhaps nobody does by then.
    this.#next.catch(() => undefined);
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
    const { done, value } = await this.#batches.next().catch((error: unknown) => {
      this.#isOver = true;
      throw error;
    });
    if (done === true) {
      this.#isOver = true;
      return;
    }
    this.#kept.push(value);
    this.#count += value.events.length;
    while (this.#isFull() && this.#kept.length > 1) this.#dropOldest();
  }

  #dropOldest(): void {
    const oldest = this.#kept.shift();
    if (oldest === undefined) return;
    this.#count -= oldest.events.length;
    this.#start = oldest.position;
  }
  #isFull(): boolean {
    return this.#count > MAX_KEPT_EVENTS || this.#kept.length > MAX_KEPT_BATCHES;
  }
}
