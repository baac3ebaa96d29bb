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
/** A read of a silent server would wait for ever. */
const MAX_SILENCE_MS = 10_000;

type Direction = 'forwards' | 'backwards';

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
   * Records of the whole server, the one at `from` included. Each is given to `take`, which tells
   * whether it is enough; none is kept here, as most may be somebody else's. True at the log's end.
   */
  all(
    from: Position | 'end',
    options: {
      readonly direction: Direction;
      readonly maxCount: number;
      readonly take: (event: AllStreamRecordedEvent) => boolean;
    },
  ): Promise<boolean> {
    const { direction, maxCount, take } = options;
    return this.#limit(() =>
      consume<AllStreamRecordedEvent>(
        this.#client.readAll({
          fromPosition: serverPosition(from),
          direction: direction === 'forwards' ? FORWARDS : BACKWARDS,
          maxCount,
        }),
        maxCount,
        take,
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
  ): Promise<{ readonly events: readonly Received[]; readonly isEnd: boolean }> {
    const { from, direction, maxCount, isEnough } = options;
    const events: Received[] = [];
    const take = (event: Received): boolean => {
      events.push(event);
      return isEnough?.(event) ?? false;
    };
    try {
      const isEnd = await this.#limit(() =>
        consume<Received>(
          this.#client.readStream(nameOnServer, {
            fromRevision: serverRevision(from),
            direction: direction === 'forwards' ? FORWARDS : BACKWARDS,
            maxCount,
          }),
          maxCount,
          take,
        ),
      );
      return { events, isEnd };
    } catch (error) {
      const isMissing = error instanceof StreamNotFoundError || error instanceof StreamDeletedError;
      if (isMissing) return { events: [], isEnd: true };
      throw error;
    }
  }
}

interface Source<Event> {
  on(event: 'data', listener: (resolved: { readonly event?: Event }) => void): this;
  on(event: 'error', listener: (error: unknown) => void): this;
  on(event: 'end', listener: () => void): this;
  cancel(): Promise<void>;
}

/** True when there was no more. */
function consume<Event>(
  source: Source<Event>,
  maxCount: number,
  take: (event: Event) => boolean,
): Promise<boolean> {
  return new Promise((resolve, reject) => {
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
      if (event !== undefined && take(event)) settle(() => resolve(false));
    });
    source.on('error', (error) => settle(() => reject(error)));
    source.on('end', () => settle(() => resolve(count < maxCount)));
  });
}

/** Formats a position for the server: each event has twice the same number. */
export function serverPosition(position: Position | 'end'): ReadPosition {
  if (position === 'end') return END;
  return position === BEGINNING ? START : { commit: position, prepare: position };
}

function serverRevision(revision: bigint | 'start' | 'end'): ReadRevision {
  if (revision === 'start') return START;
  return revision === 'end' ? END : revision;
}
