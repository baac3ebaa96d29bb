import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { waitPreference } from '../../src/api/deveui/wait-preference.ts';
import {
  batchDecider,
  batchStream,
  type AttemptOutcome,
  type BatchCommand,
} from '../../src/commands/deveui/decider.ts';
import { FoldedStates } from '../../src/commands/core/folded-states.ts';
import { CommandHandler } from '../../src/commands/core/handler.ts';
import { openDatabase, type Database } from '../../src/database/database.ts';
import { formatPosition } from '../../src/event-store/position-text.ts';
import type { OpenEventStore } from '../../src/event-store/port.ts';
import { openPostgresSnapshotStore } from '../../src/event-store/postgres/postgres-snapshot-store.ts';
import { createLogger } from '../../src/shared/logger.ts';
import { createTestDatabase } from '../database/test-database.ts';
import { openTestLog } from '../event-store/test-log.ts';
import {
  problem,
  startTestService,
  type Answer,
  type ApiClient,
  type Method,
  type SendOptions,
  type TestProject,
  type TestService,
} from './api-client.ts';

const testDatabase = createTestDatabase();
const logger = createLogger('silent');
let service: TestService;
/** Without a provider. */
let bareService: TestService;
let project: TestProject;
let owner: ApiClient;
let database: Database;
let log: OpenEventStore;
let handler: CommandHandler;

beforeAll(async () => {
  // Nothing provisions here: the tests themselves are what asks the provider.
  const lorawanApiUrl = 'http://127.0.0.1:1';
  service = await startTestService(testDatabase.url, { lorawanApiUrl });
  bareService = await startTestService(testDatabase.url);
  project = await service.newProject();
  ({ owner } = project);
  database = openDatabase({ url: testDatabase.url, logger, maxConnections: 4 });
  log = await openTestLog({ databaseUrl: testDatabase.url, database, logger });
  const snapshots = openPostgresSnapshotStore(database, log.logId);
  handler = new CommandHandler(log, new FoldedStates(log, snapshots, logger));
});
afterAll(async () => {
  await log.close();
  await database.close();
  await bareService.stop();
  await service.stop();
});

interface BatchSummary {
  readonly id: string;
  readonly status: string;
  readonly counts: Readonly<Record<string, number>>;
  readonly requested_at: string;
  readonly reason?: string;
}

interface Batch extends BatchSummary {
  readonly deveuis: readonly string[];
  readonly unconfirmed: readonly string[];
}

interface DevEui {
  readonly deveui: string;
  readonly short_code: string;
  readonly batch_id: string;
  readonly status: string;
  readonly device_id: string | null;
}

const EVENTUALLY = { timeout: 20_000, interval: 10 };
const NONE_YET = { attempted: 0, registered: 0, conflicted: 0, unconfirmed: 0, in_flight: 0 };
const NOT_FOUND = problem(404, 'not-found');
const INVALID = problem(422, 'validation-failed');
const FORBIDDEN = problem(403, 'forbidden');
const NO_PROVIDER = problem(503, 'provider-not-configured');

async function newBatch(json: object = {}, client = owner): Promise<Batch> {
  const answer = await client.post<Batch>('/batches', { json });
  expect(answer.status).toBe(201);
  return answer.body;
}

/** What has happened is read from then on, wherever it was done. */
let seen: Record<string, string> = {};

function read<Body>(path: string, client = owner): Promise<Answer<Body>> {
  return client.get<Body>(path, { headers: seen });
}

async function batchOf(id: string): Promise<Batch> {
  return (await read<Batch>(`/batches/${id}`)).body;
}

/**
 * As the provisioning does it: in another process. The DevEUI that it begins to ask for, if any.
 */
async function play(batchId: string, command: BatchCommand): Promise<string> {
  const handled = await handler.execute(batchDecider, batchStream(project.id, batchId), command, {
    projectId: project.id,
    actor: 'system:provisioning',
    correlationId: 'r1',
  });
  seen = { 'fleetledger-min-position': formatPosition(log.logId, handled.position) };
  const events = handled.outcome === 'recorded' ? handled.events : [];
  return events.find((event) => event.type === 'DevEuiAttempted')?.data.devEui ?? '';
}

