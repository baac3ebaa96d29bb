import { LedgerError } from './errors.ts';

interface Waiting {
  readonly begin: () => void;
}

/** One of those that share the slots. */
interface Share {
  running: number;
  readonly waiting: Waiting[];
  /** When it was given a slot last, as a count of all that were given. */
  servedAt: number;
}

export interface FairSlotsOptions {
  /** The number of tasks that run at once. */
  readonly slots: number;
  /** The number of tasks of one share that run at once, also while slots are free. */
  readonly slotsPerShare?: number;
  /** The number of tasks of one share that may wait; more are refused. */
  readonly waitingPerShare?: number;
}

/**
 * Runs work in a few slots, which are shared by name, not by arrival: a slot that becomes free goes
 * to the share that has the fewest, and among those to the one that has waited longest for its
 * turn. So however much one share has waiting, another one begins with the next slot.
 */
export class FairSlots {
  readonly #slots: number;
  readonly #slotsPerShare: number;
  readonly #waitingPerShare: number;
  readonly #shares = new Map<string, Share>();
  #running = 0;
  #given = 0;

  constructor({ slots, slotsPerShare = slots, waitingPerShare = Infinity }: FairSlotsOptions) {
    this.#slots = slots;
    this.#slotsPerShare = slotsPerShare;
    this.#waitingPerShare = waitingPerShare;
  }

  /** How many wait, of all shares. */
  get waiting(): number {
    let waiting = 0;
    for (const share of this.#shares.values()) waiting += share.waiting.length;
    return waiting;
  }

  /** @throws LedgerError `overloaded` when too many of the share wait */
  async run<Result>(name: string, work: () => Promise<Result>): Promise<Result> {
    const release = await this.take(name);
    try {
      return await work();
    } finally {
      release();
    }
  }

  /**
   * Waits for a slot and gives what releases it, for work that is not one function call.
   * @throws LedgerError `overloaded` when too many of the share wait
   */
  async take(name: string): Promise<() => void> {
    const share = this.#shares.get(name) ?? { running: 0, waiting: [], servedAt: 0 };
    this.#shares.set(name, share);
    if (share.waiting.length >= this.#waitingPerShare) {
      throw new LedgerError(
        'overloaded',
        'Too many requests of this project are waiting: retry once some are answered.',
      );
    }
    await new Promise<void>((resolve) => {
      share.waiting.push({ begin: resolve });
      this.#give();
    });
    return () => {
      share.running -= 1;
      this.#running -= 1;
      if (share.running === 0 && share.waiting.length === 0) this.#shares.delete(name);
      this.#give();
    };
  }

  #give(): void {
    while (this.#running < this.#slots) {
      const share = this.#next();
      const first = share?.waiting.shift();
      if (share === undefined || first === undefined) return;
      this.#given += 1;
      this.#running += 1;
      share.running += 1;
      share.servedAt = this.#given;
      first.begin();
    }
  }

  #next(): Share | undefined {
    let next: Share | undefined;
    for (const share of this.#shares.values()) {
      if (share.waiting.length === 0 || share.running >= this.#slotsPerShare) continue;
      const isBefore =
        next === undefined ||
        share.running < next.running ||
        (share.running === next.running && share.servedAt < next.servedAt);
      if (isBefore) next = share;
    }
    return next;
  }
}
