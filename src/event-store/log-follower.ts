import { BEGINNING, type EventStore, type Position } from './port.ts';
import type { RecordedEvent } from './port.ts';
import { LedgerError } from '../shared/errors.ts';

/** How long a caller waits for the follower to reach a position. */
const WAIT_FOR_MS = 5_000;
/** How long after the follower was at the head its memory counts as current. */
const CONFIRMED_FOR_MS = 1_000;
/** How long after it the head is looked up again, so that no caller has to wait. */
const LOOK_AGAIN_AFTER_MS = 500;

interface Waiter {
  readonly position: Position;
  readonly resolve: () => void;
}

/**
 * Follows the log for something that is held in memory, and knows how far it has read. Memory says
 * nothing about a log that is unavailable, so before it is used the follower must have been at the
 * head of the log within the last second.
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

  /** Ends when it is aborted; rejects when the log can no longer be read. */
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

  /**
   * Waits until everything is read that the log held at the time of the call.
   * @throws LedgerError `store-unavailable`
   */
  async reachedHead(): Promise<void> {
    const askedAtMs = performance.now();
    await this.reached(await this.#head());
    if (askedAtMs > this.#confirmedAtMs) this.#confirmedAtMs = askedAtMs;
  }

  /**
   * Whether the follower was at the head within the last second. Looks the head up in good time,
   * for as long as callers ask.
   */
  get isConfirmed(): boolean {
    const ageMs = performance.now() - this.#confirmedAtMs;
    if (ageMs > LOOK_AGAIN_AFTER_MS) this.#lookAgain().catch(() => undefined);
    return ageMs <= CONFIRMED_FOR_MS;
  }

  /**
   * Waits until the follower was at the head within the last second.
   * @throws LedgerError `store-unavailable`
   */
  async confirmed(): Promise<void> {
    if (this.isConfirmed) return;
    const before = this.#look;
    await this.#lookAgain();
    // A look that had begun before this call may be too old by now; one more cannot be.
    if (before !== undefined && !this.isConfirmed) await this.#lookAgain();
  }

  /** All callers share one look at the head. */
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
