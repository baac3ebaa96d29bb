// @module-tag slow
import { expect, onTestFinished, test, vi } from 'vitest';
import { openDatabase } from '../../src/database/database.ts';
import { createLogger } from '../../src/shared/logger.ts';
import { createProject } from '../api/api-client.ts';
import { createTestDatabase } from '../database/test-database.ts';
import { openTestLog } from '../event-store/test-log.ts';
import { createTopic, sums } from '../ingest/kafka-fixture.ts';
import { usageEvents } from '../ingest/taken.ts';
import { describeWithKafka, testBrokers } from '../kafka/with-kafka.ts';
import { runCli, startCli, startServiceProcess } from './service-process.ts';

vi.setConfig({ testTimeout: 120_000 });

const EVENTUALLY = { timeout: 60_000, interval: 50 };
const ADMIN_KEY = 'the-admin-key-of-the-tests';
const TRAFFIC = ['--days', '2', '--sims', '3', '--bad', '0.1', '--seed', '5', '--totals'];
const database = createTestDatabase();

interface Sent {
  readonly messages: number;
  readonly bad: number;
  readonly bytes_used: number;
  readonly simcards: Readonly<Record<string, number>>;
}

/** Beside the service, of the one project. */
async function recordedSums(projectId: string): Promise<Record<string, number>> {
  const logger = createLogger('silent');
  const own = openDatabase({ url: database.url, logger, maxConnections: 2 });
  const log = await openTestLog({ databaseUrl: database.url, database: own, logger });
  const events = await usageEvents(log, 'UsageRecorded');
  await log.close();
  await own.close();
  return Object.fromEntries(
    sums(events.filter(({ metadata }) => metadata.projectId === projectId)),
  );
}

test('simulated usage is sent over HTTP, and its totals are those that are recorded', async () => {
  const service = startServiceProcess({
    DATABASE_URL: database.url,
    ADMIN_API_KEY: ADMIN_KEY,
    LOG_LEVEL: 'fatal',
  });
  const api = await service.serving();
  const { id, owner } = await createProject(api, ADMIN_KEY);
  const command = ['simulate', 'usage', '--url', api.url, '--key', String(owner.key), ...TRAFFIC];
  const { code, stdout } = await runCli(command);
  const sent = JSON.parse(stdout) as Sent;
  expect({ code, messages: sent.messages }).toEqual({ code: 0, messages: 2_880 });
  expect(sent.bad).toBeGreaterThan(200);
  expect(Object.values(sent.simcards).reduce((sum, bytes) => sum + bytes, 0)).toBe(sent.bytes_used);
  expect(await recordedSums(id)).toEqual(sent.simcards);

  const refused = await runCli(['simulate', 'usage', '--url', api.url, '--key', 'none']);
  expect(refused).toMatchObject({ code: 1, stderr: expect.stringContaining('answers 401') });
  expect(JSON.parse(refused.stdout)).toMatchObject({ messages: 0 });
});

test.each([
  { args: [], complaint: 'Give --brokers, or --url and --key' },
  { args: ['--brokers', 'nowhere'], complaint: 'It must be host:port' },
  { args: ['--brokers', 'a:1', '--url', 'http://a'], complaint: 'cannot be used with' },
  { args: ['--brokers', 'a:1', '--start', 'today'], complaint: 'It must be a day' },
])('simulated usage that cannot be meant is refused: $args', async ({ args, complaint }) => {
  expect(await runCli(['simulate', 'usage', ...args])).toMatchObject({
    code: 2,
    stderr: expect.stringContaining(complaint),
  });
});

describeWithKafka('simulated usage', () => {
  test('is sent to a topic at the rate that is asked for, and says what was sent when it is interrupted', async () => {
    const topic = await createTopic();
    const brokers = testBrokers().join(',');
    const to = ['--brokers', brokers, '--topic', topic.name];
    const settings = {
      DATABASE_URL: database.url,
      KAFKA_BROKERS: brokers,
      KAFKA_USAGE_TOPIC: topic.name,
      KAFKA_GROUP_ID: topic.groupId,
      KAFKA_PROJECT: 'simulated',
      LOG_LEVEL: 'fatal',
    };
    startServiceProcess({ ...settings, ROLES: 'ingest' });
    const simulation = startCli(['simulate', 'usage', ...to, ...TRAFFIC, '--rate', '200']);
    onTestFinished(() => void simulation.child.kill('SIGKILL'));
    await vi.waitFor(
      async () => expect(Object.keys(await recordedSums('simulated'))).toHaveLength(3),
      EVENTUALLY,
    );
    simulation.child.kill('SIGINT');
    expect(await simulation.ended()).toBe(3);

    const sent = JSON.parse(simulation.stdout()) as Sent;
    expect(sent.messages).toBeLessThan(2_880);
    await vi.waitFor(
      async () => expect(await recordedSums('simulated')).toEqual(sent.simcards),
      EVENTUALLY,
    );
  });
});
