import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { formatApiKey, mintKey } from '../../src/commands/tenancy/api-keys.ts';
import { parseConfig } from '../../src/config.ts';
import { streamName, type StreamName } from '../../src/event-store/stream-name.ts';
import { openLedger, type Ledger } from '../../src/service/ledger.ts';
import { systemClock } from '../../src/shared/clock.ts';
import { newEventId, randomEntropy } from '../../src/shared/ids.ts';
import type { JsonObject } from '../../src/shared/json.ts';
import {
  liveSchema,
  PROJECTION_NAMES,
  PROJECTION_VERSIONS,
} from '../projections/projection-versions.ts';
import { createTestDatabase } from '../database/test-database.ts';
import { testEventStoreUrl } from '../event-store/test-log.ts';
import {
  problem,
  startTestService,
  type Answer,
  type ApiClient,
  type Method,
  type TestProject,
  type TestService,
} from './api-client.ts';

// Stops and pauses are waited for, and so is a read that is refused for them.
vi.setConfig({ testTimeout: 120_000 });

const EVENTUALLY = { timeout: 40_000, interval: 20 };
const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;
const POSITION = /^[0-9a-f]{8}-\d+$/;
const INVALID = problem(422, 'validation-failed');
const NOT_FOUND = problem(404, 'not-found');
const BEHIND = problem(503, 'read-model-behind');
const NOT_STOPPED = problem(409, 'projection-not-stopped');
const BUSY = problem(409, 'projection-busy');

const database = createTestDatabase();
const idleDatabase = createTestDatabase();
const stalledDatabase = createTestDatabase();
let service: TestService;
/** Another process on the same database, which runs no projections. */
let reader: TestService;
/** A service that nobody runs projections for: what is requested of it stays requested. */
let idle: TestService;
/** The same database as the service's, for what no request can do. */
let ledger: Ledger;
let project: TestProject;
let owner: ApiClient;
/** With a key of its own, whose id is the actor of what it does. */
let admin: ApiClient;
let adminId: string;

beforeAll(async () => {
  service = await startTestService(database.url);
  reader = await startTestService(database.url, { roles: ['api'] });
  idle = await startTestService(idleDatabase.url, { roles: ['api'] });
  ledger = await openLedger(
    {
      ...parseConfig({}),
      port: 0,
      databaseUrl: database.url,
      eventStoreUrl: testEventStoreUrl(database.url),
      dataDir: '/nowhere',
      adminApiKey: undefined,
      roles: [],
      logLevel: 'silent',
    },
    'tool',
  );
  const key = mintKey('adm', randomEntropy(), systemClock());
  adminId = key.newKey.keyId;
  const context = { projectId: '_installation', actor: 'system:test', correlationId: randomUUID() };
  const holder = { kind: 'adm', id: 'installation' } as const;
  await ledger.commands.tenancy.issueKey(holder, key.newKey, context);
  admin = service.client(formatApiKey(key.apiKey));
  project = await service.newProject();
  ({ owner } = project);
});
afterAll(async () => {
  await ledger.engine.stop();
  await ledger.close();
  await idle.stop();
  await reader.stop();
  await service.stop();
});

interface Projection {
  readonly name: string;
  readonly generation: number;
  readonly status: string;
  readonly position: string;
  readonly head: string;
  readonly lag_events: number;
  readonly last_error: { event_id: string; position: string; message: string } | null;
}

interface Rebuild {
  readonly id: string;
  readonly projection: string;
  readonly status: string;
  readonly percent: number;
  readonly ended_at: string | null;
}

interface Verification {
  readonly id: string;
  readonly status: string;
  readonly rows: number;
  readonly differing_total: number;
  readonly differing: readonly { readonly table: string; readonly key: object }[];
}

interface LogEvent {
  readonly position: string;
  readonly stream: string;
  readonly revision: number;
  readonly event_id: string;
  readonly type: string;
  readonly data: Readonly<Record<string, unknown>>;
  readonly metadata: Readonly<Record<string, unknown>>;
  readonly recorded_at: string;
}

interface Health {
  readonly status: string;
  readonly parts: Readonly<Record<string, { status: string; detail?: string }>>;
}

let names = 0;

/** An id that no other test knows. */
function newId(kind: string): string {
  names += 1;
  return `${kind}-${names}`;
}

async function projection(name: string, client = admin): Promise<Projection> {
  return (await client.get<Projection>(`/admin/projections/${name}`)).body;
}

function request(client: ApiClient, name: string, kind: 'rebuild' | 'verify') {
  return client.post<Rebuild>(`/admin/projections/${name}/${kind}`);
}

/** What was requested, as it ended. */
async function ended<Body extends { status: string }>({
  headers,
  text,
}: Answer<unknown>): Promise<Body> {
  const path = headers.get('Location')?.replace('/api/v1', '') ?? text;
  return vi.waitFor(async () => {
    const { body } = await admin.get<Body>(path);
    expect(body.status).not.toBe('running');
    return body;
  }, EVENTUALLY);
}

async function verified(name = 'state'): Promise<Verification> {
  return ended<Verification>(await request(admin, name, 'verify'));
}

async function patch(sensor: string, data: object, headers = {}): Promise<string> {
  const answer = await owner.patch(`/sensors/${sensor}`, { json: { data }, headers });
  expect(answer.status, answer.text).toBe(200);
  return answer.headers.get('Fleetledger-Position') ?? '';
}

function sensorStream(sensor: string): StreamName {
  return streamName('sensor', project.id, sensor);
}

/** Past all that decides what may be recorded: as a newer release would, or a mistake. */
async function appendRaw(
  stream: StreamName,
  event: { type: string; data: JsonObject; schemaVersion?: number },
): Promise<string> {
  const id = newEventId();
  const { type, data, schemaVersion = 1 } = event;
  const metadata = {
    projectId: project.id,
    actor: 'system:test',
    correlationId: id,
    schemaVersion,
  };
  const events = [{ id, type, data, metadata }];
  await ledger.store.append([{ stream, events, expectedRevision: 'any' }]);
  return id;
}