function begin(batchId: string): Promise<string> {
  return play(batchId, { type: 'begin', sentAt: new Date().toISOString() });
}

function settle(
  batchId: string,
  devEui: string,
  outcome: AttemptOutcome,
  { attempt = 1, maxFailures = 8, maxConflicts = 50 } = {},
): Promise<string> {
  const endedAt = new Date().toISOString();
  const limits = { maxFailures, maxConflicts };
  return play(batchId, { type: 'settle', devEui, attempt, outcome, endedAt, ...limits });
}

const REGISTERED: AttemptOutcome = { kind: 'registered', providerStatus: 200 };
const IN_USE: AttemptOutcome = {
  kind: 'in-use',
  providerStatus: 422,
  reason: 'the provider answered 422: it is taken',
};
const TIMED_OUT: AttemptOutcome = {
  kind: 'failed',
  providerStatus: null,
  reason: 'timed out',
  mayBeRegistered: true,
};

async function register(batchId: string): Promise<string> {
  const devEui = await begin(batchId);
  await settle(batchId, devEui, REGISTERED);
  return devEui;
}

async function clientOf(role: 'member' | 'viewer'): Promise<ApiClient> {
  const { body } = await owner.post<{ key: string }>('/members', { json: { name: role, role } });
  return service.client(body.key);
}

describe('a request for a batch', () => {
  test('is answered at once, with where the batch is', async () => {
    const answer = await owner.post<Batch>('/batches', { json: { batch_size: 7 } });

    expect(answer).toMatchObject({ status: 201 });
    expect(answer.body).toEqual({
      id: expect.stringMatching(/^[a-z0-9]{16}$/),
      status: 'Processing',
      deveuis: [],
      unconfirmed: [],
      in_flight: [],
      counts: { requested: 7, ...NONE_YET },
      requested_at: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/),
    });
    expect(answer.headers.get('Location')).toBe(`/api/v1/batches/${answer.body.id}`);
    expect(answer.headers.has('Preference-Applied')).toBe(false);
    expect((await owner.get(`/batches/${answer.body.id}`)).body).toEqual(answer.body);
  });

  test.each<[SendOptions, number]>([
    [{}, 100],
    [{ json: {} }, 100],
    [{ json: { batchSize: 3 } }, 3],
    [{ json: { batch_size: null, batchSize: 3 } }, 3],
    [{ json: { batch_size: null } }, 100],
    [{ json: { batch_size: 4, batchSize: 3 } }, 4],
    [{ json: { batch_size: 10_000 } }, 10_000],
    [{ json: { batch_size: 16, deveui_prefix: 'FFA45722AA73824' } }, 16],
    [{ json: { deveui_prefix: '' } }, 100],
  ])('%j is one for %d', async (options, requested) => {
    expect(await owner.post('/batches', options)).toMatchObject({
      status: 201,
      body: { counts: { requested } },
    });
  });

  test.each([
    [{ batch_size: 0 }, 'body.batch_size'],
    [{ batch_size: 10_001 }, 'body.batch_size'],
    [{ batch_size: 1.5 }, 'body.batch_size'],
    [{ batch_size: '7' }, 'body.batch_size'],
    [{ batchSize: 0 }, 'body.batchSize'],
    [{ deveui_prefix: 'FFA45722AA738240' }, 'body.deveui_prefix'],
    [{ deveui_prefix: 'xyz' }, 'body.deveui_prefix'],
    [{ deveui_prefix: 'FFA45722AA73824' }, 'body.batch_size'],
    [{ batch_size: 17, deveui_prefix: 'FFA45722AA73824' }, 'body.batch_size'],
    [{ batchSize: 257, deveui_prefix: 'FFA45722AA7382' }, 'body.batch_size'],
  ])('%j is refused, by its field', async (json, path) => {
    const answer = await owner.post<{ errors: { path: string; message: string }[] }>('/batches', {
      json,
    });
    expect(answer).toMatchObject(INVALID);
    expect(answer.body.errors.map((error) => error.path)).toContain(path);
  });

  test('says how many short codes a prefix leaves, when they are too few', async () => {
    const json = { batch_size: 300, deveui_prefix: 'ffa45722aa7382' };
    const { body } = await owner.post<{ errors: object[] }>('/batches', { json });
    expect(body.errors).toEqual([
      { path: 'body.batch_size', message: expect.stringContaining('256') },
    ]);
  });

  test.each(['ffa457', 'FF-A4-57', ' 0xffa457', 'ff:a4:57:'])(
    'takes the prefix %j, and its DevEUIs begin with it',
    async (prefix) => {
      const { id } = await newBatch({ deveui_prefix: prefix });
      expect(await begin(id)).toMatch(/^FFA457[0-9A-F]{10}$/);
    },
  );

  test('has its DevEUIs found however they are written', async () => {
    const { id } = await newBatch();
    const devEui = await begin(id);
    const written = [
      devEui,
      devEui.toLowerCase(),
      `0x${devEui}`,
      devEui.replace(/..(?=.)/g, '$&-'),
    ];
    for (const one of written) {
      const { body } = await read(`/deveuis/${encodeURIComponent(one)}`);
      expect(body).toMatchObject({ deveui: devEui, batch_id: id });
    }
  });

  test('that is repeated with its Idempotency-Key makes one batch', async () => {
    const options = {
      json: { batch_size: 5 },
      headers: { 'idempotency-key': 'a batch of five' },
    };
    const [first, again, twin] = await Promise.all([
      owner.post<Batch>('/batches', options),
      owner.post<Batch>('/batches', options),
      owner.post<Batch>('/batch', options),
    ]);
    expect([first.status, again.status, twin.status]).toEqual([201, 201, 201]);
    expect(again.body).toEqual(first.body);
    expect(twin.body).toEqual(first.body);
    const { items } = (await read<{ items: BatchSummary[] }>('/batches?limit=500')).body;
    expect(items.filter(({ id }) => id === first.body.id)).toHaveLength(1);
    expect(await owner.post('/batches', { ...options, json: { batch_size: 6 } })).toMatchObject(
      problem(422, 'idempotency-key-reused'),
    );
  });

  test('is refused where no provider is configured, and may come again', async () => {
    const bare = bareService.client(owner.key);
    expect(await bare.post('/batches', { json: { batch_size: 5 } })).toMatchObject(NO_PROVIDER);
    expect(await bare.post('/batches', { json: { batch_size: 0 } })).toMatchObject(INVALID);
    const headers = { 'idempotency-key': 'refused, then taken' };
    expect(await bare.post('/batches', { headers })).toMatchObject(NO_PROVIDER);
    expect(await owner.post('/batches', { headers })).toMatchObject({ status: 201 });
  });
});

