// @module-tag slow
import { randomBytes } from 'node:crypto';
import { expect, test, vi } from 'vitest';
import { prepareWriteProcesses } from '../commands/core/write-process.ts';
import { describeWithKafka } from '../kafka/with-kafka.ts';
import { createTopic, startIngest } from './kafka-fixture.ts';
import { EVENTUALLY, untilTaken, usageEvents } from './taken.ts';

vi.setConfig({ testTimeout: 240_000 });

const record = (changes: object = {}): string =>
  JSON.stringify({
    'sim-card-id': '89440001',
    'bytes-used': '1024',
    date: '2022-02-18T00:00:00Z',
    ...changes,
  });

describeWithKafka('the ingest of usage from topics of all sorts', () => {
  const startProcess = prepareWriteProcesses();
  /** The id of a project that no other test writes to. */
  const ownProject = (): string => `p-${randomBytes(5).toString('hex')}`;

  test('passes on what has headers or a key that the dead-letter topic does not take, and says what is left out', async () => {
    const [process, projectId] = [await startProcess(), ownProject()];
    const topic = await createTopic({ partitions: 1, maxDeadLetterBytes: 5_000 });
    const random = () => randomBytes(7_500).toString('base64');
    await topic.send([{ key: 'k', value: 'bad', headers: { trace: random() } }]);
    await topic.send([{ key: random(), value: 'bad', headers: { 'fleetledger-mine': random() } }]);
    await topic.send([{ key: 'k', value: record() }]);
    const ingest = startIngest(process, topic, { projectId });
    await untilTaken(3, ingest);
    const letters = await topic.deadLetters(2);
    expect(
      letters.map(({ key, value, headers = {} }) => [
        key?.toString() ?? null,
        value,
        headers['fleetledger-left-out']?.toString(),
        headers['fleetledger-offset']?.toString(),
      ]),
    ).toEqual([
      ['k', null, 'value, headers', '0'],
      [null, null, 'value, headers, key', '1'],
    ]);
  });

  test('leaves no group behind that reads what is sent in transactions', async () => {
    const [process, projectId] = [await startProcess(), ownProject()];
    const topic = await createTopic({ partitions: 1 });
    const ingest = startIngest(process, topic, { projectId });
    const isAtEnd = () =>
      vi.waitFor(
        async () => expect(await topic.committed()).toEqual(await topic.ends()),
        EVENTUALLY,
      );
    await topic.sendInTransaction([{ value: record() }, { value: record() }], 'commit');
    await untilTaken(2, ingest);
    await isAtEnd();
    await topic.sendInTransaction([{ value: record() }], 'abort');
    await isAtEnd();
    await topic.sendInTransaction([{ value: record() }], 'abort');
    await topic.sendInTransaction([{ value: record() }], 'commit');
    await topic.send([{ value: record() }]);
    await untilTaken(4, ingest);
    await isAtEnd();
    const recorded = await usageEvents(process.store, 'UsageRecorded');
    expect(recorded.filter(({ metadata }) => metadata.projectId === projectId)).toHaveLength(4);
  });

  test('warns when a topic was recreated, and takes all of it under another source', async () => {
    const [process, projectId] = [await startProcess(), ownProject()];
    const topic = await createTopic({ partitions: 1 });
    const send = (bytes: readonly number[]) =>
      topic.send(bytes.map((used) => ({ value: record({ 'bytes-used': used }) })));
    await send([1, 2, 3, 4, 5]);
    const first = startIngest(process, topic, { projectId });
    await untilTaken(5, first);
    await first.stop();
    expect(first.warning).toBe(undefined);

    await topic.recreate();
    await send([11, 12, 13, 14, 15, 16, 17]);
    await topic.resetGroup();
    const second = startIngest(process, topic, { projectId });
    await untilTaken(7, second);
    await second.stop();
    expect(second.counts).toMatchObject({ recorded: 2, deadLetters: { 'id-reused': 5 } });
    expect(second.warning).toMatch(/^5 records without ids were refused.*KAFKA_SOURCE/);

    await topic.resetGroup();
    const third = startIngest(process, topic, { projectId, source: 'second' });
    await untilTaken(7, third);
    expect(third.counts).toMatchObject({ recorded: 7 });
    expect(third.warning).toBe(undefined);
  });
});
