import { afterEach, describe, expect, onTestFinished, test, vi } from 'vitest';
import { batchStream } from '../../src/commands/deveui/decider.ts';
import { openDatabase } from '../../src/database/database.ts';
import type { EventStore } from '../../src/event-store/port.ts';
import { startSimulator, type Simulator } from '../../src/lorawan/simulator/simulator.ts';
import { createLogger } from '../../src/shared/logger.ts';
import { createProject } from '../api/api-client.ts';
import { createTestDatabase } from '../database/test-database.ts';
import { openTestLog } from '../event-store/test-log.ts';
import { EVENTUALLY, eventually, isBalanced, tallyOf } from '../reactors/provisioning-fixture.ts';
import { runCli, startCli, startServiceProcess, terminate } from './service-process.ts';

const ADMIN_KEY = 'the-admin-key-of-the-tests';
const database = createTestDatabase();
const logger = createLogger('silent');

interface Batch {
  readonly id: string;
  readonly status: string;
  readonly deveuis: readonly string[];
  readonly unconfirmed: readonly string[];
  readonly counts: Readonly<Record<string, number>>;
}

let simulators: Simulator[] = [];
afterEach(async () => {
  for (const simulator of simulators) await simulator.close();
  simulators = [];
});

async function simulate(options: Parameters<typeof startSimulator>[0]): Promise<Simulator> {
  const simulator = await startSimulator(options);
  simulators.push(simulator);
  return simulator;
}

async function openLog(): Promise<EventStore> {
  const own = openDatabase({ url: database.url, logger, maxConnections: 2 });
  const log = await openTestLog({ databaseUrl: database.url, database: own, logger });
  onTestFinished(async () => {
    await log.close();
    await own.close();
  });
  return log;
}

describe('a service', () => {
  const settings = {
    DATABASE_URL: database.url,
    ADMIN_API_KEY: ADMIN_KEY,
    LORAWAN_TIMEOUT_MS: '400',
    LORAWAN_RETRY_MIN_MS: '20',
    LORAWAN_RETRY_MAX_MS: '200',
    LOG_LEVEL: 'fatal',
  };

  test(
    'that is killed 50 times in one batch registers as many as were asked for',
    { tags: ['slow'], timeout: 600_000 },
    async () => {
      const size = 1_500;
      const simulator = await simulate({
        latencyMs: 100,
        hangRate: 0.01,
        resetRate: 0.02,
        errorRate: 0.02,
        unavailableRate: 0.01,
        retryAfterSeconds: 0,
        garbageRate: 0.02,
        lostAnswerRate: 0.02,
        lostHangRate: 0.01,
      });
      const withProvider = { ...settings, LORAWAN_API_URL: simulator.url };
      const api = await startServiceProcess({
        ...withProvider,
        ROLES: 'api,projections',
      }).serving();
      const { id: projectId, owner } = await createProject(api, ADMIN_KEY);
      const { body: requested } = await owner.post<Batch>('/batches', {
        json: { batch_size: size },
      });
      const stream = batchStream(projectId, requested.id);

      for (let kill = 0; kill < 50; kill += 1) {
        const sent = simulator.stats().requests;
        const worker = startServiceProcess({ ...withProvider, ROLES: 'provisioning' });
        // Amid requests, which come ten at a time.
        const until = sent + Math.ceil(Math.random() * 30);
        await vi.waitFor(() => expect(simulator.stats().requests).toBeGreaterThanOrEqual(until), {
          timeout: 60_000,
          interval: 5,
        });
        worker.child.kill('SIGKILL');
        await worker.ended();
      }
      startServiceProcess({ ...withProvider, ROLES: 'provisioning' });

      const store = await openLog();
      const events = await eventually(store, { stream }, 'BatchCompleted', 240_000);
      const { registered, unconfirmed, conflicted } = tallyOf(events, (tally) => {
        expect(isBalanced(tally, size)).toBe(true);
      });
      expect(registered).toHaveLength(size);
      expect(conflicted).toEqual([]);
      expect([...registered, ...unconfirmed].toSorted()).toEqual(simulator.registered().toSorted());
      expect(simulator.stats().peak_in_flight).toBeLessThanOrEqual(10);
      const { body } = await owner.get<Batch>(`/batches/${requested.id}`);
      expect(body).toMatchObject({
        status: 'Completed',
        counts: { registered: size, in_flight: 0 },
      });
      expect(body.deveuis.toSorted()).toEqual(registered.toSorted());
      expect(body.unconfirmed.toSorted()).toEqual(unconfirmed.toSorted());
    },
  );

  test(
    'makes one batch of one Idempotency-Key, however often and wherever it is sent',
    { tags: ['slow'], timeout: 120_000 },
    async () => {
      const simulator = await simulate({ latencyMs: 5, conflictRate: 0.1 });
      const withProvider = { ...settings, LORAWAN_API_URL: simulator.url };
      const first = startServiceProcess(withProvider);
      const second = startServiceProcess(withProvider);
      const [one, other] = [await first.serving(), await second.serving()];
      const { owner } = await createProject(one, ADMIN_KEY);
      const twin = other.client(owner.key);
      const request = {
        json: { batch_size: 20 },
        headers: { 'Idempotency-Key': 'batch-1', Prefer: 'wait=30' },
      };

      const answers = await Promise.all(
        Array.from({ length: 20 }, (_, index) =>
          (index % 2 === 0 ? owner : twin).post<Batch>('/batches', request),
        ),
      );

      expect(new Set(answers.map(({ status, text }) => `${status} ${text}`)).size).toBe(1);
      expect(answers[0]).toMatchObject({ status: 201, body: { status: 'Completed' } });
      expect(answers[0]?.body.deveuis).toHaveLength(20);
      expect(await terminate(first)).toBe(0);
      expect(await terminate(second)).toBe(0);

      const restarted = await startServiceProcess(withProvider).serving();
      const again = await restarted.client(owner.key).post<Batch>('/batches', request);
      expect(again.body).toEqual(answers[0]?.body);
      expect(again.headers.get('Idempotency-Replayed')).toBe('true');
      expect(simulator.registered().toSorted()).toEqual(answers[0]?.body.deveuis.toSorted());
    },
  );
});