describe('a request that waits', () => {
  function post(prefer: string, json: object): Promise<Answer<Batch>> {
    return owner.post<Batch>('/batches', { json, headers: { prefer } });
  }

  /** The one that was requested last. */
  async function newest(): Promise<string> {
    const { items } = (await read<{ items: BatchSummary[] }>('/batches?limit=1')).body;
    return items[0]?.id ?? '';
  }

  test('is answered when the batch is done', async () => {
    const before = await newest();
    const answer = post('wait=60', { batch_size: 2 });
    const id = await vi.waitFor(async () => {
      const found = await newest();
      expect(found).not.toBe(before);
      return found;
    }, EVENTUALLY);
    const registered = [await register(id), await register(id)];

    expect(await answer).toMatchObject({
      status: 201,
      body: {
        id,
        status: 'Completed',
        deveuis: registered,
        counts: { requested: 2, ...NONE_YET, attempted: 2, registered: 2 },
      },
    });
    expect((await answer).headers.get('Preference-Applied')).toBe('wait=60');
  });

  test('is answered when the time is over, as far as it got', async () => {
    const answer = await post('respond-async, wait=0', { batch_size: 2 });
    expect(answer).toMatchObject({ status: 201, body: { status: 'Processing' } });
    expect(answer.headers.get('Preference-Applied')).toBe('wait=0');

    const patient = await post('wait=1', { batch_size: 2 });
    expect(patient).toMatchObject({ status: 201, body: { status: 'Processing' } });
  });

  test.each([
    ['wait=10', 10],
    ['wait=600', 60],
    ['WAIT = 7', 7],
    ['wait="7"', 7],
    ['respond-async, wait=5', 5],
    ['foo="a, wait=3", wait=5;bar', 5],
    ['wait=4, wait=9', 4],
    ['wait', undefined],
    ['wait=soon', undefined],
    ['wait=-1', undefined],
    ['wait=1.5', undefined],
    ['await=5', undefined],
    ['foo="wait=5', undefined],
    ['foo="a\\", wait=3", wait=5', 5],
    ['wait="5', undefined],
    ['', undefined],
    [undefined, undefined],
  ])('Prefer: %s is %s seconds', (prefer, seconds) => {
    expect(waitPreference(prefer)).toBe(seconds);
  });
});

