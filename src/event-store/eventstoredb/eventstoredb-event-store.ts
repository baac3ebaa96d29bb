import { UnknownError, type EventStoreDBClient } from '@eventstore/db-client';
import { once } from 'node:events';
import { LedgerError } from '../../shared/errors.ts';
import type { Logger } from '../../shared/logger.ts';
import { AppendSignal } from '../append-signal.ts';
import { approximateSize } from '../event-size.ts';
import {
  BEGINNING,
  type Appended,
  type Batch,
  type CopyTarget,
  type OpenEventStore,
  type Position,
  type ReadAllOptions,
  type ReadStreamOptions,
  type RecordedEvent,
  type SubscribeOptions,
  type Write,
} from '../port.ts';
import { streamCategories } from '../../events/registry.ts';
import type { StreamName } from '../stream-name.ts';
import { AppendCall } from './append-call.ts';
import { Appender } from './appender.ts';
import { connect, connectFailure, parseUrl, type Connection } from './connection.ts';
import { EventStoreDBCopyTarget } from './eventstoredb-copy-target.ts';
import { isTransientFailure } from './failures.ts';
import { Head } from './head.ts';
import { LiveTail } from './live-tail.ts';
import { LogBook } from './log-book.ts';
import type { Reading } from './reading.ts';
import { retried, untilAnswered } from './retrying.ts';
import { eventTime, positionOf, recordedEvent, StreamNames } from './wire-event.ts';
import { sleep } from '../../shared/sleep.ts';

export interface EventStoreDBOptions {
  /**
   * `esdb://…`, as the client takes it; and `streamPrefix=…` in it, before the names of all
   * streams.
   */
  readonly url: string;
  readonly logger: Logger;
  /** The categories of streams that make up the ledger. */
  readonly categories?: readonly string[];
}

const MAX_PAGE_EVENTS = 2_000;
const MAX_PAGE_BYTES = 2 * 1024 * 1024;
const FIRST_STREAM_PAGE = 50;
const STREAM_PAGE = 500;
const RESUME_AFTER_MS = 200;
const NEWS_WITHIN_MS = 10_000;
const BEYOND_PAUSE_MS = 1_000;

/** The log in EventStoreDB (23.10 and later), beside whatever else the server holds. */
export async function openEventStoreDB(options: EventStoreDBOptions): Promise<OpenEventStore> {
  const { connectionString, streamPrefix } = parseUrl(options.url);
  const connection = connect(connectionString);
  try {
    const { reading } = connection;
    const names = new StreamNames(streamPrefix, options.categories ?? streamCategories);
    const { logger } = options;
    const call = new AppendCall(connection.client);
    const book = await retried(() => LogBook.open({ call, reading, names, logger }));
    const store = new EventStoreDBEventStore({ connection, call, reading, names, book, logger });
    await store.head();
    return store;
  } catch (error) {
    await connection.close();
    if (!isTransientFailure(error)) throw error;
    throw new LedgerError('store-unavailable', connectFailure(connectionString, error), {
      cause: error,
    });
  }
}

interface Page extends Batch {
  /** Nothing was behind it. */
  readonly isEnd: boolean;
}

interface Parts {
  readonly connection: Connection;
  readonly call: AppendCall;
  readonly reading: Reading;
  readonly names: StreamNames;
  readonly book: LogBook;
  readonly logger: Logger;
}

class EventStoreDBEventStore implements OpenEventStore {
  readonly logId: string;
  readonly #client: EventStoreDBClient;
  readonly #parts: Parts;
  readonly copyTarget: CopyTarget;
  readonly #appender: Appender;
  readonly #head: Head;
  readonly #news = new AppendSignal();
  #tail: LiveTail | undefined;
  #followers = 0;
  #isClosed = false;
  #pastDrops = 0;

