import { randomUUID } from 'node:crypto';
import type { ReadReq } from '@eventstore/db-client/generated/streams_pb.js';
import { failures } from './errors.ts';
import type { GrpcCall } from './grpc-call.ts';
import { nameOf } from './identifiers.ts';
import type { Log, LogRecord } from './log.ts';
import { caughtUp, checkpoint, confirmation, eventResponse } from './read-responses.ts';

const BYTES_PER_WRITE = 64 * 1024;
const DEFAULT_SEARCH_WINDOW = 32;

interface SubscriptionOptions {
  readonly log: Log;
  readonly options: ReadReq.Options;
  readonly liveBufferSize: number;
}

/**
 * Catches up from the log as fast as the client takes it. From then on it is live: what the client
 * does not take up at once waits, and when too much waits it is dropped.
 */
export class Subscription {
  readonly #call: GrpcCall;
  readonly #records: readonly LogRecord[];
  readonly #liveBufferSize: number;
  readonly #matches: (record: LogRecord) => boolean;
  /** In records looked at; 0 for a subscription without a filter. */
  readonly #checkpointInterval: number;
  readonly #after: number;
  #next: number;
  /** How far has been looked for what waits. */
  #counted = 0;
  #waiting = 0;
  #lookedAt = 0;
  #isLive = false;
  #isBlocked = false;
  #onDropped: () => void = () => undefined;

  private constructor(
    call: GrpcCall,
    { log, options, liveBufferSize }: SubscriptionOptions,
    start: Start,
  ) {
    this.#call = call;
    this.#records = start.records;
    this.#next = start.next;
    this.#after = start.after;
    this.#liveBufferSize = liveBufferSize;
    const filter = options.getFilter();
    this.#matches = filter ? matching(filter) : () => true;
    this.#checkpointInterval = filter
      ? (filter.hasMax() ? filter.getMax() : DEFAULT_SEARCH_WINDOW) *
        filter.getCheckpointintervalmultiplier()
      : 0;
    const stopListening = log.onAppended(() => this.#appended());
    call.onOver(stopListening);
  }

  /** Nothing when it cannot begin where it was asked to; the call has failed then. */
  static open(call: GrpcCall, options: SubscriptionOptions): Subscription | undefined {
    call.sendFramed([confirmation(randomUUID())]);
    const start = startOf(options);
    if ('noRecordAt' in start) {
      call.fail(failures.noRecordAt(start.noRecordAt));
      return undefined;
    }
    const subscription = new Subscription(call, options, start);
    subscription.#pump();
    return subscription;
  }

  onDropped(handler: () => void): void {
    this.#onDropped = handler;
  }

  drop(): void {
    if (this.#call.isOver) return;
    this.#call.fail(failures.consumerTooSlow());
    this.#onDropped();
  }

  #appended(): void {
    if (this.#call.isOver) return;
    if (!this.#isBlocked) {
      this.#pump();
      return;
    }
    if (!this.#isLive) return;
    for (; this.#counted < this.#records.length; this.#counted += 1) {
      const record = this.#records[this.#counted];
      if (record !== undefined && this.#gives(record)) this.#waiting += 1;
    }
    if (this.#waiting > this.#liveBufferSize) setImmediate(() => this.#dropWhenStillTooSlow());
  }

  /** A burst that the client takes up within the turn is no slowness. */
  #dropWhenStillTooSlow(): void {
    if (this.#waiting > this.#liveBufferSize) this.drop();
  }

  #pump(): void {
    while (!this.#call.isOver && !this.#isBlocked) {
      if (this.#next >= this.#records.length) {
        if (this.#isLive) return;
        this.#isLive = true;
        this.#call.sendFramed([caughtUp()]);
        return;
      }
      if (!this.#call.sendFramed(this.#nextFrames())) void this.#waitUntilDrained();
    }
  }

  async #waitUntilDrained(): Promise<void> {
    this.#isBlocked = true;
    this.#counted = this.#next;
    this.#waiting = 0;
    await this.#call.drained();
    this.#isBlocked = false;
    this.#waiting = 0;
    this.#pump();
  }

  #nextFrames(): Uint8Array[] {
    const frames: Uint8Array[] = [];
    let bytes = 0;
    for (; this.#next < this.#records.length && bytes < BYTES_PER_WRITE; this.#next += 1) {
      const record = this.#records[this.#next];
      if (record === undefined) break;
      if (this.#gives(record)) {
        const frame = eventResponse(record);
        frames.push(frame);
        bytes += frame.length;
      }
      this.#lookedAt += 1;
      if (this.#checkpointInterval > 0 && this.#lookedAt % this.#checkpointInterval === 0) {
        frames.push(checkpoint(record.position));
      }
    }
    return frames;
  }

  #gives(record: LogRecord): boolean {
    return record.position > this.#after && this.#matches(record);
  }
}

interface Start {
  readonly records: readonly LogRecord[];
  readonly next: number;
  /** Records at this position or before are not given. */
  readonly after: number;
}

function startOf({ log, options }: SubscriptionOptions): Start | { readonly noRecordAt: number } {
  const all = options.getAll();
  if (!all) return startInStream(log, options.getStream());
  const { records } = log;
  if (all.hasStart()) return { records, next: 0, after: -1 };
  if (all.hasEnd()) return { records, next: records.length, after: -1 };
  const position = Number(all.getPosition()?.getCommitPosition());
  const index = log.indexAt(position);
  // Beyond the end is silence, until the log gets there.
  if (index >= records.length) return { records, next: index, after: position };
  if (records[index]?.position !== position) return { noRecordAt: position };
  return { records, next: index + 1, after: position };
}

function startInStream(log: Log, stream: ReadReq.Options.StreamOptions | undefined): Start {
  const name = nameOf(stream?.getStreamIdentifier());
  const records = log.recordsOf(name);
  const first = log.firstRevisionOf(name);
  if (stream?.hasEnd()) return { records, next: records.length, after: -1 };
  if (!stream?.hasRevision()) return { records, next: first, after: -1 };
  return { records, next: Math.max(Number(stream.getRevision()) + 1, first), after: -1 };
}

function matching(filter: ReadReq.Options.FilterOptions): (record: LogRecord) => boolean {
  const onStream = filter.getStreamIdentifier();
  const expression = onStream ?? filter.getEventType();
  const subject = onStream
    ? (record: LogRecord) => record.stream
    : (record: LogRecord) => record.type;
  const prefixes = expression?.getPrefixList() ?? [];
  if (prefixes.length > 0) {
    return (record) => prefixes.some((prefix) => subject(record).startsWith(prefix));
  }
  const regex = new RegExp(expression?.getRegex() ?? '', 'u');
  return (record) => regex.test(subject(record));
}