describe('a batch', () => {
  test('shows what was registered, what is unconfirmed, and the count of all', async () => {
    const { id } = await newBatch({ batch_size: 5 });
    const first = await register(id);
    const taken = await begin(id);
    await settle(id, taken, IN_USE);
    const unsure = await begin(id);
    await settle(id, unsure, TIMED_OUT);
    await play(id, { type: 'retry', devEui: unsure, sentAt: new Date().toISOString() });
    await settle(id, unsure, IN_USE, { attempt: 2 });
    const open = await begin(id);
    const last = await register(id);

    expect(await batchOf(id)).toEqual({
      id,
      status: 'Processing',
      deveuis: [first, last],
      unconfirmed: [unsure],
      in_flight: [open],
      counts: {
        requested: 5,
        attempted: 5,
        registered: 2,
        conflicted: 1,
        unconfirmed: 1,
        in_flight: 1,
      },
      requested_at: expect.any(String),
    });
  });

  test('that fails says why, and continues when it is resumed', async () => {
    const { id } = await newBatch({ batch_size: 2 });
    const devEui = await begin(id);
    await settle(id, devEui, TIMED_OUT, { maxFailures: 1 });
    expect(await batchOf(id)).toMatchObject({ status: 'Failed', reason: 'timed out' });

    const resumed = await owner.post<Batch>(`/batches/${id}/resume`);
    expect(resumed).toMatchObject({ status: 202, body: { id, status: 'Processing' } });
    expect(resumed.body).not.toHaveProperty('reason');
    expect(await owner.post(`/batches/${id}/resume`)).toMatchObject({ status: 202 });
  });

  test('cannot be resumed where no provider is configured', async () => {
    const { id } = await newBatch();
    const bare = bareService.client(owner.key);
    expect(await bare.post(`/batches/${id}/resume`)).toMatchObject(NO_PROVIDER);
  });

  test('is stopped while it runs, and hidden when it is done', async () => {
    const { id } = await newBatch({ batch_size: 3 });
    const [registered, inFlight] = [await register(id), await begin(id)];

    const stopped = { status: 202, body: { id, status: 'Stopped', counts: { in_flight: 1 } } };
    expect(await owner.delete(`/batches/${id}`)).toMatchObject(stopped);
    expect(await owner.delete(`/batches/${id}`)).toMatchObject(stopped);
    expect(await begin(id)).toBe('');
    await settle(id, inFlight, REGISTERED);
    expect(await batchOf(id)).toMatchObject({
      status: 'Stopped',
      deveuis: [registered, inFlight],
    });

    expect(await owner.delete(`/batches/${id}`)).toMatchObject({ status: 204, text: '' });
    for (const [method, path] of ROUTES_OF_ONE) {
      // Continuing with it would show it again.
      if (path.endsWith('/resume')) continue;
      expect(await owner.send(method, path.replace('{id}', id))).toMatchObject(NOT_FOUND);
    }
    const { items } = (await read<{ items: BatchSummary[] }>('/batches?limit=500')).body;
    expect(items.map((item) => item.id)).not.toContain(id);
    expect((await read<DevEui>(`/deveuis/${registered}`)).body).toMatchObject({ batch_id: id });

    // Whoever repeats a DELETE that stopped it has hidden it: it is not lost.
    expect(await owner.post(`/batches/${id}/resume`)).toMatchObject({
      status: 202,
      body: { status: 'Processing', deveuis: [registered, inFlight] },
    });
  });

  test('is stopped and resumed whatever its read model does', async () => {
    const { id } = await newBatch({ batch_size: 4 });
    const registered = await register(id);
    await settle(id, await begin(id), IN_USE);
    const inFlight = await begin(id);
    const before = await batchOf(id);
    await service.admin.post('/admin/projections/deveui/pause');
    try {
      const stopped = await owner.delete<Batch>(`/batches/${id}`);
      expect(stopped).toMatchObject({ status: 202, body: { ...before, status: 'Stopped' } });
      const resumed = await owner.post<Batch>(`/batches/${id}/resume`);
      expect(resumed).toMatchObject({ status: 202, body: before });
      expect(before).toMatchObject({ deveuis: [registered], in_flight: [inFlight] });
      seen = { 'fleetledger-min-position': resumed.headers.get('fleetledger-position') ?? '' };
    } finally {
      await service.admin.post('/admin/projections/deveui/resume');
    }
    expect(await batchOf(id)).toEqual(before);
  });

  test('that is complete is hidden at once', async () => {
    const { id } = await newBatch({ batch_size: 1 });
    await register(id);
    expect(await batchOf(id)).toMatchObject({ status: 'Completed' });
    expect(await owner.delete(`/batches/${id}`)).toMatchObject({ status: 204 });
  });

  test('is listed newest first, without its DevEUIs, page by page', async () => {
    const { owner: another } = await service.newProject();
    const ids: string[] = [];
    for (let count = 0; count < 5; count += 1) ids.unshift((await newBatch({}, another)).id);

    const walked = await another.walk<BatchSummary>('/batches?limit=2');
    expect(walked.map(({ id }) => id)).toEqual(ids);
    expect(Object.keys(walked[0] ?? {}).toSorted()).toEqual([
      'counts',
      'id',
      'requested_at',
      'status',
    ]);
    const known = new Set((await owner.walk<BatchSummary>('/batches?limit=500')).map((b) => b.id));
    expect(ids.filter((id) => known.has(id))).toEqual([]);
  });
});

