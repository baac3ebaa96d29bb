import { randomBytes } from 'node:crypto';
import type {
  Appended,
  Batch,
  EventStore,
  ExpectedRevision,
  NewEvent,
  Position,
  ReadStreamOptions,
  RecordedEvent,
  Write,
} from '../../../src/event-store/port.ts';
import { parseStreamName, type StreamName } from '../../../src/event-store/stream-name.ts';
import { LedgerError } from '../../../src/shared/errors.ts';
import { newEventId } from '../../../src/shared/ids.ts';
import type { JsonObject } from '../../../src/shared/json.ts';
import { testStreamName } from '../test-stream-name.ts';

export type Stored = Extract<Appended, { outcome: 'appended' }>;

/**
 * A project that no other test knows, in a log that may hold anything else: its streams, events for
 * them, and of what a reading gives, only its own.
 */
export class TestProject {
  readonly id = `contract${randomBytes(8).toString('hex')}`;

  stream(...id: readonly [string, ...string[]]): StreamName {
    return testStreamName('contract', this.id, ...id);
  }

  event(data: JsonObject = {}, type = 'ContractTested'): NewEvent {
    return {
      id: newEventId(),
      type,
      data,
      metadata: {
        projectId: this.id,
        actor: 'system:contract',
        correlationId: newEventId(),
        schemaVersion: 1,
      },
    };
  }

  events(count: number, type?: string): NewEvent[] {
    return Array.from({ length: count }, (_, ordinal) => this.event({ ordinal }, type));
  }

  own(batches: readonly Batch[]): RecordedEvent[] {
    return batches
      .flatMap(({ events }) => events)
      .filter(({ stream }) => parseStreamName(stream)?.projectId === this.id);
  }

  /** What the streams hold, read one by one, in the order of the log. */
  async recorded(store: EventStore, streams: Iterable<StreamName>): Promise<RecordedEvent[]> {
    const events: RecordedEvent[] = [];
    for (const stream of streams) events.push(...(await readStream(store, stream)));
    return events.toSorted((a, b) => (a.position < b.position ? -1 : 1));
  }
}

/** One write in an append of its own. */
export async function append(
  store: EventStore,
  stream: StreamName,
  events: readonly NewEvent[],
  expectedRevision: ExpectedRevision = 'any',
): Promise<Appended> {
  const answers = await store.append([{ stream, events, expectedRevision }]);
  const [answer] = answers;
  if (answer === undefined || answers.length !== 1) {
    throw new Error(`one write was answered ${answers.length} times`);
  }
  return answer;
}

/**
 * As the port has it: when the outcome could not be found out in time, the same call is repeated.
 */
export async function appendUntilAnswered(client: EventStore, write: Write): Promise<Appended> {
  for (;;) {
    try {
      const [answer] = await client.append([write]);
      if (answer === undefined) throw new Error('the write was not answered');
      return answer;
    } catch (error) {
      if (!(error instanceof LedgerError && error.code === 'store-unavailable')) throw error;
    }
  }
}

/** One write that has to be stored. */
export async function mustAppend(
  ...write: Parameters<typeof append>
): Promise<{ revision: bigint; position: Position }> {
  return stored(await append(...write));
}

export function stored(answer: Appended | undefined): Stored {
  if (answer?.outcome !== 'appended') {
    const shown = answer && { ...answer, actualRevision: String(answer.actualRevision) };
    throw new Error(`expected the write to be stored, got ${JSON.stringify(shown)}`);
  }
  return answer;
}

export async function readStream(
  store: EventStore,
  stream: StreamName,
  options?: ReadStreamOptions,
): Promise<RecordedEvent[]> {
  return collect(store.readStream(stream, options));
}

export async function collect<T>(source: AsyncIterable<T>): Promise<T[]> {
  const items: T[] = [];
  for await (const item of source) items.push(item);
  return items;
}

export function ids(events: readonly { readonly id: string }[]): string[] {
  return events.map(({ id }) => id);
}
