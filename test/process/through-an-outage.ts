import { setTimeout as delay } from 'node:timers/promises';
import { expect, vi } from 'vitest';
import { connectTo, createProject, type Answer, type ApiClient } from '../api/api-client.ts';
import { until } from '../database/embedded-server-fixture.ts';
import { PROJECTION_NAMES } from '../projections/projection-versions.ts';
import { startLoad } from './load.ts';
import { startServiceProcess, terminate } from './service-process.ts';

const ADMIN_KEY = 'the-admin-key-of-the-tests';
const HEALTH_INTERVAL_MS = 200;
const WRITERS = 8;
const EVENTUALLY = { timeout: 120_000, interval: 50 };

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

export interface Outage {
  readonly settings: Readonly<Record<string, string>>;
  readonly outageMs: number;
  /** The parts that health names meanwhile. */
  readonly failing: readonly string[];
  goAway(): Promise<void>;
  comeBack(): Promise<void>;
  /** What requests are answered that are sent while it is unavailable, then or when it is back. */
  readonly answers: readonly number[];
  /** Whether it goes in the midst of a rebuild. */
  readonly isRebuilt: boolean;
  /** Whether writing continues without it. */
  readonly isWrittenTo: boolean;
}

/** A service under load loses what it stands on for a while, and resumes automatically. */
export async function throughAnOutage(outage: Outage): Promise<void> {
  const { settings, outageMs, goAway, comeBack, answers } = outage;
  const service = startServiceProcess({
    ...settings,
    ADMIN_API_KEY: ADMIN_KEY,
    // The load does not wait when it is told to, and each refusal is a line.
    LOG_LEVEL: 'error',
  });
  const api = await service.serving();
  const admin = api.client(ADMIN_KEY);
  const { owner } = await createProject(api, ADMIN_KEY);
  await fill(owner);
  const health = () => api.client().get('//health');
  const isWell = async () => {
    const { status, text } = await health();
    expect(status, text).toBe(200);
  };
  await vi.waitFor(isWell, EVENTUALLY);
  const loading = await connectTo(api.url);
  const load = await startLoad(loading.client(owner.key), WRITERS);
  await until(() => load.acknowledged() > 1_000);
  const register = () =>
    owner.post('/devices', {
      json: { device_id: 'd1' },
      headers: { 'idempotency-key': 'sent while it was unavailable' },
    });

  const rebuild = outage.isRebuilt
    ? await admin.post('/admin/projections/state/rebuild')
    : undefined;
  await goAway();
  const over = AbortSignal.timeout(outageMs);
  const acknowledged = load.acknowledged();
  const meanwhile = Promise.all([
    owner.patch('/sensors/probe', { json: { data: { a: 1 } } }),
    register(),
    owner.get('/sensors'),
    admin.get('/admin/projections'),
  ]);
  const parts = Object.fromEntries(outage.failing.map((name) => [name, { status: 'failing' }]));
  const failing = { status: 503, body: { status: 'failing', parts } };
  // An answer may be a quarter of a second old.
  await vi.waitFor(async () => expect(await health()).toMatchObject(failing), EVENTUALLY);
  while (!over.aborted) {
    expect(await health()).toMatchObject(failing);
    expect(await api.client().get('//health/live')).toMatchObject({ status: 200 });
    await delay(HEALTH_INTERVAL_MS);
  }
  // The last of those that were being acknowledged when it went.
  const inFlight = outage.isWrittenTo ? Infinity : WRITERS;
  expect(load.acknowledged() - acknowledged).toBeLessThanOrEqual(inFlight);
  await comeBack();

  for (const { status, headers, text } of await meanwhile) {
    expect(answers, text).toContain(status);
    if (status === 503) expect(Number(headers.get('Retry-After'))).toBeGreaterThan(0);
  }
  const resumedAt = load.acknowledged();
  await until(() => load.acknowledged() > resumedAt + 1_000);
  loading.leave();
  await load.ended();
  // Not before: the load may be more than the machine can show at once.
  await vi.waitFor(isWell, EVENTUALLY);
  if (rebuild !== undefined) {
    expect(await ended(admin, rebuild)).toMatchObject({ status: 'completed', error: null });
  }

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
  for (const name of PROJECTION_NAMES) {
    const verification = await admin.post(`/admin/projections/${name}/verify`);
    expect(await ended(admin, verification)).toMatchObject({ status: 'completed', differing: [] });
  }
  // The same process, all the time.
  expect([service.child.exitCode, service.child.signalCode]).toEqual([null, null]);
  expect(await terminate(service)).toBe(0);
}