const ROUTES_OF_ONE: [Method, string][] = [
  ['GET', '/batches/{id}'],
  ['DELETE', '/batches/{id}'],
  ['POST', '/batches/{id}/resume'],
  ['GET', '/batches/{id}/partitions'],
  ['GET', '/batches/{id}/partitions/1'],
  ['GET', '/batches/{id}/attempts'],
];

describe('what is not there', () => {
  test.each(ROUTES_OF_ONE)('%s %s is the same as what is another project’s', async (...route) => {
    const [method, path] = route;
    const { owner: stranger } = await service.newProject();
    const { id } = await newBatch();
    const answer = async (client: ApiClient, of: string): Promise<object> => {
      const { status, body } = await client.send<object>(method, path.replace('{id}', of));
      return { status, body: { ...body, instance: '', correlation_id: '' } };
    };

    const missing = await answer(stranger, 'missing');
    expect(missing).toMatchObject(NOT_FOUND);
    expect(await answer(stranger, id)).toEqual(missing);
    expect(await batchOf(id)).toMatchObject({ status: 'Processing' });
  });
});

describe('the keys that may', () => {
  const WRITES: [Method, string][] = [
    ['POST', '/batches'],
    ['POST', '/batches/{id}/resume'],
    ['DELETE', '/batches/{id}'],
  ];
  const READS: [Method, string][] = [
    ...ROUTES_OF_ONE.filter(([method]) => method === 'GET'),
    ['GET', '/batches'],
    ['GET', '/deveuis'],
  ];

  test('are those of owners and members; viewers read', async () => {
    const [member, viewer] = [await clientOf('member'), await clientOf('viewer')];
    const { id } = await newBatch();
    for (const [method, path] of READS) {
      const target = path.replace('{id}', id);
      expect(await viewer.send(method, target), path).toMatchObject({ status: 200 });
      expect(await member.send(method, target), path).toMatchObject({ status: 200 });
    }
    for (const [method, path] of WRITES) {
      const target = path.replace('{id}', id);
      expect(await viewer.send(method, target), path).toMatchObject(FORBIDDEN);
      expect((await member.send(method, target)).status, path).toBeLessThan(300);
    }
  });

  test('are not those of devices, nor of the admin', async () => {
    const { body } = await owner.post<{ key: string }>('/devices', {
      json: { device_id: 'keyless' },
    });
    for (const client of [service.client(body.key), service.admin]) {
      for (const [method, path] of [...READS, ...WRITES]) {
        const target = path.replace('{id}', 'any');
        expect(await client.send(method, target), path).toMatchObject(FORBIDDEN);
      }
    }
  });
});

