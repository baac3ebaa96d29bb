import {
  MaxAppendSizeExceededError,
  WrongExpectedVersionError,
  type RecordedEvent as Received,
} from '@eventstore/db-client';
import { LRUCache } from 'lru-cache';
import pLimit from 'p-limit';
import pRetry from 'p-retry';
import { LedgerError } from '../../shared/errors.ts';
import type { Logger } from '../../shared/logger.ts';
import type { Appended, ExpectedRevision, Position, Write } from '../port.ts';
import type { StreamName } from '../stream-name.ts';
import type { AppendCall } from './append-call.ts';
import { asStoreError, isRefusedUser, isTransientFailure, NoAnswerError } from './failures.ts';
import type { Reading } from './reading.ts';
import { untilReadable } from './retrying.ts';
import { eventData, positionOf, type StreamNames } from './wire-event.ts';

export interface AppenderOptions {
  readonly call: AppendCall;
  readonly reading: Reading;
  readonly names: StreamNames;
  readonly logger: Logger;
  /** Called for each write that was stored, before it is answered. */
  readonly onStored: (position: Position, events: number) => void;
  /** The newest position that is known of: what is appended from now on lies after it. */
  readonly newestKnown: () => Position;
  /** How long one attempt may take. */
  readonly attemptTimeoutMs?: number;
  /** How long after the first attempt another one is begun, before the caller gets an error. */
  readonly retryForMs?: number;
  /** How long after a refusal the event that came first may take to be readable. */
  readonly readableWithinMs?: number;
}

/** More would wait at the server instead of here, and be harder to bound. */
const MAX_IN_FLIGHT = 512;
const MAX_WAITING = 20_000;
const MAX_REMEMBERED = 10_000;
const WARN_INTERVAL_MS = 10_000;
const ATTEMPT_TIMEOUT_MS = 5_000;
const RETRY_FOR_MS = 10_000;
const MAX_POSITION = 2n ** 63n - 1n;
/** How far back an own event is looked for at once. */
const SEARCH_PAGE = 100;

/**
 * Appends whose outcome is always the truth. An attempt without an answer (a time-out, a connection
 * that broke) may have been stored, or be stored a moment later, so it is repeated with the same
 * ids at the same revision, which the server answers like the first time if that was stored. The
 * present revision would be the trap: there the same ids are written a second time.
 */
export class Appender {
  readonly #options: AppenderOptions;
  readonly #limit = pLimit(MAX_IN_FLIGHT);
  /** What ended without an answer, by the id of its last event: what was known before it. */
  readonly #unknown = new LRUCache<string, Position>({ max: MAX_REMEMBERED });
  /** Since it was last said. */
  #repeated = 0;
  #warnedAtMs = Number.NEGATIVE_INFINITY;
  #isClosed = false;
  #running = 0;
  #idle: (() => void) | undefined;

  constructor(options: AppenderOptions) {
    this.#options = options;
  }

