import { randomBytes } from 'node:crypto';
import { expect, onTestFinished, test, vi } from 'vitest';
import { UsageCommands } from '../../src/commands/usage/commands.ts';
import type { EventStore } from '../../src/event-store/port.ts';
import type { MessageSource } from '../../src/ingest/source.ts';
import { UsageIngest } from '../../src/ingest/usage-ingest.ts';
import { createLogger } from '../../src/shared/logger.ts';
import type { WriteProcess } from '../commands/core/write-process.ts';
import { EVENTUALLY, untilTaken, usageEvents } from './taken.ts';

export interface SentMessage {
  readonly key?: string | null;
  readonly value: string | Buffer | null;
  readonly headers?: Readonly<Record<string, string>>;
}

/** A topic that one test has for itself. */
export interface ContractTopic {
  readonly name: string;
  send(messages: readonly SentMessage[]): Promise<void>;
  /** Another member of the consumer group. */
  source(): MessageSource;
  /** The next offset of each partition in which something is committed. */
  committed(): Promise<ReadonlyMap<number, string>>;
  /** The dead letters, once there are so many. */
  deadLetters(count: number): Promise<readonly DeadLetterText[]>;
}

export interface DeadLetterText {
  readonly value: string | null;
  readonly reason: string;
  readonly offset: string;
}

interface ContractParts {
  readonly createTopic: (partitions: number) => Promise<ContractTopic>;
  readonly startProcess: () => Promise<WriteProcess>;
}

const record = (changes: object = {}): string =>
  JSON.stringify({
    'sim-card-id': '89440001',
    'bytes-used': '1024',
    date: '2022-02-18T00:00:00Z',
    ...changes,
  });

