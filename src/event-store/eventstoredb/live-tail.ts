import {
  streamNameFilter,
  type AllStreamSubscription,
  type EventStoreDBClient,
} from '@eventstore/db-client';
import type { Logger } from '../../shared/logger.ts';
import { approximateSize } from '../event-size.ts';
import type { Batch, Position, RecordedEvent } from '../port.ts';
import { serverPosition } from './reading.ts';
import { positionOf, recordedEvent, type StreamNames } from './wire-event.ts';
import { sleep } from '../../shared/sleep.ts';

export interface LiveTailOptions {
  readonly client: EventStoreDBClient;
  readonly names: StreamNames;
  readonly logger: Logger;
  /** Called whenever there is more, or the position has moved. */
  readonly onNews: () => void;
}

const MAX_KEPT_EVENTS = 10_000;
const MAX_KEPT_BYTES = 8 * 1024 * 1024;
/** A subscription beyond what a connection carries is never confirmed, and says nothing. */
const CONFIRMED_WITHIN_MS = 10_000;
const RESUME_AFTER_MS = 200;

interface Kept {
  readonly event: RecordedEvent;
  readonly size: number;
}

/**
 * The end of the log, as one subscription of this process sees it: the newest events, kept within
 * bounds for all who follow. Nobody makes it wait, so it is as fast as it can be; who is slower
 * than what is kept reads the log by himself.
 *
 * Under load the server ends a live subscription as soon as 32 messages wait for it. That is the
 * normal case, and no failure: the tail resumes at once from its last position.
 */
export class LiveTail {
  readonly #options: LiveTailOptions;
  #kept: Kept[] = [];
  #first = 0;
  #bytes = 0;
  /** Everything after `start` and up to `end` is kept. */
  #start: Position;
  #end: Position;
  #drops = 0;
  readonly #ending = new AbortController();
  readonly #ended: Promise<void>;

  constructor(after: Position, options: LiveTailOptions) {
    this.#options = options;
    this.#start = after;
    this.#end = after;
    this.#ended = this.#follow();
  }

  get start(): Position {
    return this.#start;
  }

  /** How often the server has ended the subscription. */
  get drops(): number {
    return this.#drops;
  }

  /**
   * What follows a position, as far as `isEnough` allows; undefined when there is nothing new. The
   * position must not lie before `start`.
   */
  after(position: Position, maxEvents: number, maxBytes: number): Batch | undefined {
    if (position >= this.#end) return undefined;
    const events: RecordedEvent[] = [];
    let bytes = 0;
    for (let index = this.#indexAfter(position); index < this.#kept.length; index += 1) {
      const kept = this.#kept[index];
      if (kept === undefined) break;
      bytes += kept.size;
      if (events.length === maxEvents || (bytes > maxBytes && events.length > 0)) {
        return { events, position: events.at(-1)?.position ?? position };
      }
      events.push(kept.event);
    }
    return { events, position: this.#end };
  }

  async close(): Promise<void> {
    this.#ending.abort();
    await this.#ended;
  }

  async #follow(): Promise<void> {
    const { signal } = this.#ending;
    while (!signal.aborted) {
      const before = this.#end;
      const error = await this.#subscribeOnce(signal);
      if (signal.aborted) return;
      this.#drops += 1;
      this.#options.logger.debug({ err: error }, 'subscription lost: resuming');
      if (this.#end === before) {
        await sleep(RESUME_AFTER_MS, signal);
      }
    }
  }

  /** Gives what ended it. */
  async #subscribeOnce(signal: AbortSignal): Promise<unknown> {
    const { client, names } = this.#options;
    let isOver = false;
    const subscription: AllStreamSubscription = client.subscribeToAll({
      fromPosition: serverPosition(this.#end),
      filter: streamNameFilter({
        prefixes: names.prefixes,
        // In search windows of 32 records each: what is not ours moves the position on, too.
        checkpointInterval: 1,
        // Must not throw: the client would stall for good.
        checkpointReached: (_subscription, { commit }) => {
          if (!isOver) this.#moveTo(commit as Position);
        },
      }),
    });
    subscription.on('data', ({ event }) => {
      if (isOver || event === undefined) return;
      const stream = names.ours(event.streamId);
      const recorded = stream && recordedEvent(stream, event);
      if (recorded !== undefined) this.#keep(recorded);
      this.#moveTo(positionOf(event));
    });
    const error = await endOf(subscription, signal);
    isOver = true;
    // Where it rejects, no stream was opened, so there is none to close.
    await Promise.allSettled([subscription.unsubscribe()]);
    return error;
  }

  #keep(event: RecordedEvent): void {
    if (event.position <= this.#end) return;
    const size = approximateSize(event);
    this.#kept.push({ event, size });
    this.#bytes += size;
    while (
      this.#kept.length - this.#first > MAX_KEPT_EVENTS ||
      (this.#bytes > MAX_KEPT_BYTES && this.#kept.length - this.#first > 1)
    ) {
      const oldest = this.#kept[this.#first];
      if (oldest === undefined) break;
      this.#first += 1;
      this.#bytes -= oldest.size;
      this.#start = oldest.event.position;
    }
    // Removed together: each removal from the front moves all that is behind.
    if (this.#first * 2 > this.#kept.length) {
      this.#kept = this.#kept.slice(this.#first);
      this.#first = 0;
    }
  }

  #moveTo(position: Position): void {
    if (position <= this.#end) return;
    this.#end = position;
    this.#options.onNews();
  }

  #indexAfter(position: Position): number {
    let low = this.#first;
    let high = this.#kept.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#kept[middle]?.event.position ?? 0n) > position) high = middle;
      else low = middle + 1;
    }
    return low;
  }
}

/** Ends a subscription, also one that is never confirmed. */
function endOf(subscription: AllStreamSubscription, signal: AbortSignal): Promise<unknown> {
  return new Promise((resolve) => {
    const end = (error?: unknown): void => {
      clearTimeout(unconfirmed);
      signal.removeEventListener('abort', end);
      resolve(error);
    };
    const unconfirmed = setTimeout(end, CONFIRMED_WITHIN_MS, 'it was not confirmed');
    subscription.on('confirmation', () => clearTimeout(unconfirmed));
    // Listened to for good: an error without a listener ends the process.
    subscription.on('error', end);
    subscription.on('end', end);
    signal.addEventListener('abort', end);
    if (signal.aborted) end();
  });
}
