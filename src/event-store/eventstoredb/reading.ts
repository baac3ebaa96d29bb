import type {
  AllStreamRecordedEvent,
  EventStoreDBClient,
  ReadPosition,
  ReadRevision,
  RecordedEvent as Received,
} from '@eventstore/db-client';
import {
  BACKWARDS,
  END,
  FORWARDS,
  START,
  StreamDeletedError,
  StreamNotFoundError,
} from '@eventstore/db-client';
import pLimit from 'p-limit';
import { BEGINNING, type Position } from '../port.ts';
import { NoAnswerError } from './failures.ts';

/** A connection carries about 100 streams: these leave room for appends and the subscription. */
const MAX_READS = 64;
/** With a server that answers nothing, a reading would wait for ever. */
const MAX_SILENCE_MS = 10_000;

type Direction = 'forwards' | 'backwards';

interface PageOf<Event> {
  readonly events: readonly Event[];
  /** False when it was cut off by its count, or by its reader. */
  readonly isEnd: boolean;
}

export type Page = PageOf<AllStreamRecordedEvent>;

/**
 * Bounded readings. Each page is taken into memory whole, so that a consumer that takes its time
 * holds no stream of the connection meanwhile.
 */
export class Reading {
  readonly #client: EventStoreDBClient;
  readonly #limit = pLimit(MAX_READS);

  constructor(client: EventStoreDBClient) {
    this.#client = client;
  }

  /**
   * Records of the whole server, the one at `from` included.
   * `isEnough` is asked after each: a page ends early when its events are large.
   */
  all(
    from: Position | 'end',
    options: {
      readonly direction: Direction;
      readonly maxCount: number;
      readonly isEnough?: (event: AllStreamRecordedEvent) => boolean;
    },
  ): Promise<Page> {
    const { direction, maxCount, isEnough } = options;
    return this.#limit(() =>
      collect<AllStreamRecordedEvent>(
        this.#client.readAll({
          fromPosition: serverPosition(from),
          direction: direction === 'forwards' ? FORWARDS : BACKWARDS,
          maxCount,
        }),
        maxCount,
        isEnough,
      ),
    );
  }

  /** Events of one stream, the one at `from` included; none when there is no such stream. */
  async stream(
    nameOnServer: string,
    options: {
      readonly from: bigint | 'start' | 'end';
      readonly direction: Direction;
      readonly maxCount: number;
      readonly isEnough?: (event: Received) => boolean;
    },
  ): Promise<PageOf<Received>> {
    const { from, direction, maxCount, isEnough } = options;
    try {
      return await this.#limit(() =>
        collect<Received>(
          this.#client.readStream(nameOnServer, {
            fromRevision: serverRevision(from),
            direction: direction === 'forwards' ? FORWARDS : BACKWARDS,
            maxCount,
          }),
          maxCount,
          isEnough,
        ),
      );
    } catch (error) {
      const isMissing = error instanceof StreamNotFoundError || error instanceof StreamDeletedError;
      if (isMissing) return { events: [], isEnd: true };
      throw error;
    }
  }
}

interface Source {
  on(event: 'data', listener: (resolved: { readonly event?: unknown }) => void): this;
  on(event: 'error', listener: (error: unknown) => void): this;
  on(event: 'end', listener: () => void): this;
  cancel(): Promise<void>;
}

function collect<Event>(
  source: Source,
  maxCount: number,
  isEnough: (event: Event) => boolean = () => false,
): Promise<PageOf<Event>> {
  return new Promise((resolve, reject) => {
    const events: Event[] = [];
    let count = 0;
    let isSettled = false;
    const settle = (how: () => void): void => {
      if (isSettled) return;
      isSettled = true;
      clearTimeout(silence);
      how();
      // Left alone, the call would stay open on the connection.
      source.cancel().catch(() => undefined);
    };
    const silence = setTimeout(() => {
      settle(() => reject(new NoAnswerError(MAX_SILENCE_MS)));
    }, MAX_SILENCE_MS);
    source.on('data', ({ event }) => {
      if (isSettled) return;
      silence.refresh();
      count += 1;
      // A link whose event is gone has none.
      if (event === undefined) return;
      events.push(event as Event);
      if (isEnough(event as Event)) settle(() => resolve({ events, isEnd: false }));
    });
    source.on('error', (error) => settle(() => reject(error)));
    source.on('end', () => settle(() => resolve({ events, isEnd: count < maxCount })));
  });
}

/** As the server takes a position: each event has twice the same number. */
export function serverPosition(position: Position | 'end'): ReadPosition {
  if (position === 'end') return END;
  return position === BEGINNING ? START : { commit: position, prepare: position };
}

function serverRevision(revision: bigint | 'start' | 'end'): ReadRevision {
  if (revision === 'start') return START;
  return revision === 'end' ? END : revision;
}
