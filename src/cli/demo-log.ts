import { LedgerError } from '../shared/errors.ts';
import type {
  Appended,
  Batch,
  EventStore,
  Position,
  ReadStreamOptions,
  RecordedEvent,
  Write,
} from '../event-store/port.ts';
import { BEGINNING } from '../event-store/port.ts';
import type { StreamName } from '../event-store/stream-name.ts';

/**
 * A log in memory whose clock its owner sets: real commands write the past of the demo into it, and
 * the real log then takes its events as they are. Only what commands need is there.
 */
export class DemoLog implements EventStore {
  readonly logId = 'de300000';
  readonly events: RecordedEvent[] = [];
  readonly #streams = new Map<string, RecordedEvent[]>();
  #now = new Date(0);

  /** What is appended from here on was recorded then. A log's clock does not go back. */
  setClock(now: Date): void {
    if (now > this.#now) this.#now = now;
  }

  append(writes: readonly Write[]): Promise<Appended[]> {
    return Promise.resolve(writes.map((write) => this.#append(write)));
  }

  #append({ stream, events, expectedRevision }: Write): Appended {
    const recorded = this.#streams.get(stream) ?? [];
    const actualRevision = recorded.length === 0 ? 'no-stream' : BigInt(recorded.length - 1);
    if (expectedRevision !== 'any' && expectedRevision !== actualRevision) {
      return { outcome: 'conflict', actualRevision };
    }
    this.#streams.set(stream, recorded);
    for (const event of events) {
      const position = BigInt(this.events.length + 1) as Position;
      const revision = BigInt(recorded.length);
      const entry = { ...event, stream, revision, position, recordedAt: this.#now };
      recorded.push(entry);
      this.events.push(entry);
    }
    const revision = BigInt(recorded.length - 1);
    return { outcome: 'appended', revision, position: BigInt(this.events.length) as Position };
  }

  async *readStream(
    stream: StreamName,
    { from, direction = 'forwards', limit = Number.POSITIVE_INFINITY }: ReadStreamOptions = {},
  ): AsyncIterable<RecordedEvent> {
    const recorded = this.#streams.get(stream) ?? [];
    const isForwards = direction === 'forwards';
    const first = Number(from ?? (isForwards ? 0 : recorded.length - 1));
    const found = isForwards ? recorded.slice(first) : recorded.slice(0, first + 1).toReversed();
    yield* found.slice(0, limit);
  }

  head(): Promise<Position> {
    return Promise.resolve(this.events.at(-1)?.position ?? BEGINNING);
  }

  end(): Promise<Position> {
    return this.head();
  }

  readAll(): AsyncIterable<Batch> {
    throw unavailable();
  }

  subscribe(): AsyncIterable<Batch> {
    throw unavailable();
  }

  positionAt(): Promise<Position> {
    throw unavailable();
  }
}

function unavailable(): LedgerError {
  return new LedgerError('internal-error', 'The past of the demo is only written.');
}
