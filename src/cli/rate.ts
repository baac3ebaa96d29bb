/** About so long back, what was done still counts. */
const WINDOW_MS = 3_000;

/** How fast something goes, over the last few seconds: an average whose past fades away. */
export class Rate {
  readonly #now: () => number;
  readonly #startedAtMs: number;
  #total: bigint;
  #events = 0;
  #positions = 0;
  #position: bigint | undefined;
  #fadedAtMs: number;

  /** @param earlier events that are counted already. */
  constructor(earlier = 0n, now: () => number = () => performance.now()) {
    this.#total = earlier;
    this.#now = now;
    this.#startedAtMs = now();
    this.#fadedAtMs = this.#startedAtMs;
  }

  count(events: number, from: bigint, to: bigint): void {
    this.#fade();
    this.#total += BigInt(events);
    this.#events += events;
    this.#positions += Number(to - from);
    this.#position = to;
  }

  /** All of them, however long ago. */
  get events(): bigint {
    return this.#total;
  }

  /** Where the last of it ended; undefined before the first. */
  get position(): bigint | undefined {
    return this.#position;
  }

  eventsPerSecond(): number {
    this.#fade();
    return this.#events / this.#windowSeconds();
  }

  positionsPerSecond(): number {
    this.#fade();
    return this.#positions / this.#windowSeconds();
  }

  #fade(): void {
    const nowMs = this.#now();
    const kept = Math.exp((this.#fadedAtMs - nowMs) / WINDOW_MS);
    this.#events *= kept;
    this.#positions *= kept;
    this.#fadedAtMs = nowMs;
  }

  /** What the faded sums stand for; less while there is less than a window behind. */
  #windowSeconds(): number {
    const sinceStartMs = this.#fadedAtMs - this.#startedAtMs;
    return Math.max(1, WINDOW_MS * (1 - Math.exp(-sinceStartMs / WINDOW_MS))) / 1_000;
  }
}
