import {
  jsonEvent,
  WrongExpectedVersionError,
  type RecordedEvent as Received,
} from '@eventstore/db-client';
import { randomBytes } from 'node:crypto';
import type { Logger } from '../../shared/logger.ts';
import type { Position, RecordedEvent } from '../port.ts';
import { INSTALLATION_PROJECT } from '../stream-name.ts';
import type { AppendCall } from './append-call.ts';
import { isTransientFailure, UnexpectedLogError } from './failures.ts';
import type { Reading } from './reading.ts';
import { untilReadable } from './retrying.ts';
import { eventTime, positionOf, type StreamNames } from './wire-event.ts';

/** A place in the log, and when the log stood there. */
export interface Milestone {
  readonly position: Position;
  readonly recordedAt: Date;
}

export interface LogBookOptions {
  readonly call: AppendCall;
  readonly reading: Reading;
  readonly names: StreamNames;
  readonly logger: Logger;
}

const EVENTS_PER_MILESTONE = 1_000;
const MAX_MS_PER_MILESTONE = 60_000;
const TIMEOUT_MS = 3_000;

/**
 * What the log has to say of itself, in a stream that is none of the ledger's own: first its id,
 * then a milestone for every thousand events or so. The server finds an event by its stream and
 * revision, and has no index by time: here a time is found by a binary search over revisions, and
 * then by reading a thousand events. Who appends writes the milestones; one too many, or one too
 * few after a kill, only makes that reading shorter or longer.
 */
export class LogBook {
  readonly logId: string;
  /** The position of the first entry: all of the log lies after it. */
  readonly start: Position;
  readonly #options: LogBookOptions;
  readonly #stream: string;
  #eventsSince = 0;
  #writtenAtMs = Number.NEGATIVE_INFINITY;
  #writing: Promise<void> | undefined;

  private constructor(logId: string, start: Position, stream: string, options: LogBookOptions) {
    this.logId = logId;
    this.start = start;
    this.#stream = stream;
    this.#options = options;
  }

  /** The first to open a log gives it its id, before anything else is in it. */
  static async open(options: LogBookOptions): Promise<LogBook> {
    const stream = options.names.onServer(`ledger-${INSTALLATION_PROJECT}.log`);
    const { call, reading } = options;
    const first = async (): Promise<Received | undefined> => {
      const page = await reading.stream(stream, {
        from: 'start',
        direction: 'forwards',
        maxCount: 1,
      });
      return page.events[0];
    };
    let created = await first();
    if (created === undefined) {
      const data = { logId: randomBytes(4).toString('hex') };
      await call
        .append({
          stream,
          events: [jsonEvent({ type: 'LogCreated', data })],
          expectedRevision: 'no-stream',
          timeoutMs: TIMEOUT_MS,
        })
        .catch(async (error: unknown) => {
          if (!(error instanceof WrongExpectedVersionError)) throw error;
          // Another process was first.
          const { actualVersion } = error;
          if (actualVersion !== 'no_stream') await untilReadable(reading, stream, actualVersion);
        });
      created = await first();
    }
    const logId = (created?.data as { readonly logId?: unknown } | undefined)?.logId;
    if (created === undefined || typeof logId !== 'string' || !/^[0-9a-f]{8}$/.test(logId)) {
      throw new UnexpectedLogError(
        `${stream} does not name the log: somebody else has written there`,
      );
    }
    return new LogBook(logId, positionOf(created), stream, options);
  }

  /** Counts appended events, and writes a milestone when one is due. */
  note(events: number): void {
    this.#eventsSince += events;
    const isDue =
      this.#eventsSince >= EVENTS_PER_MILESTONE ||
      performance.now() - this.#writtenAtMs > MAX_MS_PER_MILESTONE;
    if (!isDue || this.#writing !== undefined) return;
    this.#writing = this.write()
      .catch((error: unknown) => {
        const level = isTransientFailure(error) ? 'debug' : 'error';
        this.#options.logger[level]({ err: error }, 'a milestone is left out');
      })
      .finally(() => {
        this.#writing = undefined;
      });
  }

  /** `copied`: the last event that was copied to here, whose time counts. */
  async write(copied?: RecordedEvent): Promise<void> {
    this.#eventsSince = 0;
    this.#writtenAtMs = performance.now();
    const origin = copied && { $copiedFrom: { recordedAt: copied.recordedAt.toISOString() } };
    const metadata = { projectId: INSTALLATION_PROJECT, ...origin };
    await this.#options.call.append({
      stream: this.#stream,
      events: [jsonEvent({ type: 'MilestoneReached', data: {}, metadata })],
      expectedRevision: 'any',
      timeoutMs: TIMEOUT_MS,
    });
  }

  /**
   * The position of the last milestone that is not beyond what is looked for. The first entry is
   * before everything, also where the events after it were copied and are older than it.
   */
  async lastWhere(isBefore: (milestone: Milestone) => boolean): Promise<Position> {
    const [last] = await this.#read('end');
    if (last === undefined) throw new UnexpectedLogError(`${this.#stream} is gone`);
    let low = { revision: 0n, position: this.start };
    let high = last.revision;
    while (low.revision < high) {
      const middle = (low.revision + high + 1n) / 2n;
      const [event] = middle === last.revision ? [last] : await this.#read(middle);
      if (event === undefined)
        throw new UnexpectedLogError(`${this.#stream} has no event ${middle}`);
      const position = positionOf(event);
      if (isBefore({ position, recordedAt: eventTime(event) }))
        low = { revision: middle, position };
      else high = middle - 1n;
    }
    return low.position;
  }

  async close(): Promise<void> {
    await this.#writing;
  }

  async #read(from: bigint | 'end'): Promise<readonly Received[]> {
    const { events } = await this.#options.reading.stream(this.#stream, {
      from,
      direction: from === 'end' ? 'backwards' : 'forwards',
      maxCount: 1,
    });
    return events;
  }
}