describe('partitions', () => {
  test('lead to the DevEUIs of the batch, each with its status', async () => {
    const { id } = await newBatch({ batch_size: 3 });
    const registered = await register(id);
    await settle(id, await begin(id), IN_USE);
    const inFlight = await begin(id);

    const href = `/api/v1/batches/${id}/partitions/1`;
    const { body } = await read(`/batches/${id}/partitions`);
    expect(body).toEqual({ items: [{ partition: 1, href, size: 2 }] });
    expect((await read(`//${href.slice(1)}`)).body).toEqual({
      id,
      partition: 1,
      items: [
        { deveui: registered, short_code: registered.slice(11), status: 'registered' },
        { deveui: inFlight, short_code: inFlight.slice(11), status: 'in_flight' },
      ],
    });
    expect(await owner.get(`/batches/${id}/partitions/2`)).toMatchObject(NOT_FOUND);
    expect(await owner.get(`/batches/${id}/partitions/999999999`)).toMatchObject(NOT_FOUND);
  });

  test('of a batch that has just begun are one, which is empty', async () => {
    const { id } = await newBatch();
    const { body } = await read(`/batches/${id}/partitions`);
    expect(body).toMatchObject({ items: [{ partition: 1, size: 0 }] });
    expect((await read(`/batches/${id}/partitions/1`)).body).toMatchObject({ items: [] });
  });

  test.each(['0', '-1', 'x', '1.5', '1e3', '9999999999'])('have no number %s', async (n) => {
    const { id } = await newBatch();
    expect(await owner.get(`/batches/${id}/partitions/${n}`)).toMatchObject(INVALID);
  });
});

describe('attempts', () => {
  test('are listed oldest first, page by page, each with how it ended', async () => {
    const { id } = await newBatch({ batch_size: 3 });
    const registered = await register(id);
    const unsure = await begin(id);
    await settle(id, unsure, TIMED_OUT);
    await play(id, { type: 'retry', devEui: unsure, sentAt: new Date().toISOString() });
    await batchOf(id);

    const walked = await owner.walk<object>(`/batches/${id}/attempts?limit=1`);
    const time = expect.stringMatching(/Z$/);
    expect(walked).toEqual([
      {
        deveui: registered,
        attempt: 1,
        outcome: 'registered',
        provider_status: 200,
        reason: null,
        sent_at: time,
        ended_at: time,
      },
      {
        deveui: unsure,
        attempt: 1,
        outcome: 'failed',
        provider_status: null,
        reason: 'timed out',
        sent_at: time,
        ended_at: time,
      },
      {
        deveui: unsure,
        attempt: 2,
        outcome: 'in_flight',
        provider_status: null,
        reason: null,
        sent_at: time,
        ended_at: null,
      },
    ]);
  });

  test('have a cursor of their own batch', async () => {
    const [one, other] = [await newBatch(), await newBatch()];
    for (const { id } of [one, one, other]) await begin(id);
    const { body } = await read<{ next: string }>(`/batches/${one.id}/attempts?limit=1`);
    const cursor = `cursor=${body.next}`;
    expect(await read(`/batches/${one.id}/attempts?${cursor}`)).toMatchObject({ status: 200 });
    expect(await read(`/batches/${other.id}/attempts?${cursor}`)).toMatchObject(INVALID);
  });
});