/** What the ingest of usage promises with any source of messages. */
export function testIngestContract({ createTopic, startProcess }: ContractParts): void {
  const ownProject = (): string => `p-${randomBytes(5).toString('hex')}`;
  const start = (store: EventStore, topic: ContractTopic, projectId: string): UsageIngest => {
    const ingest = new UsageIngest({
      messages: topic.source(),
      projectId,
      source: '',
      commands: new UsageCommands({ store }),
      prepare: () => Promise.resolve(),
      logger: createLogger('silent'),
    });
    ingest.start();
    onTestFinished(() => ingest.stop());
    return ingest;
  };
  const eventsOf = async (
    store: EventStore,
    projectId: string,
    type: 'UsageRecorded' | 'UsageRejected' = 'UsageRecorded',
  ) => (await usageEvents(store, type)).filter(({ metadata }) => metadata.projectId === projectId);

  test('a record is taken in each of its forms', async () => {
    const [{ store }, projectId] = [await startProcess(), ownProject()];
    const topic = await createTopic(2);
    const event = { specversion: '1.0', id: 'e1', source: '/meters', type: 'usage' };
    await topic.send([
      { value: record() },
      { value: JSON.stringify({ ...event, data: JSON.parse(record({ 'bytes-used': 1 })) }) },
      {
        value: record({ 'bytes-used': 2 }),
        headers: { ce_specversion: '1.0', ce_id: 'e2', ce_source: '/meters', ce_type: 'usage' },
      },
    ]);
    const ingest = start(store, topic, projectId);
    await untilTaken(3, ingest);

    const bytes = (await eventsOf(store, projectId)).map(({ data }) => Number(data['bytesUsed']));
    expect(bytes.toSorted((a, b) => a - b)).toEqual([1, 2, 1024]);
    expect(ingest.status).toMatchObject({ status: 'consuming' });
  });

  test('what cannot be used is listed and sent to the dead letters, and stops nothing else', async () => {
    const [{ store }, projectId] = [await startProcess(), ownProject()];
    const topic = await createTopic(1);
    const bad = [
      { value: null },
      { value: Buffer.from([0xff, 0xfe]) },
      { value: '{"sim-card-id": ' },
      { value: record({ 'bytes-used': -1 }) },
      { value: record(), headers: { ce_specversion: '1.0' } },
    ];
    await topic.send([...bad, { value: record() }]);
    const ingest = start(store, topic, projectId);
    await untilTaken(bad.length + 1, ingest);

    const letters = await topic.deadLetters(bad.length);
    expect(letters.map(({ reason, offset }) => [reason, offset])).toEqual([
      ['malformed-json', '0'],
      ['malformed-json', '1'],
      ['malformed-json', '2'],
      ['validation-failed', '3'],
      ['validation-failed', '4'],
    ]);
    expect(letters[3]?.value).toBe(bad[3]?.value);
    expect(await eventsOf(store, projectId, 'UsageRejected')).toHaveLength(bad.length);
    expect(await eventsOf(store, projectId)).toHaveLength(1);
    expect(ingest.counts).toEqual({
      recorded: 1,
      duplicates: 0,
      deadLetters: { 'malformed-json': 3, 'validation-failed': 2, 'id-reused': 0 },
    });
  });

  test('an id counts once, and is refused with other content, in one wording', async () => {
    const [{ store }, projectId] = [await startProcess(), ownProject()];
    const topic = await createTopic(1);
    const other = record({ id: 'mine', 'bytes-used': 1 });
    await topic.send([
      { value: record({ id: 'mine' }) },
      { value: record({ id: 'mine', 'bytes-used': 1024 }) },
      { value: other },
    ]);
    const ingest = start(store, topic, projectId);
    await untilTaken(3, ingest);

    expect(ingest.counts).toMatchObject({ recorded: 1, duplicates: 1 });
    expect(await topic.deadLetters(1)).toMatchObject([{ value: other, reason: 'id-reused' }]);
    const [rejected] = await eventsOf(store, projectId, 'UsageRejected');
    const { data } = rejected ?? {};
    expect(data?.['detail']).toMatch(
      /^The id was used before by another record \(event \S+\): send/,
    );
  });

  test('what is delivered again counts once', async () => {
    const [{ store }, projectId] = [await startProcess(), ownProject()];
    const topic = await createTopic(1);
    // The batch is recorded, and the process ends before it can be settled.
    store.failNextAppend('usage', 'after it was stored');
    await topic.send([{ value: record() }, { value: 'bad' }, { value: record() }]);
    const first = start(store, topic, projectId);
    await vi.waitFor(() => expect(first.status).toMatchObject({ status: 'failing' }), EVENTUALLY);
    await first.stop();
    await untilTaken(3, first, start((await startProcess()).store, topic, projectId));

    expect(await eventsOf(store, projectId)).toHaveLength(2);
    expect(await eventsOf(store, projectId, 'UsageRejected')).toHaveLength(1);
  });

  test.each(['before it is stored', 'after it was stored'] as const)(
    'a store that is unavailable %s is tried again, and nothing is committed until then',
    async (when) => {
      const [{ store }, projectId] = [await startProcess(), ownProject()];
      const topic = await createTopic(1);
      for (let failure = 0; failure < 4; failure += 1) store.failNextAppend('usage', when);
      await topic.send([{ value: record() }, { value: record() }]);
      const ingest = start(store, topic, projectId);
      await vi.waitFor(
        () => expect(ingest.status).toMatchObject({ status: 'failing' }),
        EVENTUALLY,
      );
      expect(ingest.status).toMatchObject({
        reason: expect.stringMatching(/^partition 0 waits: /),
      });
      expect(await topic.committed()).toEqual(new Map());

      await untilTaken(2, ingest);
      await vi.waitFor(
        async () => expect(await topic.committed()).toEqual(new Map([[0, '2']])),
        EVENTUALLY,
      );
      expect(ingest.status).toEqual({ status: 'consuming', partitions: [0] });
      expect(await eventsOf(store, projectId)).toHaveLength(2);
    },
  );

  test('whoever stops finishes the batches in work, and begins no other', async () => {
    const [{ store }, projectId] = [await startProcess(), ownProject()];
    const topic = await createTopic(1);
    const release = store.holdAppends('usage');
    onTestFinished(release);
    await topic.send(Array.from({ length: 1_500 }, () => ({ value: record() })));
    const ingest = start(store, topic, projectId);
    await store.holdsOne();
    const stopped = ingest.stop();
    release();
    await stopped;

    expect(await topic.committed()).toEqual(new Map([[0, '1000']]));
    expect(await eventsOf(store, projectId)).toHaveLength(1_000);
    expect(ingest.status).toEqual({ status: 'stopped' });
  });
}
