import { setTimeout as delay } from 'node:timers/promises';
import { expect, test, vi } from 'vitest';
import { connectTo, createProject, type Answer, type ApiClient } from '../api/api-client.ts';
import { dataDir, open, processesIn, signal, until } from '../database/embedded-server-fixture.ts';
import { startLoad } from './load.ts';
import { startServiceProcess, terminate } from './service-process.ts';

vi.setConfig({ testTimeout: 240_000 });

const ADMIN_KEY = 'the-admin-key';
const OUTAGE_MS = 30_000;
const HEALTH_INTERVAL_MS = 200;
const WRITERS = 8;
const EVENTUALLY = { timeout: 60_000, interval: 50 };

/** What was requested of an admin's, as it ended. */
async function ended(admin: ApiClient, { headers }: Answer<unknown>): Promise<unknown> {
  const path = headers.get('Location')?.replace('/api/v1', '') ?? '';
  return vi.waitFor(async () => {
    const { body } = await admin.get<{ status: string }>(path);
    expect(body.status).not.toBe('running');
    return body;
  }, EVENTUALLY);
}

/** So many events that a rebuild takes a while. */
async function fill(owner: ApiClient): Promise<void> {
  for (let round = 0; round < 6; round += 1) {
    const json = Array.from({ length: 5_000 }, (_, index) => ({
      id: `filled-${index}`,
      data: { round },
    }));
    expect(await owner.post('/sensors/patches', { json })).toMatchObject({ status: 200 });
  }
}

const FAILING = {
  status: 503,
  body: {
    status: 'failing',
    parts: {
      database: { status: 'failing', detail: expect.stringMatching(/\w/) },
      log: { status: 'failing' },
      'projection:tenancy': { status: 'failing' },
      'projection:state': { status: 'failing' },
    },
  },
};

interface Outage {
  goAway(close: () => Promise<void>): Promise<void>;
  comeBack(): Promise<void>;
  /** What requests are answered that are sent while it is away, then or when it is back. */
  readonly answers: readonly number[];
  /** Whether it goes in the midst of a rebuild. */
  readonly isRebuilt: boolean;
}

/** A service under load whose database goes away for 30 s. */
async function throughAnOutage({ goAway, comeBack, answers, isRebuilt }: Outage): Promise<void> {
  const server = await open();
  const service = startServiceProcess({
    DATABASE_URL: server.url,
    ADMIN_API_KEY: ADMIN_KEY,
    // The load does not wait when it is told to, and each refusal is a line.
    LOG_LEVEL: 'error',
  });
  const api = await service.serving();
  const admin = api.client(ADMIN_KEY);
  const { owner } = await createProject(api, ADMIN_KEY);
  await fill(owner);
  const loading = await connectTo(api.url);
  const load = await startLoad(loading.client(owner.key), WRITERS);
  await until(() => load.acknowledged() > 1_000);
  const health = () => api.client().get('//health/ready');
  expect(await health()).toMatchObject({ status: 200, body: { status: 'ok' } });
  const register = () =>
    owner.post('/devices', {
      json: { device_id: 'd1' },
      headers: { 'idempotency-key': 'sent while it was away' },
    });

  const rebuild = isRebuilt ? await admin.post('/admin/projections/state/rebuild') : undefined;
  await goAway(() => server.close());
  const over = AbortSignal.timeout(OUTAGE_MS);
  const acknowledged = load.acknowledged();
  const meanwhile = Promise.all([
    owner.patch('/sensors/probe', { json: { data: { a: 1 } } }),
    register(),
    owner.get('/sensors'),
    admin.get('/admin/projections'),
  ]);
  while (!over.aborted) {
    expect(await health()).toMatchObject(FAILING);
    expect(await api.client().get('//health/live')).toMatchObject({ status: 200 });
    await delay(HEALTH_INTERVAL_MS);
  }
  // The last of those that were being acknowledged when it went.
  expect(load.acknowledged() - acknowledged).toBeLessThanOrEqual(WRITERS);
  await comeBack();

  await vi.waitFor(
    async () => expect(await health()).toMatchObject({ status: 200, body: { status: 'ok' } }),
    EVENTUALLY,
  );
  for (const { status, headers, text } of await meanwhile) {
    expect(answers, text).toContain(status);
    if (status === 503) expect(Number(headers.get('Retry-After'))).toBeGreaterThan(0);
  }
  if (rebuild !== undefined) {
    expect(await ended(admin, rebuild)).toMatchObject({ status: 'completed', error: null });
  }
  const resumedAt = load.acknowledged();
  await until(() => load.acknowledged() > resumedAt + 1_000);
  loading.leave();
  await load.ended();

  expect(await register()).toMatchObject({ status: 201, body: { device_id: 'd1' } });
  const again = await register();
  expect(again).toMatchObject({ status: 201, body: { device_id: 'd1' } });
  expect(again.headers.get('Idempotency-Replayed')).toBe('true');
  await load.expectKept(owner);
  await vi.waitFor(async () => {
    const { body } = await admin.get<{ items: object[] }>('/admin/projections');
    for (const projection of body.items) {
      expect(projection).toMatchObject({ status: 'live', lag_events: 0, last_error: null });
    }
  }, EVENTUALLY);
  for (const name of ['tenancy', 'state']) {
    const verification = await admin.post(`/admin/projections/${name}/verify`);
    expect(await ended(admin, verification)).toMatchObject({ status: 'completed', differing: [] });
  }
  // The same process, all the time.
  expect([service.child.exitCode, service.child.signalCode]).toEqual([null, null]);
  expect(await terminate(service)).toBe(0);
}

test('a database that is stopped for 30 s under load costs nothing but that time', () =>
  throughAnOutage({
    goAway: (close) => close(),
    async comeBack() {
      await open();
    },
    answers: [503],
    isRebuilt: true,
  }));

test('a database that falls silent for 30 s under load costs nothing but that time', async () => {
  const signalAll = async (name: NodeJS.Signals): Promise<void> => {
    for (const pid of processesIn(dataDir)) signal(pid, name);
  };
  try {
    await throughAnOutage({
      goAway: () => signalAll('SIGSTOP'),
      comeBack: () => signalAll('SIGCONT'),
      // It answers late what it had received.
      answers: [503, 200, 201],
      isRebuilt: false,
    });
  } finally {
    await signalAll('SIGCONT');
  }
});
