import { randomUUID } from 'node:crypto';

export interface NewRecord {
  readonly id: string;
  readonly type: string;
  readonly contentType: string;
  readonly data: Uint8Array;
  readonly metadata: Uint8Array;
}

export interface LogRecord extends NewRecord {
  readonly stream: string;
  readonly revision: number;
  readonly position: number;
  /** By the server's clock, in milliseconds. */
  readonly created: number;
}

interface StreamOfLog {
  /** The record of revision n is at index n. */
  readonly records: LogRecord[];
  /** Revisions below are deleted. */
  firstRevision: number;
  isTombstoned: boolean;
}

/** How often an append is followed by a record of the server's own, so that nobody counts on density. */
const APPENDS_PER_SYSTEM_RECORD = 16;

/**
 * What the server holds, in memory. Positions are those of bytes in a file: they grow, with gaps,
 * and the first is not 0.
 */
export class Log {
  readonly records: LogRecord[] = [];
  /** Added to the server's clock, in milliseconds. */
  clockOffset = 0;
  readonly #streams = new Map<string, StreamOfLog>();
  readonly #listeners = new Set<() => void>();
  #end = 1_167;
  #appends = 0;

  constructor() {
    this.#write('$settings', [systemRecord('$SettingsWritten')]);
    this.#write('$$$users', [systemRecord('$metadata')]);
    this.#write('$users', [systemRecord('$User'), systemRecord('$User')]);
    this.#write('$scavenges', [systemRecord('$scavengeIndexInitialized')]);
  }

  /** Where the next record will lie. */
  get end(): number {
    return this.#end;
  }

  /** Empty for a missing stream; grows with the stream. */
  recordsOf(stream: string): readonly LogRecord[] {
    return this.#stream(stream).records;
  }

  firstRevisionOf(stream: string): number {
    return this.#streams.get(stream)?.firstRevision ?? 0;
  }

  isTombstoned(stream: string): boolean {
    return this.#streams.get(stream)?.isTombstoned ?? false;
  }

  isSoftDeleted(stream: string): boolean {
    const found = this.#streams.get(stream);
    return (
      found !== undefined && found.records.length > 0 && found.firstRevision >= found.records.length
    );
  }

  /** Gives the last record written. */
  append(stream: string, records: readonly NewRecord[]): LogRecord | undefined {
    const last = this.#write(stream, records);
    this.#appends += 1;
    if (this.#appends % APPENDS_PER_SYSTEM_RECORD === 0) {
      this.#write('$stats-127.0.0.1:2113', [systemRecord('$statsCollected')]);
    }
    this.#tellListeners();
    return last;
  }

  softDelete(stream: string): LogRecord | undefined {
    const found = this.#stream(stream);
    found.firstRevision = found.records.length;
    return this.append(`$$${stream}`, [
      systemRecord('$metadata', { $tb: Number.MAX_SAFE_INTEGER }),
    ]);
  }

  tombstone(stream: string): LogRecord | undefined {
    this.#stream(stream).isTombstoned = true;
    const record = this.append(stream, [systemRecord('$streamDeleted')]);
    this.#stream(stream).records.pop();
    return record;
  }

  /** The index in `records` of the first record at the position or after it. */
  indexAt(position: number): number {
    let low = 0;
    let high = this.records.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.records[middle]?.position ?? Infinity) < position) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  onAppended(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  #tellListeners(): void {
    for (const listener of this.#listeners) listener();
  }

  #write(stream: string, records: readonly NewRecord[]): LogRecord | undefined {
    const { records: ofStream } = this.#stream(stream);
    const created = Date.now() + this.clockOffset;
    for (const record of records) {
      const written: LogRecord = {
        id: record.id,
        type: record.type,
        contentType: record.contentType,
        data: record.data,
        metadata: record.metadata,
        stream,
        revision: ofStream.length,
        position: this.#end,
        created,
      };
      this.#end += 137 + 2 * (stream.length + record.type.length);
      this.#end += record.data.length + record.metadata.length;
      ofStream.push(written);
      this.records.push(written);
    }
    return ofStream.at(-1);
  }

  #stream(name: string): StreamOfLog {
    let found = this.#streams.get(name);
    if (found === undefined) {
      found = { records: [], firstRevision: 0, isTombstoned: false };
      this.#streams.set(name, found);
    }
    return found;
  }
}

export function systemRecord(type: string, data: Record<string, unknown> = {}): NewRecord {
  return {
    id: randomUUID(),
    type,
    contentType: 'application/json',
    data: Buffer.from(JSON.stringify(data)),
    metadata: new Uint8Array(),
  };
}
