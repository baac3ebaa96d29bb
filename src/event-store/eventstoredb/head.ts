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
  /** The last event of ours that is known of: nothing of ours lies between it and `#lookedThrough`. */
  #newestKnown: Position = BEGINNING;
  #lookedThrough: Position;
  readonly #start: Position;

  /** `start`: nothing of ours lies before it. */
  constructor(reading: Reading, names: StreamNames, start: Position) {
    this.#start = start;
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
    const last = await this.#look(this.#lookedThrough);
    return last === undefined ? this.#newestKnown : positionOf(last);
  }

  /** The last event itself; undefined when there is none. */
  async event(): Promise<AllStreamRecordedEvent | undefined> {
    return this.#look(this.#start);
  }

  /** The last of ours that lies after a position. */
  async #look(after: Position): Promise<AllStreamRecordedEvent | undefined> {
    let from: Position | 'end' = 'end';
    let top: Position | undefined;
    for (let page = 0; ; page += 1) {
      const maxCount = PAGES[page] ?? PAGES[2];
      const { events, isEnd } = await this.#reading.all(from, { direction: 'backwards', maxCount });
      for (const event of events) {
        const position = positionOf(event);
        // Servers differ in whether they give the record at the position itself.
        if (from !== 'end' && position >= from) continue;
        top ??= position;
        const stream = this.#names.ours(event.streamId);
        const isOurs = stream !== undefined && recordedEvent(stream, event) !== undefined;
        if (!isOurs && position > after) continue;
        this.#lookedThroughTo(top);
        if (!isOurs) return undefined;
        this.saw(position);
        return event;
      }
      const last = events.at(-1);
      if (isEnd || last === undefined) return undefined;
      from = positionOf(last);
    }
  }

  #lookedThroughTo(position: Position): void {
    if (position > this.#lookedThrough) this.#lookedThrough = position;
  }
}