  async append(writes: readonly Write[]): Promise<Appended[]> {
    if (writes.length === 0) return [];
    if (this.#isClosed) {
      throw new LedgerError(
        'shutting-down',
        'This process is shutting down: send the request again to another one.',
      );
    }
    const waiting = this.#limit.pendingCount;
    if (waiting > 0 && waiting + writes.length > MAX_WAITING) {
      throw new LedgerError('overloaded', 'Too many appends are waiting: try again in a moment.');
    }
    this.#running += 1;
    try {
      return await this.#pipelined(writes);
    } catch (error) {
      throw asStoreError(error);
    } finally {
      this.#running -= 1;
      if (this.#running === 0) this.#idle?.();
    }
  }

  /** Waits for what was accepted; later appends are refused. */
  async close(): Promise<void> {
    this.#isClosed = true;
    if (this.#running > 0) await new Promise<void>((resolve) => (this.#idle = resolve));
  }

  /** Over streams at once, within a stream one after the other. */
  async #pipelined(writes: readonly Write[]): Promise<Appended[]> {
    const sinceMs = performance.now();
    const [only] = writes;
    if (only !== undefined && writes.length === 1) {
      return [await this.#limit(() => this.#store(only, sinceMs))];
    }
    const last = new Map<StreamName, Promise<unknown>>();
    const answers = writes.map((write) => {
      const before = last.get(write.stream);
      const answer =
        before === undefined
          ? this.#limit(() => this.#store(write, sinceMs))
          : before.then(() => this.#limit(() => this.#store(write, sinceMs)));
      last.set(write.stream, answer);
      return answer;
    });
    // All appends have ended before the caller gets the first failure, so none continues after it.
    const settled = await Promise.allSettled(answers);
    return settled.map((one) => {
      if (one.status === 'rejected') throw one.reason;
      return one.value;
    });
  }

  async #store(write: Write, sinceMs: number): Promise<Appended> {
    const { onStored, newestKnown, retryForMs = RETRY_FOR_MS } = this.#options;
    // It has waited behind others for as long as it would be tried: nothing was sent.
    if (performance.now() - sinceMs > retryForMs) throw new NoAnswerError(retryForMs);
    const id = write.events.at(-1)?.id ?? '';
    // The caller sends it again, after it could not be found out what had become of it.
    const unknownSince = this.#unknown.get(id);
    const before = unknownSince ?? newestKnown();
    const first =
      unknownSince === undefined ? this.#attempt(write) : this.#findOrAttempt(write, before);
    const answer = await first
      .catch((error: unknown) => {
        if (!isTransientFailure(error)) throw error;
        return this.#repeat(write, before, error);
      })
      .catch((error: unknown) => {
        if (isTransientFailure(error) && !isByRevision(write)) this.#unknown.set(id, before);
        throw error;
      });
    if (unknownSince !== undefined) this.#unknown.delete(id);
    if (answer.outcome === 'appended') onStored(answer.position, write.events.length);
    return answer;
  }

  #repeat(write: Write, before: Position, cause: unknown): Promise<Appended> {
    const { logger, retryForMs = RETRY_FOR_MS } = this.#options;
    this.#repeated += 1;
    if (performance.now() - this.#warnedAtMs > WARN_INTERVAL_MS) {
      this.#warnedAtMs = performance.now();
      const count = this.#repeated;
      logger.warn({ err: cause, count }, 'appends repeated: their outcome is unknown');
      this.#repeated = 0;
    }
    return pRetry(() => this.#findOrAttempt(write, before), {
      retries: 1_000,
      minTimeout: 50,
      maxTimeout: 500,
      maxRetryTime: retryForMs,
      randomize: true,
      shouldRetry: ({ error }) => isTransientFailure(error) && !isRefusedUser(error),
    });
  }

  async #findOrAttempt(write: Write, before: Position): Promise<Appended> {
    return (await this.#foundSince(before, write)) ?? this.#attempt(write);
  }

  async #attempt(write: Write): Promise<Appended> {
    const { call, names, attemptTimeoutMs = ATTEMPT_TIMEOUT_MS } = this.#options;
    const { stream, events, expectedRevision } = write;
    try {
      const { revision, position } = await call.append({
        stream: names.onServer(stream),
        events: events.map((event) => eventData(event)),
        expectedRevision,
        timeoutMs: attemptTimeoutMs,
      });
      return {
        outcome: 'appended',
        revision,
        position: placeIn(position) ?? (await this.#positionAt(stream, revision)),
      };
    } catch (error) {
      if (error instanceof WrongExpectedVersionError) return this.#judge(write, error);
      if (error instanceof MaxAppendSizeExceededError) throw tooLarge(error);
      throw error;
    }
  }