describe('a DevEUI', () => {
  test('is found in either case, with the device that carries it', async () => {
    const { id } = await newBatch({ batch_size: 1 });
    const devEui = await register(id);
    const found = {
      deveui: devEui,
      short_code: devEui.slice(11),
      batch_id: id,
      status: 'registered',
      device_id: null,
    };
    expect((await read(`/deveuis/${devEui}`)).body).toEqual(found);

    await owner.post('/devices', { json: { device_id: 'carrier', dev_eui: devEui } });
    expect((await read(`/deveuis/${devEui.toLowerCase()}`)).body).toEqual({
      ...found,
      device_id: 'carrier',
    });
  });

  test('is found by its short code in either case, and all are listed, page by page', async () => {
    const { id } = await newBatch({ batch_size: 4 });
    const devEuis: string[] = [];
    for (let count = 0; count < 4; count += 1) devEuis.push(await register(id));
    const [devEui = ''] = devEuis;

    for (const code of [devEui.slice(11), devEui.slice(11).toLowerCase()]) {
      const { body } = await read<{ items: DevEui[] }>(`/deveuis?short_code=${code}`);
      expect(body.items.map((item) => item.deveui)).toContain(devEui);
      expect(new Set(body.items.map((item) => item.short_code)).size).toBe(1);
    }
    const walked = await owner.walk<DevEui>('/deveuis?limit=2');
    const ids = walked.map((item) => item.deveui);
    expect(ids).toEqual(ids.toSorted());
    expect(ids).toEqual(expect.arrayContaining(devEuis));
  });

  test('that nobody asked for here is not found', async () => {
    const { id } = await newBatch();
    const devEui = await register(id);
    const { owner: stranger } = await service.newProject();
    expect(await owner.get('/deveuis/0000000000000000')).toMatchObject(NOT_FOUND);
    expect(await stranger.get(`/deveuis/${devEui}`)).toMatchObject(NOT_FOUND);
    const { body } = await stranger.get(`/deveuis?short_code=${devEui.slice(11)}`);
    expect(body).toEqual({ items: [], next: null });
  });

  test.each([
    '/deveuis/FFA45722AA73824',
    '/deveuis/FFA45722AA738240F',
    '/deveuis/GFA45722AA738240',
    '/deveuis?short_code=2555',
    '/deveuis?short_code=2555BB',
    '/deveuis?short_code=G555B',
    '/deveuis?short_code=',
    '/deveuis?cursor=x',
  ])('is not asked for by %s', async (path) => {
    expect(await owner.get(path)).toMatchObject(INVALID);
  });
});

describe('/batch', () => {
  test('is the same as /batches, in every one of its paths', async () => {
    const { id } = (await owner.post<Batch>('/batch', { json: { batchSize: 2 } })).body;
    await register(id);
    await batchOf(id);
    for (const path of [
      '',
      `/${id}`,
      `/${id}/partitions`,
      `/${id}/partitions/1`,
      `/${id}/attempts`,
    ]) {
      const [alias, plain] = [await owner.get(`/batch${path}`), await owner.get(`/batches${path}`)];
      expect(alias.status).toBe(200);
      expect(alias.body).toEqual(plain.body);
    }
    expect(await owner.delete(`/batch/${id}`)).toMatchObject({ status: 202 });
    expect(await owner.post(`/batch/${id}/resume`)).toMatchObject({ status: 202 });
    const put = await owner.put('/batch');
    expect(put).toMatchObject(problem(405, 'method-not-allowed'));
    expect(put.headers.get('Allow')?.split(', ').toSorted()).toEqual(['GET', 'HEAD', 'POST']);
  });

  test('is documented beside it, under operation ids of its own', () => {
    const { paths } = service.document;
    const ofBatches = Object.keys(paths).filter((path) => path.startsWith('/batches'));
    expect(ofBatches.length).toBeGreaterThan(4);
    for (const path of ofBatches) {
      const alias = paths[path.replace('/batches', '/batch')] ?? {};
      expect(Object.keys(alias)).toEqual(Object.keys(paths[path] ?? {}));
      for (const operation of Object.values(alias)) expect(operation.operationId).toMatch(/Alias$/);
    }
  });
});
