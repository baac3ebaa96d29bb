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
  /** When the server created it, in milliseconds. */
  readonly created: number;
}

interface StreamOfLog {
  /** What can be read. The record of revision n is at index n. */
  readonly records: LogRecord[];
  /** What appends are decided on: these records, and then those that are still being written. */
  readonly decided: LogRecord[];
  /** Revisions below are deleted. */
  firstRevision: number;
  isTombstoned: boolean;
}

/**
 * How often an append is followed by a record of the server's own, so that nobody counts on
 * density.
 */
const APPENDS_PER_SYSTEM_RECORD = 16;

/**
 * What the server holds, in memory. Positions are those of bytes in a file: they grow, with gaps,
 * and the first is not 0.
 */
export class Log {
  /** What can be read. */
  readonly records: LogRecord[] = [];
  /** Added to the server's clock, in milliseconds. */
  clockOffset = 0;
  readonly #showsAfterMs: number;
  readonly #streams = new Map<string, StreamOfLog>();
  readonly #listeners = new Set<() => void>();
  /** What is being written, in the order in which it was decided. */
  #unshown: Unshown[] = [];
  #timer: NodeJS.Timeout | undefined;
  #end = 1_167;
  #appends = 0;

  /** `showsAfterMs`: how long after it was decided a record can be read; 0 for at once. */
  constructor(showsAfterMs = 0) {
    this.#showsAfterMs = showsAfterMs;
    this.#write('$settings', [systemRecord('$SettingsWritten')]);
    this.#write('$$$users', [systemRecord('$metadata')]);
    this.#write('$users', [systemRecord('$User'), systemRecord('$User')]);
    this.#write('$scavenges', [systemRecord('$scavengeIndexInitialized')]);
  }

  /** Where the next record will lie. */
  get end(): number {
    return this.#end;
  }

  /** What can be read of a stream. Empty for a missing stream; grows with the stream. */
  recordsOf(stream: string): readonly LogRecord[] {
    return this.#stream(stream).records;
  }

  /**
   * What appends to a stream are decided on, which may not be readable yet; grows with the stream.
   */
  decidedOf(stream: string): readonly LogRecord[] {
    return this.#stream(stream).decided;
  }

  isShown({ stream, revision }: LogRecord): boolean {
    return revision < this.#stream(stream).records.length;
  }

  /** Calls `listener` once everything that was decided by now can be read; at once if it can. */
  whenShown(listener: () => void): void {
    const last = this.#unshown.at(-1);
    if (last === undefined) listener();
    else last.listeners.push(listener);
  }

  /** As by a kill: what is still being written is lost, and nobody is answered. */
  forgetUnshown(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#unshown = [];
    for (const { records, decided } of this.#streams.values()) decided.length = records.length;
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
      found !== undefined && found.decided.length > 0 && found.firstRevision >= found.decided.length
    );
  }

  /** Gives the last record written. */
  append(stream: string, records: readonly NewRecord[]): LogRecord | undefined {
    const last = this.#write(stream, records);
    this.#appends += 1;
    if (this.#appends % APPENDS_PER_SYSTEM_RECORD === 0) {
      this.#write('$stats-127.0.0.1:2113', [systemRecord('$statsCollected')]);
    }
    return last;
  }

  softDelete(stream: string): LogRecord | undefined {
    const found = this.#stream(stream);
    found.firstRevision = found.decided.length;
    return this.append(`$$${stream}`, [
      systemRecord('$metadata', { $tb: Number.MAX_SAFE_INTEGER }),
    ]);
  }

  tombstone(stream: string): LogRecord | undefined {
    this.#stream(stream).isTombstoned = true;
    return this.append(stream, [systemRecord('$streamDeleted')]);
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

  /** Forgets all but the first records. */
  goBackTo(recordCount: number): void {
    this.forgetUnshown();
    for (const { stream } of this.records.splice(recordCount)) {
      const { records, decided } = this.#stream(stream);
      records.pop();
      decided.pop();
    }
  }

  onAppended(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  #write(stream: string, records: readonly NewRecord[]): LogRecord | undefined {
    const { decided } = this.#stream(stream);
    const created = Date.now() + this.clockOffset;
    const written: LogRecord[] = [];
    for (const record of records) {
      const decision: LogRecord = {
        id: record.id,
        type: record.type,
        contentType: record.contentType,
        data: record.data,
        metadata: record.metadata,
        stream,
        revision: decided.length,
        position: this.#end,
        created,
      };
      this.#end += 137 + 2 * (stream.length + record.type.length);
      this.#end += record.data.length + record.metadata.length;
      decided.push(decision);
      written.push(decision);
    }
    if (this.#showsAfterMs === 0) {
      this.#show(written);
    } else {
      const at = performance.now() + this.#showsAfterMs;
      this.#unshown.push({ records: written, at, listeners: [] });
      this.#timer ??= setTimeout(() => this.#showDue(), this.#showsAfterMs);
    }
    return decided.at(-1);
  }

  #showDue(): void {
    this.#timer = undefined;
    let due = this.#unshown.findIndex(({ at }) => at > performance.now());
    if (due === -1) due = this.#unshown.length;
    const shown = this.#unshown.splice(0, due);
    for (const { records } of shown) this.#show(records);
    for (const { listeners } of shown) for (const listener of listeners) listener();
    const [next] = this.#unshown;
    if (next === undefined) return;
    this.#timer ??= setTimeout(() => this.#showDue(), Math.max(1, next.at - performance.now()));
  }

  #show(records: readonly LogRecord[]): void {
    for (const record of records) {
      this.#stream(record.stream).records.push(record);
      this.records.push(record);
    }
    for (const listener of this.#listeners) listener();
  }

  #stream(name: string): StreamOfLog {
    let found = this.#streams.get(name);
    if (found === undefined) {
      found = { records: [], decided: [], firstRevision: 0, isTombstoned: false };
      this.#streams.set(name, found);
    }
    return found;
  }
}

interface Unshown {
  readonly records: readonly LogRecord[];
  /** When it can be read (performance.now()). */
  readonly at: number;
  readonly listeners: (() => void)[];
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
