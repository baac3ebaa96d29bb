import type { Log, LogRecord, NewRecord } from './log.ts';

export type ExpectedRevision = 'any' | 'no-stream' | 'stream-exists' | bigint;

export interface AppendRequest {
  readonly stream: string;
  readonly expected: ExpectedRevision;
  readonly records: readonly NewRecord[];
}

export type AppendAnswer =
  | { readonly outcome: 'stored'; readonly revision?: number; readonly position?: number }
  /**
   * The same ids are still being written: the server drops the repetition, and its time-out
   * answers.
   */
  | { readonly outcome: 'dropped' }
  | { readonly outcome: 'wrong-expected-version'; readonly current: number | undefined }
  | { readonly outcome: 'stream-deleted' }
  | { readonly outcome: 'too-large'; readonly limit: number };

interface AppenderOptions {
  readonly maxAppendSizeBytes: number;
  readonly idCacheSize: number;
}

/** What an append promises: the table of repeated appends, row by row. */
export class Appender {
  readonly #log: Log;
  readonly #options: AppenderOptions;
  /** Recent events by id: all that ANY and STREAM_EXISTS know of earlier ones. */
  readonly #recent = new Map<string, LogRecord>();

  constructor(log: Log, options: AppenderOptions) {
    this.#log = log;
    this.#options = options;
  }

  forgetRecentIds(): void {
    this.#recent.clear();
  }

  append({ stream, expected, records }: AppendRequest): AppendAnswer {
    const limit = this.#options.maxAppendSizeBytes;
    if (sizeOf(records) > limit) return { outcome: 'too-large', limit };
    if (this.#log.isTombstoned(stream)) return { outcome: 'stream-deleted' };
    const present = this.#log.decidedOf(stream);
    const isSoftDeleted = this.#log.isSoftDeleted(stream);
    const conflict: AppendAnswer = {
      outcome: 'wrong-expected-version',
      current: present.at(-1)?.revision,
    };

    if (expected === 'any' || expected === 'stream-exists') {
      if (expected === 'stream-exists' && isSoftDeleted) return { outcome: 'stream-deleted' };
      if (expected === 'stream-exists' && present.length === 0) return conflict;
      const first = this.#recentOf(stream, records[0]);
      if (first === undefined) return this.#store(stream, records);
      return isStoredFrom(first.revision, present, records)
        ? this.#answerAgain(present, first.revision, records)
        : conflict;
    }

    const expectedLength = expected === 'no-stream' ? 0 : Number(expected) + 1;
    if (expectedLength > present.length) return conflict;
    // At the present revision the ids are not looked at: the same ones are written once more.
    if (expectedLength === present.length) return this.#store(stream, records);
    if (isStoredFrom(expectedLength, present, records)) {
      return this.#answerAgain(present, expectedLength, records);
    }
    return expected === 'no-stream' && isSoftDeleted ? this.#store(stream, records) : conflict;
  }

  #recentOf(stream: string, record: NewRecord | undefined): LogRecord | undefined {
    const recent = record && this.#recent.get(record.id);
    return recent?.stream === stream ? recent : undefined;
  }

  #store(stream: string, records: readonly NewRecord[]): AppendAnswer {
    const present = this.#log.decidedOf(stream);
    if (records.length === 0) return stored(undefined, present.at(-1)?.revision);
    const from = present.length;
    const last = this.#log.append(stream, records);
    for (let revision = from; revision < present.length; revision += 1) {
      this.#remember(present[revision]);
    }
    return stored(last);
  }

  #answerAgain(
    present: readonly LogRecord[],
    from: number,
    records: readonly NewRecord[],
  ): AppendAnswer {
    if (records.length === 0) return stored(undefined, present.at(-1)?.revision);
    const last = present[from + records.length - 1];
    if (last !== undefined && !this.#log.isShown(last)) return { outcome: 'dropped' };
    return stored(last);
  }

  #remember(record: LogRecord | undefined): void {
    if (record === undefined) return;
    this.#recent.delete(record.id);
    this.#recent.set(record.id, record);
    if (this.#recent.size <= this.#options.idCacheSize) return;
    for (const oldest of this.#recent.keys()) {
      this.#recent.delete(oldest);
      return;
    }
  }
}

function stored(record: LogRecord | undefined, revision = record?.revision): AppendAnswer {
  return {
    outcome: 'stored',
    ...(revision !== undefined && { revision }),
    ...(record !== undefined && { position: record.position }),
  };
}

function isStoredFrom(
  revision: number,
  present: readonly LogRecord[],
  records: readonly NewRecord[],
): boolean {
  return records.every(({ id }, index) => present[revision + index]?.id === id);
}

function sizeOf(records: readonly NewRecord[]): number {
  let size = 0;
  for (const { type, data, metadata } of records) {
    size += 2 * type.length + data.length + metadata.length;
  }
  return size;
}