function logPath(query: Readonly<Record<string, string>>): string {
  return `/admin/log?${new URLSearchParams(query).toString()}`;
}

/** All that the log holds, oldest first. */
function log(query: Readonly<Record<string, string>> = {}, client = admin): Promise<LogEvent[]> {
  return client.walk<LogEvent>(logPath({ limit: '500', ...query }));
}

const health = (of: TestService) => of.client().get<Health>('//health');
const readiness = (of: TestService) => of.client().get('//health/ready');

function at({ position }: { readonly position: string }): bigint {
  return BigInt(position.split('-')[1] ?? '');
}

describe('the routes of the administration', () => {
  const ROUTES: readonly [Method, string][] = [
    ['GET', '/admin/projections'],
    ['GET', '/admin/projections/{name}'],
    ['POST', '/admin/projections/{name}/rebuild'],
    ['POST', '/admin/projections/{name}/verify'],
    ['POST', '/admin/projections/{name}/pause'],
    ['POST', '/admin/projections/{name}/resume'],
    ['POST', '/admin/projections/{name}/retry'],
    ['POST', '/admin/projections/{name}/skip'],
    ['GET', '/admin/rebuilds'],
    ['GET', '/admin/rebuilds/{id}'],
    ['DELETE', '/admin/rebuilds/{id}'],
    ['GET', '/admin/verifications/{id}'],
    ['DELETE', '/admin/verifications/{id}'],
    ['GET', '/admin/events'],
    ['GET', '/admin/log'],
  ];

  test('are those of the contract', () => {
    const documented = Object.entries(service.document.paths)
      .filter(([path]) => path.startsWith('/admin/'))
      .flatMap(([path, methods]) =>
        Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`),
      );
    const expected = ROUTES.map(([method, path]) => `${method} ${path}`);
    expect(documented.toSorted()).toEqual(expected.toSorted());
  });

  test.each(ROUTES)('%s %s is for admins alone', async (method, path) => {
    const there = path.replace('{name}', 'state').replace('{id}', randomUUID());
    const json = { name: 'V', role: 'viewer' };
    const viewer = await owner.post<{ key: string }>('/members', { json });
    const device = await owner.post<{ key: string }>('/devices', {
      json: { device_id: newId('device') },
    });
    for (const key of [owner.key, viewer.body.key, device.body.key]) {
      const answer = await service.client(key).send(method, there);
      expect(answer).toMatchObject(problem(403, 'forbidden'));
    }
    for (const key of [undefined, `${admin.key}x`, 'fl_adm_x_y']) {
      const answer = await service.client(key).send(method, there);
      expect(answer).toMatchObject(problem(401, 'unauthenticated'));
      expect(answer.headers.get('WWW-Authenticate')).toMatch(/^Bearer/);
    }
  });

  test.each(ROUTES.filter(([, path]) => path.includes('{')))(
    '%s %s says that nothing is called so',
    async (method, path) => {
      const missing = path.replace('{name}', 'missing').replace('{id}', randomUUID());
      expect(await admin.send(method, missing)).toMatchObject(NOT_FOUND);
    },
  );

  test.each(ROUTES.filter(([, path]) => path.includes('{id}')))(
    '%s %s takes a UUID only',
    async (method, path) => {
      expect(await admin.send(method, path.replace('{id}', 'missing'))).toMatchObject(INVALID);
    },
  );
});

describe('the projections', () => {
  test('are listed, each with where it stands and how it is doing', async () => {
    await patch(newId('sensor'), { a: 1 });
    await vi.waitFor(async () => {
      const { status, body } = await admin.get('/admin/projections');
      expect(status).toBe(200);
      expect(body).toEqual({
        items: Object.entries(PROJECTION_VERSIONS).map(([name, version]) => ({
          name,
          version,
          generation: expect.any(Number),
          status: 'live',
          position: expect.stringMatching(POSITION),
          head: expect.stringMatching(POSITION),
          lag_events: 0,
          lag_seconds: 0,
          events_per_second: expect.any(Number),
          last_error: null,
        })),
      });
    }, EVENTUALLY);
    const { position, head } = await projection('state');
    expect(position).toBe(head);
  });

  test('are read one by one, in any process', async () => {
    const { body } = await admin.get<{ items: Projection[] }>('/admin/projections');
    for (const { name, generation } of body.items) {
      for (const client of [admin, reader.client(admin.key)]) {
        expect(await projection(name, client)).toMatchObject({ name, generation, status: 'live' });
      }
    }
  });

  test('tell how fast they go, in whichever process they run', async () => {
    const sensor = newId('sensor');
    let n = 0;
    await vi.waitFor(async () => {
      await Promise.all(Array.from({ length: 20 }, () => patch(sensor, { n: (n += 1) })));
      const { body } = await reader.admin.get<{ events_per_second: number }>(
        '/admin/projections/state',
      );
      expect(body.events_per_second).toBeGreaterThan(0);
    }, EVENTUALLY);
  });

  test('that nobody runs stay behind the head, which is told', async () => {
    const before = await projection('tenancy', idle.admin);
    await idle.newProject();
    const after = await projection('tenancy', idle.admin);
    expect(after).toMatchObject({ status: 'live', position: before.position });
    expect(after.lag_events).toBe(before.lag_events + 3);
    expect(at({ position: after.head })).toBeGreaterThan(at(after));
  });
});

describe('a rebuild', () => {
  test('is answered with where it is to be found, and puts new tables in the place of the old', async () => {
    const sensor = newId('sensor');
    await patch(sensor, { a: 1 });
    const before = await projection('state');

    const answer = await request(admin, 'state', 'rebuild');

    expect(answer).toMatchObject({
      status: 202,
      body: {
        projection: 'state',
        status: 'running',
        position: expect.stringMatching(POSITION),
        target: expect.stringMatching(POSITION),
        events_per_second: expect.any(Number),
        started_at: expect.stringMatching(TIME),
        ended_at: null,
        error: null,
      },
    });
    expect(answer.body.percent).toBeLessThan(100);
    expect(answer.headers.get('Location')).toBe(`/api/v1/admin/rebuilds/${answer.body.id}`);
    const done = await ended<
      Rebuild & { position: string; target: string; events_per_second: number }
    >(answer);
    expect(done).toEqual({
      ...answer.body,
      status: 'completed',
      percent: 100,
      position: done.target,
      target: expect.stringMatching(POSITION),
      events_per_second: expect.any(Number),
      seconds_left: 0,
      ended_at: expect.stringMatching(TIME),
    });
    expect(done.events_per_second).toBeGreaterThan(0);
    expect(at(done)).toBeGreaterThanOrEqual(at(before));
    expect((await projection('state')).generation).toBeGreaterThan(before.generation);
    expect(await owner.get(`/sensors/${sensor}`)).toMatchObject({
      status: 200,
      body: { data: { current: { a: 1 } } },
    });
  });

  test('tells how far it has come, also where nobody carries it out', async () => {
    const { body } = await request(idle.admin, 'state', 'rebuild');
    expect(await idle.admin.get(`/admin/rebuilds/${body.id}`)).toMatchObject({
      status: 200,
      body: { id: body.id, status: 'running', percent: 0, seconds_left: null, ended_at: null },
    });
    await idle.admin.delete(`/admin/rebuilds/${body.id}`);
  });

  test('runs one at a time for each projection; the answer to another leads to it', async () => {
    const first = await request(idle.admin, 'state', 'rebuild');
    for (const kind of ['rebuild', 'verify'] as const) {
      const second = await request(idle.admin, 'state', kind);
      expect(second).toMatchObject(BUSY);
      expect(second.headers.get('Location')).toBe(first.headers.get('Location'));
      expect(second.body).toMatchObject({ conflicting: { kind: 'rebuild', id: first.body.id } });
    }
    const other = await request(idle.admin, 'tenancy', 'rebuild');
    expect(other).toMatchObject({ status: 202 });
    for (const { body } of [first, other]) await idle.admin.delete(`/admin/rebuilds/${body.id}`);
  });

  test('of many requests at once is one, and the others are led to it', async () => {
    const answers = await Promise.all(
      Array.from({ length: 8 }, () => request(idle.admin, 'state', 'rebuild')),
    );
    const [started, ...more] = answers.filter(({ status }) => status === 202);
    expect(more).toEqual([]);
    const refused = answers.filter((answer) => answer !== started);
    for (const answer of refused) {
      expect(answer).toMatchObject(BUSY);
      expect(answer.headers.get('Location')).toBe(started?.headers.get('Location'));
    }
    await idle.admin.delete(`/admin/rebuilds/${started?.body.id}`);
  });

  test('is cancelled once, however often it is asked for, and the tables stay as they were', async () => {
    const before = await projection('state', idle.admin);
    const { body } = await request(idle.admin, 'state', 'rebuild');
    const cancelled = await idle.admin.delete<Rebuild>(`/admin/rebuilds/${body.id}`);
    expect(cancelled).toMatchObject({
      status: 200,
      body: { id: body.id, status: 'cancelled', ended_at: expect.stringMatching(TIME) },
    });
    expect(cancelled.body.percent).toBeLessThan(100);
    await idle.newProject();

    const again = await idle.admin.delete<Rebuild>(`/admin/rebuilds/${body.id}`);

    expect(again).toMatchObject({ status: 200, body: cancelled.body });
    const events = await log({ type: 'ProjectionRebuildCancelled' }, idle.admin);
    expect(events.filter(({ data }) => data['rebuildId'] === body.id)).toHaveLength(1);
    expect((await projection('state', idle.admin)).generation).toBe(before.generation);
  });

  test('that is cancelled while it may be running makes room for the next', async () => {
    const { body } = await request(admin, 'state', 'rebuild');
    const { status } = await admin.delete(`/admin/rebuilds/${body.id}`);
    // It may have been done before.
    expect([200, 409]).toContain(status);
    const next = await request(admin, 'state', 'rebuild');
    expect(await ended<Rebuild>(next)).toMatchObject({ status: 'completed' });
  });

  test('that is done cannot be cancelled', async () => {
    const { id } = await ended<Rebuild>(await request(admin, 'tenancy', 'rebuild'));
    expect(await admin.delete(`/admin/rebuilds/${id}`)).toMatchObject(problem(409, 'replay-ended'));
    expect(await admin.get(`/admin/rebuilds/${id}`)).toMatchObject({
      body: { status: 'completed' },
    });
  });

  test('is no verification', async () => {
    const { body } = await request(idle.admin, 'state', 'rebuild');
    expect(await idle.admin.get(`/admin/verifications/${body.id}`)).toMatchObject(NOT_FOUND);
    await idle.admin.delete(`/admin/rebuilds/${body.id}`);
  });

  test('is in the log, with the key of who wanted it', async () => {
    const { id } = await ended<Rebuild>(await request(admin, 'state', 'rebuild'));
    const events = await log({ stream: 'projection-_installation.state' });
    expect(events.filter(({ data }) => data['rebuildId'] === id)).toMatchObject([
      { type: 'ProjectionRebuildRequested', metadata: { actor: adminId } },
    ]);
  });
});

describe('a rebuild that is requested with an idempotency key', () => {
  const requestOnce = (key: string, name = 'state') =>
    idle.admin.post<Rebuild>(`/admin/projections/${name}/rebuild`, {
      headers: { 'idempotency-key': key },
    });

  test('is one, however often it is sent, also all at once and after its end', async () => {
    const key = randomUUID();
    const before = await idle.admin.walk<Rebuild>('/admin/rebuilds');
    const answers = await Promise.all(Array.from({ length: 6 }, () => requestOnce(key)));
    const [first] = answers;
    const id = first?.body.id ?? '';
    await idle.admin.delete(`/admin/rebuilds/${id}`);
    answers.push(await requestOnce(key));

    for (const answer of answers) {
      expect(answer).toMatchObject({ status: 202, text: first?.text });
      expect(answer.headers.get('Location')).toBe(`/api/v1/admin/rebuilds/${id}`);
    }
    expect(answers.at(-1)?.headers.get('Idempotency-Replayed')).toBe('true');
    const after = await idle.admin.walk<Rebuild>('/admin/rebuilds');
    expect(after.length - before.length).toBe(1);
    const events = await log({ type: 'ProjectionRebuildRequested' }, idle.admin);
    expect(events.filter(({ data }) => data['rebuildId'] === id)).toHaveLength(1);
  });

  test('is of the projection that was named first', async () => {
    const key = randomUUID();
    const { body } = await requestOnce(key);
    expect(await requestOnce(key, 'tenancy')).toMatchObject(problem(422, 'idempotency-key-reused'));
    await idle.admin.delete(`/admin/rebuilds/${body.id}`);
  });
});

describe('the rebuilds', () => {
  /** Newest first. */
  async function makeRebuilds(count: number): Promise<string[]> {
    const ids: string[] = [];
    for (let made = 0; made < count; made += 1) {
      const { body } = await request(idle.admin, 'state', 'rebuild');
      await idle.admin.delete(`/admin/rebuilds/${body.id}`);
      ids.unshift(body.id);
    }
    return ids;
  }

  test('are listed newest first, and walked one by one', async () => {
    const ids = await makeRebuilds(3);
    const running = await request(idle.admin, 'tenancy', 'rebuild');

    const { body } = await idle.admin.get<{ items: Rebuild[]; next: string | null }>(
      '/admin/rebuilds',
    );
    const walked = await idle.admin.walk<Rebuild>('/admin/rebuilds?limit=1');

    expect(body.items.slice(0, 4).map(({ id }) => id)).toEqual([running.body.id, ...ids]);
    expect(body.items.slice(0, 2)).toMatchObject([
      { projection: 'tenancy', status: 'running' },
      { projection: 'state', status: 'cancelled' },
    ]);
    expect(body.next).toBe(null);
    expect(walked).toEqual(body.items);
    await idle.admin.delete(`/admin/rebuilds/${running.body.id}`);
  });

  test('are seen once each by a walk, whatever begins meanwhile', async () => {
    await makeRebuilds(3);
    const before = await idle.admin.walk<Rebuild>('/admin/rebuilds');

    const walked = await idle.admin.walk<Rebuild>('/admin/rebuilds?limit=2', async () => {
      await makeRebuilds(1);
    });

    expect(walked).toEqual(before);
  });

  test.each([
    'x',
    cursorOf({ walk: 'log:', after: '1' }),
    cursorOf({ walk: 'rebuilds', after: 'x', startedAt: '2026-01-31T00:00:00.000Z' }),
    cursorOf({ walk: 'rebuilds', after: randomUUID(), startedAt: 'x' }),
  ])('are not walked on from a cursor that they never gave: %s', async (cursor) => {
    expect(await idle.admin.get(`/admin/rebuilds?cursor=${cursor}`)).toMatchObject(INVALID);
  });
});

function cursorOf(place: object): string {
  return Buffer.from(JSON.stringify(place)).toString('base64url');
}

describe('a verification', () => {
  test('that is running can be cancelled, and not one that is done', async () => {
    const { body } = await request(idle.admin, 'tenancy', 'verify');
    const path = `/admin/verifications/${body.id}`;
    const cancelled = { status: 200, body: { id: body.id, status: 'cancelled' } };
    expect(await idle.admin.delete(path)).toMatchObject(cancelled);
    expect(await idle.admin.delete(path)).toMatchObject(cancelled);

    const done = await ended<Verification>(await request(admin, 'state', 'verify'));
    expect(await admin.delete(`/admin/verifications/${done.id}`)).toMatchObject(
      problem(409, 'replay-ended'),
    );
  });

  test('is answered with where it is to be found, and finds nothing where all is well', async () => {
    await patch(newId('sensor'), { a: 1 });

    const answer = await request(admin, 'state', 'verify');

    expect(answer).toMatchObject({
      status: 202,
      body: { projection: 'state', status: 'running', rows: 0, differing: [], ended_at: null },
    });
    const { id } = answer.body;
    expect(answer.headers.get('Location')).toBe(`/api/v1/admin/verifications/${id}`);
    const done = await ended<Verification>(answer);
    expect(done).toEqual({
      id,
      projection: 'state',
      status: 'completed',
      position: expect.stringMatching(POSITION),
      rows: expect.any(Number),
      differing_total: 0,
      differing: [],
      started_at: expect.stringMatching(TIME),
      ended_at: expect.stringMatching(TIME),
      error: null,
    });
    expect(done.rows).toBeGreaterThan(0);
    expect(await admin.get(`/admin/rebuilds/${id}`)).toMatchObject(NOT_FOUND);
  });

  test('names the rows that were changed by hand, which a rebuild then makes good', async () => {
    const sensor = newId('sensor');
    await patch(sensor, { a: 1 });
    await owner.get(`/sensors/${sensor}`);
    await ledger.database.query({
      text:
        `update ${await liveSchema(ledger.database.url, 'state')}.sensors set state = ` +
        `'{"a":2}' where sensor_id = $1`,
      values: [sensor],
    });
    const key = { project_id: project.id, sensor_id: sensor };

    const { status, differing, differing_total: total } = await verified();

    expect({ status, total }).toEqual({ status: 'completed', total: 1 });
    expect(differing).toEqual([
      {
        table: 'sensors',
        key,
        live: expect.objectContaining({ ...key, state: { a: 2 } }),
        replayed: expect.objectContaining({ ...key, state: { a: 1 } }),
      },
    ]);
    await ended(await request(admin, 'state', 'rebuild'));
    expect(await verified()).toMatchObject({ status: 'completed', differing: [] });
    expect(await owner.get(`/sensors/${sensor}`)).toMatchObject({
      body: { data: { current: { a: 1 } } },
    });
  });

  test('names the first 500 rows that differ, in their order, and counts all', async () => {
    const prefix = newId('many');
    const sensors = Array.from({ length: 510 }, (_, index) => `${prefix}-${1_000 + index}`);
    await owner.post('/sensors/patches', { json: sensors.map((id) => ({ id, data: { a: 1 } })) });
    await owner.get('/sensors?limit=1');
    await ledger.database.query({
      text:
        `update ${await liveSchema(ledger.database.url, 'state')}.sensors set revision = 7 ` +
        'where sensor_id like $1',
      values: [`${prefix}-%`],
    });

    const { differing, differing_total: total } = await verified();

    expect(total).toBe(510);
    expect(differing.map(({ key }) => key)).toEqual(
      sensors.slice(0, 500).map((id) => ({ project_id: project.id, sensor_id: id })),
    );
    await ended(await request(admin, 'state', 'rebuild'));
    expect(await verified()).toMatchObject({ differing_total: 0, differing: [] });
  });

  test('of the tenants finds nothing either', async () => {
    await owner.post('/devices', { json: { device_id: newId('device') } });
    expect(await verified('tenancy')).toMatchObject({ status: 'completed', differing: [] });
  });

  test('stands in the way of another, and of a rebuild, and is named', async () => {
    const first = await request(idle.admin, 'tenancy', 'verify');
    for (const kind of ['rebuild', 'verify'] as const) {
      const second = await request(idle.admin, 'tenancy', kind);
      expect(second).toMatchObject(BUSY);
      expect(second.headers.get('Location')).toBe(first.headers.get('Location'));
      expect(second.body).toMatchObject({
        conflicting: { kind: 'verification', id: first.body.id },
      });
    }
  });
});

describe('a paused projection', () => {
  test(
    'does not advance until it is resumed; what it cannot answer yet is said to be behind',
    { tags: ['slow'] },
    async () => {
      const sensor = newId('sensor');
      await patch(sensor, { a: 1 });
      await owner.get(`/sensors/${sensor}`);
      const elsewhere = reader.client(owner.key);

      const paused = await admin.post<Projection>('/admin/projections/state/pause');
      expect(paused).toMatchObject({ status: 200, body: { name: 'state', status: 'paused' } });
      expect(await admin.post('/admin/projections/state/pause')).toMatchObject({
        status: 200,
        body: { status: 'paused' },
      });
      const position = await patch(sensor, { a: 2 });

      const behind = await owner.get(`/sensors/${sensor}`);
      expect(behind).toMatchObject(BEHIND);
      expect(Number(behind.headers.get('Retry-After'))).toBeGreaterThan(0);
      // Who needs no newer position gets what there is.
      expect(await elsewhere.get(`/sensors/${sensor}`)).toMatchObject({
        status: 200,
        body: { data: { current: { a: 1 } } },
      });
      const headers = { 'fleetledger-min-position': position };
      expect(await elsewhere.get(`/sensors/${sensor}`, { headers })).toMatchObject(BEHIND);
      await vi.waitFor(
        async () =>
          expect(await health(service)).toMatchObject({
            status: 200,
            body: {
              status: 'ok',
              parts: {
                'projection:state': {
                  status: 'ok',
                  detail: expect.stringMatching(/paused by an admin/),
                },
              },
            },
          }),
        EVENTUALLY,
      );
      const meanwhile = await projection('state');
      expect(meanwhile).toMatchObject({ status: 'paused', position: paused.body.position });
      expect(meanwhile.lag_events).toBeGreaterThan(0);

      expect(await admin.post('/admin/projections/state/resume')).toMatchObject({
        status: 200,
        body: { name: 'state', status: 'live' },
      });
      expect(await admin.post('/admin/projections/state/resume')).toMatchObject({ status: 200 });
      expect(await owner.get(`/sensors/${sensor}`)).toMatchObject({
        status: 200,
        body: { data: { current: { a: 2 } } },
      });
      const events = await log({ type: 'ProjectionPaused,ProjectionResumed' });
      // What would change nothing is not an event.
      expect(events).toMatchObject([
        { type: 'ProjectionPaused', metadata: { actor: adminId } },
        { type: 'ProjectionResumed', metadata: { actor: adminId } },
      ]);
    },
  );
});

describe('a projection that is not stopped', () => {
  test.each(['retry', 'skip'])('has nothing to %s', async (deed) => {
    const path = `/admin/projections/state/${deed}`;
    expect(await admin.post(path)).toMatchObject(NOT_STOPPED);
    expect(await admin.post(path, { json: {} })).toMatchObject(NOT_STOPPED);
    expect(await admin.post(path, { json: { event_id: randomUUID() } })).toMatchObject(NOT_STOPPED);
    expect(await admin.post(path, { json: { event_id: 'x' } })).toMatchObject(INVALID);
    expect(await admin.post(path, { json: [] })).toMatchObject(INVALID);
  });
});

describe('an event that cannot be applied', () => {
  async function stopped(): Promise<Projection> {
    return vi.waitFor(async () => {
      const found = await projection('state');
      expect(found.status).toBe('stopped');
      return found;
    }, EVENTUALLY);
  }

  async function eventuallyHealthy(): Promise<void> {
    await vi.waitFor(
      async () => expect(await health(service)).toMatchObject({ status: 200 }),
      EVENTUALLY,
    );
  }

  test.each([
    {
      what: 'of a version that this release does not know',
      event: (sensorId: string) => ({
        type: 'SensorPatched',
        data: { sensorId, patch: { a: 2 }, receivedAt: '2026-01-31T00:00:00.000Z' },
        schemaVersion: 99,
      }),
      error: /version 99/,
    },
    {
      what: 'with data that break the contract',
      event: () => ({ type: 'SensorPatched', data: {} }),
      error: /sensor_id|undefined|null/,
    },
  ])('$what stops its projection, until it is skipped', async ({ event, error }) => {
    const poisoned = newId('sensor');
    const sensor = newId('sensor');
    await patch(sensor, { n: 1 });
    const eventId = await appendRaw(sensorStream(poisoned), event(poisoned));
    await patch(sensor, { n: 2 });

    const { last_error: lastError, position } = await stopped();
    expect(lastError).toMatchObject({ event_id: eventId, message: expect.stringMatching(error) });
    expect(at({ position: lastError?.position ?? '' })).toBeGreaterThan(at({ position }));
    await vi.waitFor(
      async () =>
        expect(await health(service)).toMatchObject({
          status: 503,
          body: {
            status: 'failing',
            parts: {
              database: { status: 'ok' },
              log: { status: 'ok' },
              'projection:tenancy': { status: 'ok' },
              'projection:state': {
                status: 'failing',
                detail: `stopped at event ${eventId}: ${lastError?.message}`,
              },
            },
          },
        }),
      EVENTUALLY,
    );
    // Commands are still taken, and the other projection continues.
    await patch(sensor, { n: 3 });
    const device = newId('device');
    await owner.post('/devices', { json: { device_id: device } });
    expect(await owner.get('/keys?limit=1')).toMatchObject({ status: 200 });
    expect(await owner.get(`/sensors/${sensor}`)).toMatchObject(BEHIND);

    // New tables come no further; as far as they come, all is well.
    await ended<Rebuild>(await request(admin, 'state', 'rebuild'));
    expect(await stopped()).toMatchObject({ position, last_error: lastError });
    expect(await verified()).toMatchObject({ status: 'completed', differing: [] });

    const json = { event_id: randomUUID() };
    for (const deed of ['retry', 'skip']) {
      const refused = await admin.post(`/admin/projections/state/${deed}`, { json });
      expect(refused).toMatchObject(NOT_STOPPED);
      expect(refused.text).toContain(eventId);
    }
    expect(await admin.post('/admin/projections/state/retry')).toMatchObject({ status: 200 });
    expect((await stopped()).last_error).toEqual(lastError);

    const skip = await admin.post('/admin/projections/state/skip', {
      json: { event_id: eventId },
    });
    expect(skip).toMatchObject({ status: 200, body: { status: 'live', last_error: null } });

    expect(await owner.get(`/sensors/${sensor}`)).toMatchObject({
      status: 200,
      body: { data: { current: { n: 3 } } },
    });
    await eventuallyHealthy();
    const deeds = await log({ stream: 'projection-_installation.state' });
    expect(deeds.filter(({ data }) => data['eventId'] === eventId)).toMatchObject([
      { type: 'ProjectionRetried', metadata: { actor: adminId } },
      {
        type: 'ProjectionEventSkipped',
        data: { projection: 'state', eventId, error: lastError?.message },
        metadata: { actor: adminId },
      },
    ]);
    expect(await verified()).toMatchObject({ status: 'completed', differing: [] });
    const rebuilt = await ended<Rebuild>(await request(admin, 'state', 'rebuild'));
    expect(rebuilt).toMatchObject({ status: 'completed' });
    expect(await owner.get(`/sensors/${poisoned}`)).toMatchObject(NOT_FOUND);
    expect(await admin.post('/admin/projections/state/skip')).toMatchObject(NOT_STOPPED);
  });

  test('stops no other command than those on its stream, which say why', async () => {
    const [newer, novel] = [newId('sensor'), newId('sensor')];
    const data = { sensorId: newer, patch: { a: 2 }, receivedAt: '2026-01-31T00:00:00.000Z' };
    const eventId = await appendRaw(sensorStream(newer), {
      type: 'SensorPatched',
      data,
      schemaVersion: 99,
    });
    await appendRaw(sensorStream(novel), { type: 'NeverHeardOf', data: {} });

    const json = { data: { a: 3 } };
    expect(await owner.patch(`/sensors/${newer}`, { json })).toMatchObject(
      problem(503, 'newer-event-version'),
    );
    expect(await owner.patch(`/sensors/${novel}`, { json })).toMatchObject({ status: 200 });
    await stopped();
    expect(
      await admin.post('/admin/projections/state/skip', { json: { event_id: eventId } }),
    ).toMatchObject({ status: 200 });
    await eventuallyHealthy();
  });

  test('but of a type that nobody knows is passed over', async () => {
    const eventId = await appendRaw(streamName('device', project.id, newId('novelty')), {
      type: 'UnheardOf',
      data: { anything: [1, null] },
      schemaVersion: 7,
    });
    const sensor = newId('sensor');
    await patch(sensor, { a: 1 });

    expect(await owner.get(`/sensors/${sensor}`)).toMatchObject({ status: 200 });
    await vi.waitFor(async () => {
      const { body } = await admin.get<{ items: Projection[] }>('/admin/projections');
      for (const item of body.items) expect(item).toMatchObject({ status: 'live', lag_events: 0 });
    }, EVENTUALLY);
    for (const name of PROJECTION_NAMES) {
      expect(await verified(name)).toMatchObject({ status: 'completed', differing: [] });
    }
    expect(await log({ type: 'UnheardOf' })).toMatchObject([
      { event_id: eventId, data: { anything: [1, null] }, metadata: { schemaVersion: 7 } },
    ]);
  });
});

describe('a projection that nobody runs', () => {
  test(
    'turns health red once it has fallen behind, and green when somebody runs it',
    { tags: ['slow'] },
    async () => {
      const alone = await startTestService(stalledDatabase.url, { roles: ['api'] });
      let helper: TestService | undefined;
      try {
        expect(await health(alone)).toMatchObject({ status: 200 });
        await alone.newProject();
        const red = await vi.waitUntil(
          async () => {
            // Which of the projections is found out first is left to chance.
            const answer = await health(alone);
            const { parts } = answer.body as { parts: Record<string, { status: string }> };
            return parts['projection:tenancy']?.status === 'failing' ? answer : undefined;
          },
          { timeout: 45_000, interval: 50 },
        );
        expect(red.status).toBe(503);
        // It can append and read: that a projection is behind must not take it out of service.
        expect(await readiness(alone)).toMatchObject({
          status: 200,
          body: { status: 'ok', parts: { database: { status: 'ok' }, log: { status: 'ok' } } },
        });
        expect(red.body).toMatchObject({
          status: 'failing',
          parts: {
            database: { status: 'ok' },
            log: { status: 'ok' },
            'projection:tenancy': {
              status: 'failing',
              detail: expect.stringMatching(/^stalled, /),
            },
          },
        });

        helper = await startTestService(stalledDatabase.url, { roles: ['api', 'projections'] });

        await vi.waitFor(
          async () => expect(await health(alone)).toMatchObject({ status: 200 }),
          EVENTUALLY,
        );
      } finally {
        await helper?.stop();
        await alone.stop();
      }
    },
  );
});

describe('the log', () => {
  let events: LogEvent[];
  let sensor: string;

  beforeAll(async () => {
    sensor = newId('sensor');
    for (let n = 0; n < 6; n += 1) {
      await patch(sensor, { n });
      await patch(newId('sensor'), { n });
    }
    events = await log();
  });

  const ids = (list: readonly LogEvent[]): string[] => list.map(({ event_id: id }) => id);

  test('shows each event as it was recorded, oldest first', async () => {
    const positions = events.map(at);
    expect(positions).toEqual([...new Set(positions)].toSorted((a, b) => (a < b ? -1 : 1)));
    const patched = events.filter(({ stream }) => stream === sensorStream(sensor));
    expect(patched[1]).toEqual({
      position: expect.stringMatching(POSITION),
      stream: sensorStream(sensor),
      revision: 1,
      event_id: expect.stringMatching(/^[0-9a-f-]{36}$/),
      type: 'SensorPatched',
      data: { sensorId: sensor, patch: { n: 1 }, receivedAt: expect.stringMatching(TIME) },
      metadata: {
        projectId: project.id,
        actor: owner.key?.split('_')[2],
        correlationId: expect.any(String),
        schemaVersion: 1,
      },
      recorded_at: expect.stringMatching(TIME),
    });
  });

  test('holds no secret', () => {
    const text = JSON.stringify(events);
    for (const key of [admin.key, owner.key]) expect(text).not.toContain(key?.split('_')[3]);
  });

  test('is filtered by stream', async () => {
    const stream = sensorStream(sensor);
    const found = await log({ stream });
    expect(found.map(({ revision }) => revision)).toEqual([0, 1, 2, 3, 4, 5]);
    expect(found).toEqual(events.filter((event) => event.stream === stream));
    for (const missing of [sensorStream('missing'), 'missing', 'a b/ü%', '$all']) {
      expect(await log({ stream: missing })).toEqual([]);
    }
  });

  test('is filtered by types', async () => {
    for (const types of [['SensorPatched'], ['ProjectCreated', 'KeyIssued'], ['Missing']]) {
      const expected = events.filter(({ type }) => types.includes(type));
      expect(await log({ type: types.join(',') })).toEqual(expected);
    }
    const stream = sensorStream(sensor);
    expect(await log({ stream, type: 'SensorPatched' })).toHaveLength(6);
    expect(await log({ stream, type: 'SensorDedupSet,KeyIssued' })).toEqual([]);
  });

  test('is filtered by positions, both included', async () => {
    const stream = sensorStream(sensor);
    const own = events.filter((event) => event.stream === stream);
    for (const [first, last] of [
      [0, 5],
      [1, 3],
      [2, 2],
    ] as const) {
      const [from, to] = [own[first]?.position ?? '', own[last]?.position ?? ''];
      expect(ids(await log({ stream, from, to }))).toEqual(ids(own.slice(first, last + 1)));
      const between = events.filter(
        (event) => at(event) >= at({ position: from }) && at(event) <= at({ position: to }),
      );
      expect(ids(await log({ from, to }))).toEqual(ids(between));
      expect(ids(await log({ from, to, type: 'SensorPatched', stream }))).toEqual(
        ids(own.slice(first, last + 1)),
      );
    }
    const [logId] = (own[0]?.position ?? '').split('-');
    const position = (n: string): string => `${logId}-${n}`;
    expect(await log({ from: own[3]?.position ?? '', to: own[2]?.position ?? '' })).toEqual([]);
    expect(await log({ to: position('0') })).toEqual([]);
    expect(ids(await log({ from: position('0'), to: events[1]?.position ?? '' }))).toEqual(
      ids(events.slice(0, 2)),
    );
    // Beyond the end, also where no log will ever be.
    for (const far of ['999999999999', '9223372036854775807', '9999999999999999999']) {
      for (const bound of ['from', 'to']) {
        expect(await service.admin.get(`/admin/log?${bound}=${position(far)}`)).toMatchObject(
          problem(422, 'position-of-another-log'),
        );
      }
    }
  });

  test('is filtered by days in UTC, both included', async () => {
    const days = events.map(({ recorded_at: time }) => time.slice(0, 10));
    const [from = '', to = ''] = [days[0], days.at(-1)];
    const [dayBefore, nextDay] = [Date.parse(from) - 1, Date.parse(to) + 86_400_000].map((time) =>
      new Date(time).toISOString().slice(0, 10),
    ) as [string, string];

    const last = events.at(-1)?.position ?? '';
    expect(ids(await log({ from, to: last }))).toEqual(ids(events));
    expect(ids((await log({ from, to })).slice(0, events.length))).toEqual(ids(events));
    expect(await log({ to: dayBefore })).toEqual([]);
    expect(await log({ from: nextDay })).toEqual([]);
  });

  test('is filtered by times, both included', async () => {
    const stream = sensorStream(sensor);
    const own = events.filter((event) => event.stream === stream);
    const [from, to] = [own[1]?.recorded_at ?? '', own[3]?.recorded_at ?? ''];
    const isWithin = ({ recorded_at: time }: LogEvent): boolean => time >= from && time <= to;

    expect(ids(await log({ from, to }))).toEqual(ids(events.filter(isWithin)));
    expect(ids(await log({ from, to, stream }))).toEqual(ids(own.filter(isWithin)));
    expect(ids(await log({ from, to: from }))).toEqual(
      ids(events.filter(({ recorded_at: time }) => time === from)),
    );
    const elsewhere = new Date(new Date(from).getTime() + 2 * 3_600_000)
      .toISOString()
      .replace('Z', '+02:00');
    expect(ids(await log({ from: elsewhere, to }))).toEqual(ids(events.filter(isWithin)));
    // A time and a position.
    expect(ids(await log({ from, to: own[3]?.position ?? '', stream }))).toEqual(
      ids(own.slice(1, 4)),
    );
    expect(await log({ to: '2000-01-01T00:00:00Z' })).toEqual([]);
    expect(await log({ from: '2999-01-01T00:00:00Z' })).toEqual([]);
    expect(ids(await log({ from: '0001-01-01T00:00:00Z', stream }))).toEqual(ids(own));
  });

  test('gives all that came of one request, by its correlation id', async () => {
    const correlation = `req:${randomUUID()}`;
    const headers = { 'x-correlation-id': correlation };
    const device = newId('device');
    await owner.post('/devices', { json: { device_id: device }, headers });
    await patch(sensor, { correlated: true }, headers);
    await patch(sensor, { correlated: false });

    const found = await log({ correlation_id: correlation });

    expect(found.map(({ type }) => type)).toEqual([
      'DeviceRegistered',
      'KeyIssued',
      'SensorPatched',
    ]);
    for (const { metadata } of found) expect(metadata['correlationId']).toBe(correlation);
    const more = { correlation_id: correlation, stream: sensorStream(sensor) };
    expect(ids(await log(more))).toEqual(ids(found.slice(2)));
    expect(ids(await log({ correlation_id: correlation, type: 'KeyIssued' }))).toEqual(
      ids(found.slice(1, 2)),
    );
    expect(ids(await admin.walk(logPath({ correlation_id: correlation, limit: '1' })))).toEqual(
      ids(found),
    );
    expect(await log({ correlation_id: randomUUID() })).toEqual([]);
  });

  test('is walked by cursor: what existed at the start is seen once, whatever is appended', async () => {
    for (const query of [
      { limit: '7' },
      { limit: '2', stream: sensorStream(sensor) },
      { limit: '3', type: 'SensorPatched,SensorDedupSet' },
    ]) {
      const before = await log({ ...query, limit: '500' });
      let appended = 0;
      const walked = await admin.walk<LogEvent>(logPath(query), async () => {
        if (appended === 5) return;
        appended += 1;
        await patch(sensor, { appended: randomUUID() });
        await patch(newId('sensor'), { appended });
      });
      expect(appended).toBe(5);
      expect(ids(walked.slice(0, before.length))).toEqual(ids(before));
      expect(new Set(ids(walked)).size).toBe(walked.length);
      const positions = walked.map(at);
      expect(positions).toEqual(positions.toSorted((a, b) => (a < b ? -1 : 1)));
    }
  });

  test('is walked by cursor as far as it was asked for', async () => {
    const to = events.at(-1)?.position ?? '';
    for (const more of [{}, { stream: sensorStream(sensor) }]) {
      const before = await log({ to, ...more });
      const walked = await admin.walk<LogEvent>(logPath({ limit: '4', to, ...more }), async () => {
        await patch(sensor, { appended: randomUUID() });
      });
      expect(ids(walked)).toEqual(ids(before));
    }
  });

  test.each([
    { from: 'x' },
    { from: '' },
    { to: '' },
    { from: '2026-02-30T00:00:00Z' },
    { to: '2026-02-30' },
    { to: '2026-01-31T25:00:00Z' },
    { from: '12' },
    { from: '-1' },
    { stream: '' },
    { type: '' },
    { correlation_id: '' },
    { limit: '0' },
    { limit: '501' },
    { cursor: 'x' },
    { cursor: cursorOf({ walk: 'log:', after: 'x' }) },
    { cursor: cursorOf({ walk: 'log:another', after: '1', revision: '1' }) },
    { stream: 'a', cursor: cursorOf({ walk: 'log:', after: '1' }) },
  ])('is not read by %j', async (query) => {
    expect(await admin.get(logPath(query))).toMatchObject(INVALID);
  });

  test.each(['from', 'to'])('is not read %s a position of another log', async (bound) => {
    const [logId = ''] = (events[0]?.position ?? '').split('-');
    const another = `${logId.startsWith('0') ? '1' : '0'}${logId.slice(1)}-1`;
    expect(await admin.get(logPath({ [bound]: another }))).toMatchObject(
      problem(422, 'position-of-another-log'),
    );
  });
});
