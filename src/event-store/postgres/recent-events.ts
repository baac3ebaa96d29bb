import type { Position, RecordedEvent } from '../port.ts';
import type { StoredWrite } from './group-commit.ts';

/** In characters of JSON. */
const MAX_SIZE = 8 * 1024 * 1024;
const MAX_EVENTS = 10_000;

interface Flush {
  readonly firstPosition: Position;
  readonly events: readonly RecordedEvent[];
  readonly size: number;
}

/**
 * The newest events that this process stored, so that its own subscribers do not read back what it
 * has just written. Positions are dense, which is what makes the shortcut safe: a run of
 * consecutive positions from a checkpoint on is complete, and where another process wrote in
 * between, the run breaks and the subscriber reads from the database.
 */
export class RecentEvents {
  #flushes: Flush[] = [];
  #size = 0;
  #count = 0;
  #next: bigint | undefined;

  add(stored: readonly StoredWrite[]): void {
    const first = stored[0];
    if (first === undefined) return;
    if (first.firstPosition !== this.#next) {
      this.#flushes = [];
      this.#size = 0;
      this.#count = 0;
    }
    const flush = {
      firstPosition: first.firstPosition,
      events: stored.flatMap(recordedEvents),
      size: stored.reduce((sum, { size }) => sum + size, 0),
    };
    this.#flushes.push(flush);
    this.#size += flush.size;
    this.#count += flush.events.length;
    this.#next = first.firstPosition + BigInt(flush.events.length);
    while (this.#size > MAX_SIZE || this.#count > MAX_EVENTS) {
      const oldest = this.#flushes.shift();
      if (oldest === undefined) break;
      this.#size -= oldest.size;
      this.#count -= oldest.events.length;
    }
  }

  /**
   * The events right after a position, at most about `limit`; undefined when they are not all here.
   */
  after(position: Position, limit: number): RecordedEvent[] | undefined {
    const wanted = position + 1n;
    const first = this.#flushes[0];
    if (first === undefined || this.#next === undefined) return undefined;
    if (wanted < first.firstPosition || wanted >= this.#next) return undefined;
    const events: RecordedEvent[] = [];
    for (let index = this.#flushWith(wanted); index < this.#flushes.length; index += 1) {
      for (const event of this.#flushes[index]?.events ?? []) {
        if (event.position >= wanted) events.push(event);
        if (events.length === limit) return events;
      }
    }
    return events;
  }

  /**
   * The last flush that begins at the position or before it. Each subscriber asks after each flush.
   */
  #flushWith(position: bigint): number {
    let low = 0;
    let high = this.#flushes.length - 1;
    while (low < high) {
      const middle = Math.ceil((low + high) / 2);
      if ((this.#flushes[middle]?.firstPosition ?? 0n) <= position) low = middle;
      else high = middle - 1;
    }
    return low;
  }
}

function recordedEvents(stored: StoredWrite): RecordedEvent[] {
  const { write, firstRevision, firstPosition, recordedAt } = stored;
  return write.events.map((event, index) => ({
    id: event.id,
    type: event.type,
    data: event.data,
    metadata: event.metadata,
    stream: write.stream,
    revision: firstRevision + BigInt(index),
    position: (firstPosition + BigInt(index)) as Position,
    recordedAt,
  }));
}