  /**
   * With `any` and `stream-exists` the server knows a repetition only as far as its cache of ids
   * reaches, which a restart empties. So before it is sent again, the stream is searched for it:
   * what the first attempt stored lies after everything that was known when it was made.
   */
  async #foundSince(before: Position, write: Write): Promise<Appended | undefined> {
    if (isByRevision(write)) return undefined;
    const { reading, names } = this.#options;
    const ownId = write.events.at(-1)?.id;
    let from: bigint | 'end' = 'end';
    for (;;) {
      const page = await reading.stream(names.onServer(write.stream), {
        from,
        direction: 'backwards',
        maxCount: SEARCH_PAGE,
      });
      for (const event of page.events) {
        const position = positionOf(event);
        if (position <= before) return undefined;
        if (event.id === ownId) return { outcome: 'appended', revision: event.revision, position };
        from = event.revision - 1n;
      }
      if (page.isEnd || from === 'end' || from < 0n) return undefined;
    }
  }

  /**
   * Why it was refused: another writer came first, or some of its events are there already. Not
   * answered before the caller can read what came first.
   */
  async #judge(write: Write, { actualVersion }: WrongExpectedVersionError): Promise<Appended> {
    if (actualVersion === 'no_stream') {
      return { outcome: 'conflict', actualRevision: 'no-stream' };
    }
    const { expectedRevision, events } = write;
    const inPlace = await this.#inPlace(write, actualVersion);
    if (expectedRevision === 'any' || expectedRevision === 'stream-exists') {
      return { outcome: 'partial-overlap', actualRevision: actualVersion };
    }
    const last = inPlace.at(-1);
    // The server does not recognise a repetition by its revision in a stream that was deleted.
    if (last !== undefined && events.every(({ id }, index) => inPlace[index]?.id === id)) {
      return { outcome: 'appended', revision: last.revision, position: positionOf(last) };
    }
    const ids = new Set(events.map(({ id }) => id));
    const outcome = inPlace.some(({ id }) => ids.has(id)) ? 'partial-overlap' : 'conflict';
    return { outcome, actualRevision: actualVersion };
  }

  /**
   * What stands where a refused write would have been stored, once its stream can be read so far.
   */
  async #inPlace(write: Write, actualRevision: bigint): Promise<readonly Received[]> {
    const { reading, names, readableWithinMs } = this.#options;
    const { stream, events, expectedRevision } = write;
    const nameOnServer = names.onServer(stream);
    const from = placeOf(expectedRevision) ?? actualRevision + 1n;
    const read = async (): Promise<readonly Received[]> => {
      if (from > actualRevision) return [];
      const page = { from, direction: 'forwards', maxCount: events.length } as const;
      return (await reading.stream(nameOnServer, page)).events;
    };
    const first = await read();
    const last = first.at(-1);
    if (last !== undefined && last.revision >= actualRevision) return first;
    await untilReadable(reading, nameOnServer, actualRevision, readableWithinMs);
    return read();
  }

  async #positionAt(stream: StreamName, revision: bigint): Promise<Position> {
    const { reading, names } = this.#options;
    const { events } = await reading.stream(names.onServer(stream), {
      from: revision,
      direction: 'forwards',
      maxCount: 1,
    });
    const [event] = events;
    if (event === undefined) throw new Error(`${stream} has no event ${revision}, just appended`);
    return positionOf(event);
  }
}

/** The server knows a repetition by its place then, and not by its ids alone. */
function isByRevision({ expectedRevision }: Write): boolean {
  return placeOf(expectedRevision) !== undefined;
}

/**
 * The revision that the first event of a write gets; undefined where that is the server's choice.
 */
function placeOf(expectedRevision: ExpectedRevision): bigint | undefined {
  if (expectedRevision === 'any' || expectedRevision === 'stream-exists') return undefined;
  return expectedRevision === 'no-stream' ? 0n : expectedRevision + 1n;
}

/** A repetition may be answered without its position, or with -1 for it. */
function placeIn(position: bigint | undefined): Position | undefined {
  return position === undefined || position > MAX_POSITION ? undefined : (position as Position);
}

function tooLarge(cause: MaxAppendSizeExceededError): LedgerError {
  return new LedgerError(
    'body-too-large',
    'The log takes less than 1 MiB at once: send it in smaller parts.',
    { cause },
  );
}
