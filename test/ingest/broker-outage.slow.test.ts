// @module-tag slow
import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, expect, onTestFinished, test, vi } from 'vitest';
import { usageTraffic } from '../../src/cli/usage-traffic.ts';
import { prepareWriteProcesses } from '../commands/core/write-process.ts';
import { startBroker, type Broker } from '../kafka/broker.ts';
import { describeWithOwnKafka } from '../kafka/with-kafka.ts';
import { createTopic, startIngest, sums } from './kafka-fixture.ts';
import { EVENTUALLY, takenBy, untilTaken, usageEvents } from './taken.ts';

vi.setConfig({ testTimeout: 240_000 });

describeWithOwnKafka('the ingest of usage, when its broker', (classpath) => {
  const startProcess = prepareWriteProcesses();
  let broker: Broker;
  beforeAll(async () => {
    broker = await startBroker(classpath);
  });
  afterAll(() => broker?.close());

  test('is not there yet says so, makes the topics when it comes, and takes what is in them', async () => {
    await broker.kill();
    onTestFinished(() => broker.restart());
    const brokers = [broker.address];
    const name = `usage-${randomBytes(6).toString('hex')}`;
    const ingest = startIngest(await startProcess(), { name, groupId: name }, { brokers });
    await vi.waitFor(
      () =>
        expect(ingest.status).toMatchObject({
          status: 'failing',
          reason: expect.stringContaining('ECONNREFUSED'),
        }),
      EVENTUALLY,
    );
    await broker.restart();
    await vi.waitFor(
      () => expect(ingest.status).toMatchObject({ partitions: [0, 1, 2, 3, 4, 5] }),
      EVENTUALLY,
    );
  });

  test('is killed under load says so, and loses and doubles nothing when it is back', async () => {
    const process = await startProcess();
    const brokers = [broker.address];
    const topic = await createTopic({ partitions: 6, brokers });
    const records = [
      ...usageTraffic({ sims: 20, days: 14, startDay: '2022-02-01', badShare: 0.01, seed: 1 }),
    ];
    await topic.send(records.map(({ body }) => ({ value: body })));
    const ingest = startIngest(process, topic, { brokers });
    await vi.waitFor(() => expect(takenBy(ingest)).toBeGreaterThan(2_000), {
      ...EVENTUALLY,
      interval: 1,
    });
    await broker.kill();
    await vi.waitFor(() => expect(ingest.status.status).toBe('failing'), EVENTUALLY);
    await broker.restart();

    await vi.waitFor(() => expect(ingest.status.status).toBe('consuming'), EVENTUALLY);
    await untilTaken(records.length, ingest);
    const good = records.filter(({ isBad }) => !isBad);
    await vi.waitFor(
      async () =>
        expect(await usageEvents(process.store, 'UsageRecorded')).toHaveLength(good.length),
      EVENTUALLY,
    );
    const bytes = [...sums(await usageEvents(process.store, 'UsageRecorded')).values()];
    expect(bytes.reduce((sum, one) => sum + one, 0)).toBe(
      good.reduce((sum, { bytesUsed }) => sum + bytesUsed, 0),
    );
    await vi.waitFor(async () => {
      const committed = [...(await topic.committed()).values()];
      expect(committed.reduce((sum, offset) => sum + Number(offset), 0)).toBe(records.length);
    }, EVENTUALLY);
  });

  test('falls silent says so, and continues when it answers again', async () => {
    const process = await startProcess();
    const brokers = [broker.address];
    const topic = await createTopic({ partitions: 2, brokers });
    const ingest = startIngest(process, topic, { brokers });
    await vi.waitFor(() => expect(ingest.status.status).toBe('consuming'), EVENTUALLY);
    broker.freeze();
    onTestFinished(() => broker.thaw());
    await vi.waitFor(
      () =>
        expect(ingest.status).toMatchObject({
          status: 'failing',
          reason: expect.stringMatching(/^no broker has answered for \d+ s$/),
        }),
      EVENTUALLY,
    );
    broker.thaw();
    await topic.send([
      { value: '{"sim-card-id":"1","bytes-used":1,"date":"2022-02-18T00:00:00Z"}' },
    ]);
    await untilTaken(1, ingest);
    await vi.waitFor(() => expect(ingest.status.status).toBe('consuming'), EVENTUALLY);
  });

  test('is unavailable does not keep the process from ending', async () => {
    const process = await startProcess();
    const topic = await createTopic({ brokers: [broker.address] });
    const ingest = startIngest(process, topic, { brokers: [broker.address] });
    await vi.waitFor(() => expect(ingest.status.status).toBe('consuming'), EVENTUALLY);
    await broker.kill();
    onTestFinished(() => broker.restart());
    await ingest.stop();
  });
});
