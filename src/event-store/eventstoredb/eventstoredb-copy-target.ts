import {
  CopyRefusedError,
  type CopyTarget,
  type Position,
  type RecordedEvent,
  type Taken,
} from '../port.ts';
import { LedgerError } from '../../shared/errors.ts';
import type { Appender } from './appender.ts';
import { isTransientFailure } from './failures.ts';
import type { Head } from './head.ts';
import type { LogBook } from './log-book.ts';
import { originOf, withOrigin } from './wire-event.ts';

/** Well below the 1 MiB that the server takes at once. */
const MAX_RUN_BYTES = 700_000;
const ORIGIN_BYTES = 200;
const MAX_RUN_EVENTS = 500;
const EVENTS_PER_MILESTONE = 1_000;

/**
 * Each event carries where it comes from, so the last one tells how far the copying has come. One
 * append after the other: two at once, to two streams, might be stored in the other order.
 */
export class EventStoreDBCopyTarget implements CopyTarget {
  readonly #appender: Appender;
  readonly #head: Head;
  readonly #book: LogBook;
  #sinceMilestone = 0;

  constructor(appender: Appender, head: Head, book: LogBook) {
    this.#appender = appender;
    this.#head = head;
    this.#book = book;
  }

  async taken(): Promise<Taken> {
    const last = await this.#head.event();
    if (last === undefined) return { kind: 'nothing' };
    const origin = originOf(last);
    if (origin === undefined) return { kind: 'own-events' };
    return { kind: 'copied', from: origin.logId, position: BigInt(origin.position) as Position };
  }

  async take(from: string, events: readonly RecordedEvent[]): Promise<void> {
    for (const run of runsOf(events)) {
      const [first] = run;
      const last = run.at(-1);
      if (first === undefined || last === undefined) continue;
      const [appended] = await this.#appender
        .append([
          {
            stream: first.stream,
            expectedRevision: first.revision === 0n ? 'no-stream' : first.revision - 1n,
            events: run.map((event) => withOrigin(event, from)),
          },
        ])
        .catch((error: unknown) => {
          throw refusalOf(error, first);
        });
      if (appended?.outcome !== 'appended') {
        throw new CopyRefusedError(
          `The stream ${first.stream} is not as its copy would be: copy into an empty log.`,
        );
      }
      this.#sinceMilestone += run.length;
      if (this.#sinceMilestone >= EVENTS_PER_MILESTONE) {
        this.#sinceMilestone = 0;
        await this.#book.write(last).catch(leaveOut);
      }
    }
  }
}

/** A milestone that cannot be written is left out: a time is then found by reading more. */
function leaveOut(error: unknown): void {
  if (!isTransientFailure(error)) throw error;
}

function refusalOf(error: unknown, { stream, revision }: RecordedEvent): unknown {
  if (!(error instanceof LedgerError) || error.code !== 'body-too-large') return error;
  return new CopyRefusedError(
    `The event ${revision} of ${stream} is larger than what this server takes at once ` +
      '(MaxAppendSize): allow it more.',
  );
}

/** The size in bytes, as it is sent. */
function sizeOf({ type, data, metadata }: RecordedEvent): number {
  const json =
    Buffer.byteLength(JSON.stringify(data)) + Buffer.byteLength(JSON.stringify(metadata));
  return json + 2 * type.length + ORIGIN_BYTES;
}

/** Events of one stream that stand together go in at once. */
function* runsOf(events: readonly RecordedEvent[]): Iterable<RecordedEvent[]> {
  let run: RecordedEvent[] = [];
  let bytes = 0;
  for (const event of events) {
    const size = sizeOf(event);
    const isFull = run.length === MAX_RUN_EVENTS || bytes + size > MAX_RUN_BYTES;
    if (run.length > 0 && (isFull || run[0]?.stream !== event.stream)) {
      yield run;
      run = [];
      bytes = 0;
    }
    run.push(event);
    bytes += size;
  }
  if (run.length > 0) yield run;
}
