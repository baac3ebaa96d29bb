// @module-tag slow
import { expect, test, vi } from 'vitest';
import { usageTraffic } from '../../src/cli/usage-traffic.ts';
import { open } from '../database/embedded-server-fixture.ts';
import { testEventStoreUrl } from '../event-store/test-log.ts';
import { createTopic } from '../ingest/kafka-fixture.ts';
import { describeWithKafka, testBrokers } from '../kafka/with-kafka.ts';
import { startServiceProcess, terminate } from './service-process.ts';

vi.setConfig({ testTimeout: 240_000 });

const EVENTUALLY = { timeout: 90_000, interval: 50 };

/** With the log elsewhere, usage is recorded without the database. */
const isLogElsewhere = testEventStoreUrl('postgres://any/any') !== undefined;

interface Health {
  readonly status: string;
  readonly parts: Readonly<Record<string, { readonly status: string; readonly detail?: string }>>;
}

describeWithKafka('usage from Kafka', () => {
  test('waits while the store is stopped, which health says, and is complete when it is back', async () => {
    const server = await open();
    const topic = await createTopic();
    const records = [
      ...usageTraffic({ sims: 20, days: 7, startDay: '2022-02-01', badShare: 0.01, seed: 4 }),
    ];
    const service = startServiceProcess({
      DATABASE_URL: server.url,
      KAFKA_BROKERS: testBrokers().join(','),
      KAFKA_USAGE_TOPIC: topic.name,
      KAFKA_GROUP_ID: topic.groupId,
      LOG_LEVEL: 'fatal',
    });
    const api = await service.serving();
    const health = async () => (await api.client().get<Health>('//health')).body;
    const count = async (metric: string): Promise<number> => {
      const { text } = await api.client().get('//metrics');
      const lines = text.split('\n').filter((line) => line.startsWith(metric));
      return lines.reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);
    };
    const half = records.length / 2;
    const send = (some: typeof records) => topic.send(some.map(({ body }) => ({ value: body })));
    await send(records.slice(0, half));
    await vi.waitFor(
      async () => expect(await count('fleetledger_usage_records_total')).toBeGreaterThan(0),
      EVENTUALLY,
    );
    const isComplete = async (): Promise<void> => {
      const committed = [...(await topic.committed()).values()];
      expect(committed.reduce((sum, offset) => sum + Number(offset), 0)).toBe(records.length);
    };
    await server.close();
    await send(records.slice(half));
    await vi.waitFor(async () => {
      if (isLogElsewhere) return isComplete();
      const { kafka } = (await health()).parts;
      expect(kafka).toMatchObject({ status: 'failing', detail: expect.stringMatching(/waits/) });
    }, EVENTUALLY);

    await open();
    await vi.waitFor(isComplete, EVENTUALLY);
    await vi.waitFor(async () => expect((await health()).status).toBe('ok'), EVENTUALLY);
    expect(await count('fleetledger_usage_dead_letters_total')).toBe(
      records.filter(({ isBad }) => isBad).length,
    );
    expect(await terminate(service)).toBe(0);
  });
});