  constructor(parts: Parts) {
    const { connection, call, reading, names, book, logger } = parts;
    this.#parts = parts;
    this.#client = connection.client;
    this.logId = book.logId;
    this.#head = new Head(reading, names, book.start);
    const options = { call, reading, names, logger, newestKnown: () => this.#head.newestKnown };
    this.#appender = new Appender({
      ...options,
      onStored: (position, events) => {
        this.#head.saw(position);
        book.note(events);
      },
    });
    const copier = new Appender({ ...options, onStored: (position) => this.#head.saw(position) });
    this.copyTarget = new EventStoreDBCopyTarget(copier, this.#head, book);
  }

  get resumedSubscriptions(): number {
    return this.#pastDrops + (this.#tail?.drops ?? 0);
  }

  append(writes: readonly Write[]): Promise<Appended[]> {
    return this.#appender.append(writes);
  }

  async *readStream(
    stream: StreamName,
    { from, direction = 'forwards', limit = Number.POSITIVE_INFINITY }: ReadStreamOptions = {},
  ): AsyncIterable<RecordedEvent> {
    const nameOnServer = this.#parts.names.onServer(stream);
    const forwards = direction === 'forwards';
    let next: bigint | 'start' | 'end' = from ?? (forwards ? 'start' : 'end');
    let left = limit;
    let pageSize = FIRST_STREAM_PAGE;
    while (left > 0) {
      const maxCount = Math.min(pageSize, left);
      const start = next;
      const { events, isEnd } = await untilAnswered(() => {
        let bytes = 0;
        return this.#parts.reading.stream(nameOnServer, {
          from: start,
          direction,
          maxCount,
          isEnough: (event) => {
            bytes += approximateSize(event as unknown as RecordedEvent);
            return bytes >= MAX_PAGE_BYTES;
          },
        });
      });
      for (const event of events) {
        const recorded = recordedEvent(stream, event);
        if (recorded === undefined) continue;
        yield recorded;
        left -= 1;
        if (left <= 0) return;
      }
      const last = events.at(-1);
      if (last === undefined || isEnd || (!forwards && last.revision === 0n)) return;
      next = forwards ? last.revision + 1n : last.revision - 1n;
      pageSize = STREAM_PAGE;
    }
  }

  async *readAll({ after, until, types, correlationId }: ReadAllOptions): AsyncIterable<Batch> {
    const wanted = types === undefined ? undefined : new Set(types);
    const end = until ?? (await this.head());
    let position = after;
    // Read ahead, by one page: the server and the client work while the consumer does.
    let next = position < end ? this.#pageAhead(position) : undefined;
    while (next !== undefined && position < end) {
      const page: Page = await next;
      const events = page.events.filter(
        (event) =>
          event.position <= end &&
          (wanted?.has(event.type) ?? true) &&
          (correlationId === undefined || event.metadata.correlationId === correlationId),
      );
      const isOver = page.isEnd && page.position <= position;
      if (isOver) return;
      position = page.position > end ? end : page.position;
      if (position < end) next = this.#pageAhead(position);
      yield { events, position };
    }
  }