describe('fleetledger deveui-batch', () => {
  test('registers a batch without a service, and prints nothing but DevEUIs', async () => {
    const simulator = await simulate({ latencyMs: 5, conflictRate: 0.1 });

    const { code, stdout, stderr } = await runCli([
      'deveui-batch',
      simulator.url,
      '--batch-size',
      '30',
    ]);

    const lines = stdout.trimEnd().split('\n');
    for (const line of lines) expect(line).toMatch(/^([0-9A-F]{5})  [0-9A-F]{11}\1$/);
    expect(lines.map((line) => line.slice(7)).toSorted()).toEqual(
      simulator.registered().toSorted(),
    );
    expect({ code, count: lines.length }).toEqual({ code: 0, count: 30 });
    expect(stderr).toMatch(/^Batch \w+\n30 of 30 are registered, \d+ were in use\.\n$/);
  }, 60_000);

  test(
    'is stopped by SIGINT, prints what is registered, and is completed by --resume',
    { tags: ['slow'], timeout: 120_000 },
    async () => {
      const simulator = await simulate({ latencyMs: 50 });
      const args = ['deveui-batch', simulator.url, '--json', '--concurrency', '4'];
      const started = startCli([...args, '--batch-size', '200']);
      await expect.poll(() => simulator.registered().length, EVENTUALLY).toBeGreaterThan(8);

      started.child.kill('SIGINT');
      expect(await started.ended()).toBe(3);

      const { deveuis } = JSON.parse(started.stdout()) as { deveuis: string[] };
      expect(deveuis.toSorted()).toEqual(simulator.registered().toSorted());
      expect(deveuis.length).toBeLessThan(200);
      const id = /^Batch (\w+)$/m.exec(started.stderr())?.[1] ?? '';
      expect(started.stderr()).toContain(`--resume ${id}`);

      const resumed = await runCli([...args, '--resume', id]);
      expect(resumed.code).toBe(0);
      const all = (JSON.parse(resumed.stdout) as { deveuis: string[] }).deveuis;
      expect(all).toHaveLength(200);
      expect(all.slice(0, deveuis.length)).toEqual(deveuis);
      expect(all.toSorted()).toEqual(simulator.registered().toSorted());
      expect(simulator.stats().peak_in_flight).toBeLessThanOrEqual(4);
    },
  );

  test('finds everything again after a kill', { tags: ['slow'], timeout: 120_000 }, async () => {
    const simulator = await simulate({ latencyMs: 50 });
    const started = startCli(['deveui-batch', simulator.url, '--batch-size', '60']);
    await expect.poll(() => simulator.registered().length, EVENTUALLY).toBeGreaterThan(8);
    started.child.kill('SIGKILL');
    await started.ended();
    const id = /^Batch (\w+)$/m.exec(started.stderr())?.[1] ?? '';

    const { code, stdout, stderr } = await runCli(['deveui-batch', simulator.url, '--resume', id]);

    const printed = stdout
      .trimEnd()
      .split('\n')
      .map((line) => line.slice(7));
    const unconfirmed = /by you\): (.+)$/m.exec(stderr)?.[1]?.split(' ') ?? [];
    expect({ code, count: printed.length }).toEqual({ code: 0, count: 60 });
    expect([...printed, ...unconfirmed].toSorted()).toEqual(simulator.registered().toSorted());
  });

  test('says why a batch failed, and exits with 1', async () => {
    const simulator = await simulate({ latencyMs: 1, apiKey: 'secret' });
    const failing = { LORAWAN_MAX_FAILURES: '2', LORAWAN_RETRY_MIN_MS: '10' };
    const args = ['deveui-batch', simulator.url, '--batch-size', '3'];

    const refused = await runCli(args, failing);
    expect(refused).toMatchObject({ code: 1, stdout: '' });
    expect(refused.stderr).toMatch(/The batch failed: .*401/);

    const admitted = await runCli(args, { ...failing, LORAWAN_API_KEY: 'secret' });
    expect(admitted.code).toBe(0);

    const full = await simulate({ latencyMs: 1, conflictRate: 1 });
    const conflicting = { LORAWAN_MAX_CONFLICTS: '5' };
    const taken = await runCli(['deveui-batch', full.url, '--batch-size', '3'], conflicting);
    expect(taken).toMatchObject({ code: 1, stdout: '' });
    expect(taken.stderr).toMatch(/The batch failed: 5 DevEUIs in a row .* 422: .*in use/);
    expect(full.stats().requests).toBeLessThan(10);
  }, 60_000);

  test(
    'beside a service registers under the same cap, in the same ledger',
    { tags: ['slow'], timeout: 60_000 },
    async () => {
      const simulator = await simulate({ latencyMs: 40 });
      const service = startServiceProcess({
        ADMIN_API_KEY: ADMIN_KEY,
        LORAWAN_API_URL: simulator.url,
      });
      const api = await service.serving();
      const { owner } = await createProject(api, ADMIN_KEY);
      const requested = await owner.post<Batch>('/batches', { json: { batch_size: 150 } });

      const cli = await runCli(['deveui-batch', simulator.url, '--batch-size', '60']);

      expect(cli).toMatchObject({ code: 0 });
      const own = await vi.waitFor(async () => {
        const { body } = await owner.get<Batch>(`/batches/${requested.body.id}`);
        expect(body.status).toBe('Completed');
        return body;
      }, EVENTUALLY);
      expect(own.deveuis).toHaveLength(150);
      expect(simulator.stats()).toMatchObject({ registered: 210, peak_in_flight: 10 });
    },
  );

  test.each([
    [['deveui-batch'], 'missing required argument'],
    [['deveui-batch', 'nowhere'], "'nowhere' is not the URL of a provider"],
    [['deveui-batch', 'http://127.0.0.1:1', '--batch-size', '0'], 'whole number, 1 to 10000'],
    [['deveui-batch', 'http://127.0.0.1:1', '--batch-size', '10001'], 'whole number, 1 to 10000'],
    [['deveui-batch', 'http://127.0.0.1:1', '--concurrency', '11'], 'whole number, 1 to 10'],
    [['deveui-batch', 'http://127.0.0.1:1', '--timeout', 'x'], 'number of seconds'],
    [['deveui-batch', 'http://127.0.0.1:1', '--prefix', 'XYZ'], 'hex digits'],
    [['deveui-batch', 'http://127.0.0.1:1', '--prefix', 'A'.repeat(15)], 'only 16 short codes'],
  ])('refuses %j', async (args, complaint) => {
    const { code, stdout, stderr } = await runCli(args);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toContain(complaint);
  });
});
