const MIN_BACK_OFF_MS = 500;
const MAX_BACK_OFF_MS = 30_000;

interface Turn {
  readonly endedAtMs: number;
  readonly failures: number;
  readonly notBeforeMs: number;
}

/**
 * Decides who is next: whoever has waited longest since its last turn, unless it is backing off. So
 * one that hangs or keeps failing has its turns, and the others have theirs.
 */
export class Turns {
  readonly #now: () => number;
  #turns = new Map<string, Turn>();

  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  /** Those of the items that may have a turn now. It forgets all others. */
  due<Item>(items: readonly Item[], nameOf: (item: Item) => string): Item[] {
    const names = new Set(items.map(nameOf));
    this.#turns = new Map([...this.#turns].filter(([name]) => names.has(name)));
    const now = this.#now();
    const lastAt = (item: Item): number =>
      this.#turns.get(nameOf(item))?.endedAtMs ?? Number.NEGATIVE_INFINITY;
    return items
      .filter((item) => (this.#turns.get(nameOf(item))?.notBeforeMs ?? now) <= now)
      .toSorted((a, b) => (lastAt(a) === lastAt(b) ? 0 : lastAt(a) - lastAt(b)));
  }

  /** @param pauseMs how long the item has nothing to do. */
  ended(name: string, pauseMs = 0): void {
    const now = this.#now();
    this.#turns.set(name, { endedAtMs: now, failures: 0, notBeforeMs: now + pauseMs });
  }

  failed(name: string): void {
    const now = this.#now();
    const failures = this.#turns.get(name)?.failures ?? 0;
    const backOffMs = Math.min(MIN_BACK_OFF_MS * 2 ** failures, MAX_BACK_OFF_MS);
    this.#turns.set(name, {
      endedAtMs: now,
      failures: failures + 1,
      notBeforeMs: now + backOffMs,
    });
  }
}
