import { BEGINNING, type EventStore, type Position } from './port.ts';
import type { RecordedEvent } from './port.ts';
import { LedgerError } from '../shared/errors.ts';

/** How long whoever asks waits for the reading to arrive somewhere. */
const WAIT_FOR_MS = 5_000;
/** For so long after a look at the head nothing that is not yet heard of counts. */
const CONFIRMED_FOR_MS = 1_000;
/** After so long the next look is begun, so that nobody has to wait for one. */
const LOOK_AGAIN_AFTER_MS = 500;

interface Waiter {
  readonly position: Position;
  readonly resolve: () => void;
}

/**
 * Reads the log on and on for something that is held in memory, and knows how far that is. Memory
 * tells nothing of a log that cannot be reached, so before it is used the reading must have been at
 * the head of the log within the last second.
 */
export class LogFollower {
  readonly #store: EventStore;
  readonly #types: readonly string[];
  readonly #waitForMs: number;
  readonly #waiters = new Set<Waiter>();
  #position: Position = BEGINNING;
  /** When the log was asked for a head that the reading has reached since (performance.now()). */
  #confirmedAtMs = Number.NEGATIVE_INFINITY;
  #look: Promise<void> | undefined;

  constructor(store: EventStore, types: readonly string[], waitForMs = WAIT_FOR_MS) {
    this.#store = store;
    this.#types = types;
    this.#waitForMs = waitForMs;
  }

  /** Everything up to here has been given to `onEvents`. */
  get position(): Position {
    return this.#position;
  }

  /** Ends when it is aborted; rejects when the log can be read no longer. */
  async follow(
    after: Position,
    signal: AbortSignal,
    onEvents: (events: readonly RecordedEvent[], position: Position) => void,
  ): Promise<void> {
    this.#position = after;
    for await (const batch of this.#store.subscribe({ after, types: this.#types, signal })) {
      onEvents(batch.events, batch.position);
      this.#position = batch.position;
      for (const waiter of this.#waiters) {
        if (waiter.position <= batch.position) waiter.resolve();
      }
    }
  }

  /** @throws LedgerError `store-unavailable` */
  async reached(position: Position): Promise<void> {
    if (this.#position >= position) return;
    let waiter: Waiter | undefined;
    let timer: NodeJS.Timeout | undefined;
    const isReached = await new Promise<boolean>((resolve) => {
      waiter = { position, resolve: () => resolve(true) };
      this.#waiters.add(waiter);
      timer = setTimeout(() => resolve(false), this.#waitForMs);
    });
    clearTimeout(timer);
    if (waiter !== undefined) this.#waiters.delete(waiter);
    if (!isReached) throw unavailable();
  }

  /** As far as the log goes at the time of the call. @throws LedgerError `store-unavailable` */
  async reachedHead(): Promise<void> {
    const askedAtMs = performance.now();
    await this.reached(await this.#head());
    if (askedAtMs > this.#confirmedAtMs) this.#confirmedAtMs = askedAtMs;
  }

  /**
   * Whether the reading was at the head within the last second. Looks again in good time, for as
   * long as somebody asks.
   */
  get isConfirmed(): boolean {
    const ageMs = performance.now() - this.#confirmedAtMs;
    if (ageMs > LOOK_AGAIN_AFTER_MS) this.#lookAgain().catch(() => undefined);
    return ageMs <= CONFIRMED_FOR_MS;
  }

  /** Until the reading has been at the head. @throws LedgerError `store-unavailable` */
  async confirmed(): Promise<void> {
    if (this.isConfirmed) return;
    const before = this.#look;
    await this.#lookAgain();
    // A look that had begun before this call may be too old by now; one more cannot be.
    if (before !== undefined && !this.isConfirmed) await this.#lookAgain();
  }

  /** One look for all who ask. */
  #lookAgain(): Promise<void> {
    this.#look ??= this.reachedHead().finally(() => {
      this.#look = undefined;
    });
    return this.#look;
  }

  async #head(): Promise<Position> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_resolve, reject) => {
      timer = setTimeout(() => reject(unavailable()), this.#waitForMs);
    });
    try {
      return await Promise.race([this.#store.head(), late]);
    } finally {
      clearTimeout(timer);
    }
  }
}

function unavailable(): LedgerError {
  return new LedgerError(
    'store-unavailable',
    'The event log cannot be read up to its end: retry in a moment.',
  );
}
