import { BEGINNING, type Position } from '../../../event-store/port.ts';

/** Writes to keys that are forgotten count as writes to any key. */
const MAX_KEYS = 10_000;

/** The position of the last write to each key, of those that were written to last. */
export class LastWrites {
  /** The first key is the one that was written to longest ago. */
  readonly #byKey = new Map<string, Position>();
  #toAnyKey: Position = BEGINNING;

  noteAny(position: Position): void {
    this.#toAnyKey = later(this.#toAnyKey, position);
  }

  note(key: string, position: Position): void {
    const known = this.#byKey.get(key) ?? BEGINNING;
    this.#byKey.delete(key);
    this.#byKey.set(key, later(known, position));
    if (this.#byKey.size <= MAX_KEYS) return;
    for (const [oldest, its] of this.#byKey) {
      this.#byKey.delete(oldest);
      this.noteAny(its);
      return;
    }
  }

  /** The last write that may have been to one of the keys. */
  to(keys: readonly string[]): Position {
    return keys.map((key) => this.#byKey.get(key) ?? BEGINNING).reduce(later, this.#toAnyKey);
  }
}

function later(one: Position, other: Position): Position {
  return one > other ? one : other;
}