  async *subscribe({ after, types, signal }: SubscribeOptions): AsyncIterable<Batch> {
    const wanted = types === undefined ? undefined : new Set(types);
    const { start } = this.#parts.book;
    let position = after < start ? start : after;
    this.#followers += 1;
    try {
      while (!signal.aborted) {
        if (this.#isClosed) {
          // Nothing comes any more. It ends when it is told to, as any other.
          await once(signal, 'abort');
          return;
        }
        // Taken before looking: what comes meanwhile ends the wait below at once.
        const news = this.#news.next();
        let isOverdue = false;
        if (this.#tail !== undefined && this.#tail.start <= position) {
          const batch = this.#tail.after(position, MAX_PAGE_EVENTS, MAX_PAGE_BYTES);
          if (batch !== undefined) {
            position = batch.position;
            yield batchOf(batch, wanted);
            continue;
          }
          if ((await news.wait(NEWS_WITHIN_MS, signal)) === 'news') continue;
          // The stream was silent for so long that the end is checked.
          isOverdue = true;
        }
        const page = await this.#pageWhenAvailable(position, signal);
        if (page === undefined || signal.aborted) return;
        if (page.position > position) {
          position = page.position;
          // What the tail should have given, and has not, it will never give.
          if (isOverdue && page.events.length > 0) await this.#stopTail();
          // Here, and not at an empty page: a log that does not stop growing has none.
          if (page.isEnd) this.#tail ??= this.#startTail(position);
          yield batchOf(page, wanted);
        } else if (await this.#isWithinLog(position, signal)) {
          this.#tail ??= this.#startTail(position);
        }
      }
    } finally {
      this.#followers -= 1;
      if (this.#followers === 0) await this.#stopTail();
    }
  }

  async head(): Promise<Position> {
    return untilAnswered(() => this.#head.position());
  }

  end(): Promise<Position> {
    return untilAnswered(() => this.#lastRecord());
  }

  async positionAt(time: Date): Promise<Position> {
    const { book } = this.#parts;
    const last = await untilAnswered(() => this.#head.event());
    if (last === undefined) return BEGINNING;
    const head = positionOf(last);
    if (eventTime(last) <= time) return head;
    const milestone = await untilAnswered(() =>
      book.lastWhere(({ recordedAt }) => recordedAt <= time),
    );
    let found = milestone;
    for await (const { events } of this.readAll({ after: milestone, until: head })) {
      for (const event of events) {
        if (event.recordedAt > time) return found;
        found = event.position;
      }
    }
    return found < head ? found : head;
  }

  async close(): Promise<void> {
    await this.#appender.close();
    this.#isClosed = true;
    this.#news.notify();
    await this.#stopTail();
    await this.#parts.book.close();
    await this.#parts.call.close();
    await this.#parts.connection.close();
  }

  #pageAhead(position: Position): Promise<Page> {
    const page = untilAnswered(() => this.#page(position));
    // It is awaited when its turn comes, or never.
    page.catch(() => undefined);
    return page;
  }

  /** The events right after a position, which may be of no record: clients send such. */
  async #page(after: Position): Promise<Page> {
    try {
      return await this.#pageFromRecord(after);
    } catch (error) {
      if (!(error instanceof UnknownError)) throw error;
      const { book } = this.#parts;
      const milestone = await book.lastWhere(({ position }) => position <= after);
      let page = await this.#pageFromRecord(milestone);
      while (page.position <= after && !page.isEnd)
        page = await this.#pageFromRecord(page.position);
      const events = page.events.filter(({ position }) => position > after);
      return { ...page, events, position: page.position > after ? page.position : after };
    }
  }

  async #pageFromRecord(after: Position): Promise<Page> {
    const { reading, names, book } = this.#parts;
    const events: RecordedEvent[] = [];
    let position = after;
    let bytes = 0;
    // What else the server holds may be much more, and older.
    const from = after < book.start ? book.start : after;
    const isEnd = await reading.all(from, {
      direction: 'forwards',
      // The record at the position itself comes first, and was given before.
      maxCount: MAX_PAGE_EVENTS + 1,
      take: (event) => {
        const at = positionOf(event);
        if (at <= after) return false;
        position = at;
        const stream = names.ours(event.streamId);
        const recorded = stream && recordedEvent(stream, event);
        if (recorded === undefined) return false;
        events.push(recorded);
        bytes += approximateSize(recorded);
        return bytes >= MAX_PAGE_BYTES;
      },
    });
    return { events, position, isEnd };
  }

  /** Waits while the server is unavailable: the subscription resumes. */
  async #pageWhenAvailable(position: Position, signal: AbortSignal): Promise<Page | undefined> {
    while (!signal.aborted) {
      try {
        return await this.#page(position);
      } catch (error) {
        if (!isTransientFailure(error)) throw error;
        this.#parts.logger.debug({ err: error }, 'cannot read the log: the subscription retries');
        await sleep(RESUME_AFTER_MS, signal);
      }
    }
    return undefined;
  }

  /**
   * The server is silent when asked to read from a position beyond the end. Such a position belongs
   * to a log that was restored from an older copy, or the node has not caught up yet.
   */
  async #isWithinLog(position: Position, signal: AbortSignal): Promise<boolean> {
    try {
      const end = await this.#lastRecord();
      // It has grown since: whether there is a record at the position, reading on will tell.
      if (end > position) return false;
      if (end === position) return true;
      this.#parts.logger.warn({ position }, 'the log ends before this position: waiting for it');
    } catch (error) {
      if (!isTransientFailure(error)) throw error;
    }
    await sleep(BEYOND_PAUSE_MS, signal);
    return false;
  }

  /** The place of the last record of the server's log, whosever it is. */
  async #lastRecord(): Promise<Position> {
    let last = BEGINNING;
    await this.#parts.reading.all('end', {
      direction: 'backwards',
      maxCount: 1,
      take(event) {
        last = positionOf(event);
        return true;
      },
    });
    return last;
  }

  #startTail(position: Position): LiveTail {
    const { names, logger } = this.#parts;
    const onNews = (): void => this.#news.notify();
    return new LiveTail(position, { client: this.#client, names, logger, onNews });
  }

  async #stopTail(): Promise<void> {
    const tail = this.#tail;
    this.#tail = undefined;
    if (tail === undefined) return;
    this.#pastDrops += tail.drops;
    await tail.close();
  }
}

function batchOf({ events, position }: Batch, wanted: ReadonlySet<string> | undefined): Batch {
  return {
    events: wanted === undefined ? events : events.filter(({ type }) => wanted.has(type)),
    position,
  };
}
