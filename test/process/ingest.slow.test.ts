// @module-tag slow
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { openDatabase } from '../../src/database/database.ts';
import type { EventStore } from '../../src/event-store/port.ts';
import { createLogger } from '../../src/shared/logger.ts';
import { createTestDatabase } from '../database/test-database.ts';
import { openTestLog } from '../event-store/test-log.ts';
import { usageTraffic } from '../../src/cli/usage-traffic.ts';
import { createTopic, sums } from '../ingest/kafka-fixture.ts';
import { usageEvents } from '../ingest/taken.ts';
import { describeWithKafka, testBrokers } from '../kafka/with-kafka.ts';
import { startServiceProcess, terminate } from './service-process.ts';

vi.setConfig({ testTimeout: 400_000 });

const EVENTUALLY = { timeout: 120_000, interval: 20 };
const ADMIN_KEY = 'the-admin-key-of-the-tests';
const database = createTestDatabase();

async function openLog(): Promise<EventStore> {
  const logger = createLogger('silent');
  const own = openDatabase({ url: database.url, logger, maxConnections: 2 });
  const log = await openTestLog({ databaseUrl: database.url, database: own, logger });
  onTestFinished(async () => {
    await log.close();
    await own.close();
  });
  return log;
}

interface Health {
  readonly parts: Readonly<Record<string, { readonly status: string; readonly detail?: string }>>;
}

describeWithKafka('services that take usage from Kafka', () => {
  test('count each message once, though they are killed again and again amid them', async () => {
    const topic = await createTopic({ partitions: 3 });
    const settings = {
      DATABASE_URL: database.url,
      ADMIN_API_KEY: ADMIN_KEY,
      KAFKA_BROKERS: testBrokers().join(','),
      KAFKA_USAGE_TOPIC: topic.name,
      KAFKA_GROUP_ID: topic.groupId,
      KAFKA_PROJECT: 'meters',
      LOG_LEVEL: 'fatal',
    };
    const api = await startServiceProcess({ ...settings, ROLES: 'api,projections' }).serving();
    const store = await openLog();
    const records = [
      ...usageTraffic({ sims: 20, days: 7, startDay: '2022-02-01', badShare: 0.01, seed: 3 }),
    ];
    const good = records.filter(({ isBad }) => !isBad);
    const stored = async () => (await usageEvents(store, 'UsageRecorded')).length;

    // Sent a part at a time, so that there is something to be killed amid each time.
    const kills = 5;
    const part = Math.ceil(records.length / kills);
    for (let kill = 0; kill < kills; kill += 1) {
      const values = records
        .slice(kill * part, (kill + 1) * part)
        .map(({ body }) => ({ value: body }));
      const before = await stored();
      await topic.send(values);
      const worker = startServiceProcess({ ...settings, ROLES: 'ingest' });
      await vi.waitFor(async () => expect(await stored()).toBeGreaterThan(before), EVENTUALLY);
      worker.child.kill('SIGKILL');
      await worker.ended();
    }
    const workers = [1, 2].map(() => startServiceProcess({ ...settings, ROLES: 'ingest' }));
    await vi.waitFor(async () => {
      const committed = [...(await topic.committed()).values()];
      expect(committed.reduce((sum, offset) => sum + Number(offset), 0)).toBe(records.length);
    }, EVENTUALLY);

    const recorded = await usageEvents(store, 'UsageRecorded');
    expect(recorded).toHaveLength(good.length);
    const bytes = new Map<string, number>();
    for (const { simCardId, bytesUsed } of good) {
      bytes.set(simCardId, (bytes.get(simCardId) ?? 0) + bytesUsed);
    }
    expect(sums(recorded)).toEqual(bytes);
    expect(await usageEvents(store, 'UsageRejected')).toHaveLength(records.length - good.length);
    const { body } = await api.client(ADMIN_KEY).get<{ items: { id: string }[] }>('/projects');
    expect(body.items.map(({ id }) => id)).toEqual(['meters']);
    for (const worker of workers) expect(await terminate(worker)).toBe(0);
  });

  test('say how many records they have taken, and of how many dead letters', async () => {
    const topic = await createTopic();
    await topic.send([{ value: '{}' }, { value: '{' }, { value: '{' }]);
    const service = startServiceProcess({
      DATABASE_URL: database.url,
      ADMIN_API_KEY: ADMIN_KEY,
      KAFKA_BROKERS: testBrokers().join(','),
      KAFKA_USAGE_TOPIC: topic.name,
      KAFKA_GROUP_ID: topic.groupId,
      LOG_LEVEL: 'fatal',
    });
    const api = await service.serving();
    await vi.waitFor(async () => {
      const { text } = await api.client().get('//metrics');
      expect(text).toContain('fleetledger_usage_records_total{outcome="recorded"} 0');
      expect(text).toContain('fleetledger_usage_dead_letters_total{reason="malformed-json"} 2');
      expect(text).toContain('fleetledger_usage_dead_letters_total{reason="validation-failed"} 1');
    }, EVENTUALLY);
    const { body } = await api.client().get<Health>('//health');
    expect(body.parts['kafka']).toMatchObject({ status: 'ok' });
    expect(await terminate(service)).toBe(0);
  });
});

describe('a service whose broker is unreachable', () => {
  test('serves, which health says apart from readiness; one that only ingests is not ready', async () => {
    const service = startServiceProcess({
      DATABASE_URL: database.url,
      ADMIN_API_KEY: ADMIN_KEY,
      // Nobody listens there.
      KAFKA_BROKERS: '127.0.0.1:1',
      LOG_LEVEL: 'fatal',
    });
    const api = await service.serving();
    await vi.waitFor(async () => {
      const { status, body } = await api.client().get<Health>('//health');
      expect(status).toBe(503);
      expect(body.parts['kafka']).toMatchObject({
        status: 'failing',
        detail: expect.stringContaining('ECONNREFUSED'),
      });
    }, EVENTUALLY);
    expect(await api.client().get('//health/ready')).toMatchObject({ status: 200 });
    expect(await terminate(service)).toBe(0);

    const worker = startServiceProcess({
      DATABASE_URL: database.url,
      ROLES: 'ingest',
      KAFKA_BROKERS: '127.0.0.1:1',
    });
    const port = await vi.waitFor(
      () =>
        /"port":(\d+),"msg":"ready: /.exec(worker.stdout() + worker.stderr())?.[1] ??
        expect.fail('not ready yet'),
      EVENTUALLY,
    );
    const answer = await fetch(`http://127.0.0.1:${port}/health/ready`);
    expect(answer.status).toBe(503);
    expect(await answer.json()).toMatchObject({ parts: { kafka: { status: 'failing' } } });
    expect(await terminate(worker)).toBe(0);
  });
});
