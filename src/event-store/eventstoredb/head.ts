import type { AllStreamRecordedEvent } from '@eventstore/db-client';
import { BEGINNING, type Position } from '../port.ts';
import type { Reading } from './reading.ts';
import { positionOf, recordedEvent, type StreamNames } from './wire-event.ts';

const PAGES = [4, 64, 1_000] as const;

/**
 * Where the ledger ends. The last records of the server's log may be none of ours, so it is read
 * backwards, as far as the last of ours, or as what an earlier look has seen.
 */
export class Head {
  readonly #reading: Reading;
  readonly #names: StreamNames;
  /**
   * The last event of ours that is known of: nothing of ours lies between it and `#lookedThrough`.
   */
  #newestKnown: Position = BEGINNING;
  #lookedThrough: Position;

  /** `start`: nothing of ours lies before it. */
  constructor(reading: Reading, names: StreamNames, start: Position) {
    this.#lookedThrough = start;
    this.#reading = reading;
    this.#names = names;
  }

  get newestKnown(): Position {
    return this.#newestKnown;
  }

  /** An event of ours is there. */
  saw(position: Position): void {
    if (position > this.#newestKnown) this.#newestKnown = position;
  }

  async position(): Promise<Position> {
    const after = this.#lookedThrough;
    let from: Position | 'end' = 'end';
    let top: Position | undefined;
    for (let page = 0; ; page += 1) {
      const start: Position | 'end' = from;
      let found: Position | undefined;
      let isThrough = false;
      const isEnd = await this.#reading.all(start, {
        direction: 'backwards',
        maxCount: PAGES[page] ?? PAGES[2],
        take: (event) => {
          const position = positionOf(event);
          // Servers differ in whether they give the record at the position itself.
          if (start !== 'end' && position >= start) return false;
          top ??= position;
          from = position;
          if (this.#isOurs(event)) found = position;
          isThrough = found !== undefined || position <= after;
          return isThrough;
        },
      });
      if (found !== undefined) this.saw(found);
      if (isThrough && top !== undefined) this.#lookedThroughTo(top);
      if (isThrough || isEnd) return this.#newestKnown;
    }
  }

  /** The last event; undefined in an empty log. */
  async event(): Promise<AllStreamRecordedEvent | undefined> {
    const position = await this.position();
    let last: AllStreamRecordedEvent | undefined;
    if (position === BEGINNING) return undefined;
    await this.#reading.all(position, {
      direction: 'forwards',
      maxCount: 1,
      take: (event) => {
        last = event;
        return true;
      },
    });
    return last;
  }

  #isOurs(event: AllStreamRecordedEvent): boolean {
    const stream = this.#names.ours(event.streamId);
    return stream !== undefined && recordedEvent(stream, event) !== undefined;
  }

  #lookedThroughTo(position: Position): void {
    if (position > this.#lookedThrough) this.#lookedThrough = position;
  }
}
