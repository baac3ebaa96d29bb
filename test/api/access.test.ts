import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { batchStream } from '../../src/commands/deveui/decider.ts';
import { parseConfig } from '../../src/config.ts';
import { formatPosition } from '../../src/event-store/position-text.ts';
import { openLedger, type Ledger } from '../../src/service/ledger.ts';
import { createTestDatabase } from '../database/test-database.ts';
import { testEventStoreUrl } from '../event-store/test-log.ts';
import { SseConnection } from '../followers/sse-client.ts';
import {
  ADMIN_KEY,
  startTestService,
  type Answer,
  type ApiClient,
  type Method,
  type SendOptions,
  type TestProject,
  type TestService,
} from './api-client.ts';

/**
 * What each kind of key is answered by each operation of the OpenAPI document, where the request is
 * otherwise good: it names what is there in a project, and its body is valid. `foreign` is an owner
 * of another project who asks for the same. An operation that takes several types of content has a
 * line for each; that of JSON names none.
 *
 * Ids of devices, sensors and SIM cards are each project's own: a foreign key that writes under one
 * of ours (201, 200) makes one of its own, and ours stays as it is, as a test below sees.
 */
const TABLE = `
                                                         device viewer member owner foreign admin
POST   /projects                                         403    403    403    403   403     201
GET    /projects                                         403    200    200    200   200     200
GET    /projects/{id}                                    403    200    200    200   404     200
PUT    /projects/{id}/dedup                              403    403    200    200   404     403

POST   /members                                          403    403    403    201   201     403
GET    /members                                          403    403    403    200   200     403
DELETE /members/{id}                                     403    403    403    204   404     403
POST   /members/{id}/keys                                403    403    403    201   404     403
GET    /keys                                             403    403    403    200   200     403
GET    /key                                              200    200    200    200   200     200
DELETE /keys/{id}                                        403    403    403    204   404     403

POST   /devices                                          403    403    201    201   201     403
POST   /devices text/csv                                 403    403    200    200   200     403
POST   /devices application/csv                          403    403    200    200   200     403
POST   /devices application/vnd.ms-excel                 403    403    200    200   200     403
GET    /devices                                          403    200    200    200   200     403
GET    /devices/{id}                                     403    200    200    200   404     403
PATCH  /devices/{id}                                     403    403    200    200   404     403
PATCH  /devices/{id} application/merge-patch+json        403    403    200    200   404     403
DELETE /devices/{id}                                     403    403    204    204   404     403
POST   /devices/{id}/keys                                403    403    403    201   404     403
POST   /devices/{id}/transfer                            403    403    403    403   403     200
GET    /devices/{id}/timeline                            403    200    200    200   404     403

GET    /inventory                                        403    200    200    200   200     403
PUT    /inventory/{sim}                                  403    403    200    200   200     403
POST   /inventory                                        403    403    200    200   200     403
POST   /inventory text/csv                               403    403    200    200   200     403
POST   /inventory application/csv                        403    403    200    200   200     403
POST   /inventory application/vnd.ms-excel               403    403    200    200   200     403

POST   /usage                                            403    403    202    202   202     403
POST   /usage application/cloudevents+json               403    403    202    202   202     403
POST   /usage application/cloudevents-batch+json         403    403    202    202   202     403
POST   /usage application/x-ndjson                       403    403    202    202   202     403
POST   /usage application/ndjson                         403    403    202    202   202     403
POST   /usage application/jsonl                          403    403    202    202   202     403
GET    /usage/organizations                              403    200    200    200   200     403
GET    /usage/simcards                                   403    200    200    200   200     403
GET    /usage/rejected                                   403    200    200    200   200     403
GET    /organization/{id}/usage                          403    200    200    200   404     403
GET    /simcard/{id}/usage                               403    200    200    200   404     403

POST   /firmware                                         202    403    403    403   403     403
GET    /firmware                                         403    200    200    200   404     403
GET    /firmware/versions                                403    200    200    200   200     403
GET    /devices/{id}/firmware                            200    200    200    200   404     403
GET    /devices/{id}/firmware/current                    200    200    200    200   404     403

GET    /sensors                                          403    200    200    200   200     403
GET    /sensors/{id}                                     200    200    200    200   404     403
GET    /sensors/{id}/history                             200    200    200    200   404     403
PATCH  /sensors/{id}                                     200    403    200    200   200     403
PATCH  /sensors/{id} application/merge-patch+json        200    403    200    200   200     403
PUT    /sensors/{id}/dedup                               403    403    200    200   200     403
POST   /sensors/patches                                  200    403    200    200   200     403
POST   /sensors/patches application/x-ndjson             200    403    200    200   200     403
POST   /sensors/patches application/ndjson               200    403    200    200   200     403
POST   /sensors/patches application/jsonl                200    403    200    200   200     403

POST   /batches                                          403    403    201    201   201     403
GET    /batches                                          403    200    200    200   200     403
GET    /batches/{id}                                     403    200    200    200   404     403
DELETE /batches/{id}                                     403    403    202    202   404     403
POST   /batches/{id}/resume                              403    403    202    202   404     403
GET    /batches/{id}/partitions                          403    200    200    200   404     403
GET    /batches/{id}/partitions/{n}                      403    200    200    200   404     403
GET    /batches/{id}/attempts                            403    200    200    200   404     403
POST   /batch                                            403    403    201    201   201     403
GET    /batch                                            403    200    200    200   200     403
GET    /batch/{id}                                       403    200    200    200   404     403
DELETE /batch/{id}                                       403    403    202    202   404     403
POST   /batch/{id}/resume                                403    403    202    202   404     403
GET    /batch/{id}/partitions                            403    200    200    200   404     403
GET    /batch/{id}/partitions/{n}                        403    200    200    200   404     403
GET    /batch/{id}/attempts                              403    200    200    200   404     403
GET    /deveuis                                          403    200    200    200   200     403
GET    /deveuis/{deveui}                                 403    200    200    200   404     403

POST   /webhooks                                         403    403    403    201    201     403
GET    /webhooks                                         403    403    403    200    200     403
GET    /webhooks/{id}                                    403    403    403    200    404     403
PATCH  /webhooks/{id}                                    403    403    403    200    404     403
DELETE /webhooks/{id}                                    403    403    403    204    404     403
POST   /webhooks/{id}/resume                             403    403    403    200    404     403
POST   /webhooks/{id}/replay                             403    403    403    200    404     403
POST   /webhooks/{id}/rotate-secret                      403    403    403    200    404     403
GET    /webhooks/{id}/deliveries                         403    403    403    200    404     403

GET    /events                                           200    200    200    200   200     403
GET    /admin/events                                     403    403    403    403   403     200

GET    /admin/projections                                403    403    403    403   403     200
GET    /admin/projections/{name}                         403    403    403    403   403     200
POST   /admin/projections/{name}/rebuild                 403    403    403    403   403     202
POST   /admin/projections/{name}/verify                  403    403    403    403   403     202
POST   /admin/projections/{name}/pause                   403    403    403    403   403     200
POST   /admin/projections/{name}/resume                  403    403    403    403   403     200
POST   /admin/projections/{name}/retry                   403    403    403    403   403     409
POST   /admin/projections/{name}/skip                    403    403    403    403   403     409
GET    /admin/rebuilds                                   403    403    403    403   403     200
GET    /admin/rebuilds/{id}                              403    403    403    403   403     200
DELETE /admin/rebuilds/{id}                              403    403    403    403   403     200
GET    /admin/verifications/{id}                         403    403    403    403   403     200
DELETE /admin/verifications/{id}                         403    403    403    403   403     200
GET    /admin/log                                        403    403    403    403   403     200
`;
// 409: nothing is stopped here that could be retried or skipped, but the admin was let in.

/**
 * Who sends no good key learns nothing else, wherever it is: these columns are the same in each
 * line.
 */
const WITHOUT_GOOD_KEY = { none: 401, malformed: 401, revoked: 401 };

type Kind = 'device' | 'viewer' | 'member' | 'owner' | 'foreign' | 'admin';
type AnyKind = keyof typeof WITHOUT_GOOD_KEY | Kind;

interface Row {
  /** As the table has it, but with single spaces. */
  readonly name: string;
  readonly method: Method;
  readonly path: string;
  readonly contentType: string;
  readonly expected: Readonly<Record<AnyKind, number>>;
}

function rowsOf(table: string): Row[] {
  const [head = '', ...lines] = table.split('\n').filter((line) => line.trim() !== '');
  const kinds = head.trim().split(/\s+/) as Kind[];
  return lines.map((line) => {
    const words = line.split(/\s+/);
    const route = words.slice(0, -kinds.length);
    const [method, path = '', contentType = 'application/json'] = route;
    const codes = kinds.map((kind, n) => [kind, Number(words.at(n - kinds.length))] as const);
    return {
      name: route.join(' '),
      method: method as Method,
      path,
      contentType,
      expected: { ...WITHOUT_GOOD_KEY, ...(Object.fromEntries(codes) as Record<Kind, number>) },
    };
  });
}

const ROWS = rowsOf(TABLE);
const isAdministration = ({ path }: Row): boolean => path.startsWith('/admin/');
const PROJECT_ROWS = ROWS.filter((row) => !isAdministration(row));

const database = createTestDatabase();
const idleDatabase = createTestDatabase();
let service: TestService;
/** Nobody runs projections for it: a rebuild that is requested stays there to be cancelled. */
let idle: TestService;
/** The database of the service, for what a provider's answer would do. */
let ledger: Ledger;
let project: Populated;
let otherProject: TestProject;
let clients: Record<AnyKind, ApiClient>;
let idleClients: Record<AnyKind, ApiClient>;
let rebuildId: string;
let verificationId: string;

beforeAll(async () => {
  // Nothing provisions here: batches are made, and nobody works on them.
  service = await startTestService(database.url, { lorawanApiUrl: 'http://127.0.0.1:1' });
  ledger = await openLedger(
    {
      ...parseConfig({}),
      databaseUrl: database.url,
      eventStoreUrl: testEventStoreUrl(database.url),
      dataDir: '/nowhere',
      adminApiKey: undefined,
      roles: [],
      logLevel: 'silent',
    },
    'tool',
  );
  project = await populated();
  otherProject = await service.newProject();
  clients = clientsOf(service, await keysOf(service, project, project.deviceKey));
  await startIdle();
});
afterAll(async () => {
  await idle.stop();
  await ledger.engine.stop();
  await ledger.close();
  await service.stop();
});

/** Keys are known where projections have run; then they run no longer. */
async function startIdle(): Promise<void> {
  const busy = await startTestService(idleDatabase.url);
  const holder = await busy.newProject();
  const device = { device_id: 'device' };
  const { body } = await holder.owner.post<{ key: string }>('/devices', { json: device });
  const keys = await keysOf(busy, holder, body.key);
  await busy.stop();
  idle = await startTestService(idleDatabase.url, { roles: ['api'] });
  idleClients = clientsOf(idle, keys);
  const rebuild = await idle.admin.post<{ id: string }>('/admin/projections/deveui/rebuild');
  rebuildId = rebuild.body.id;
  const verify = await idle.admin.post<{ id: string }>('/admin/projections/firmware/verify');
  verificationId = verify.body.id;
}

async function keysOf(
  { newProject }: TestService,
  { owner, ownerId }: TestProject,
  device: string,
): Promise<Record<AnyKind, string | undefined>> {
  const [viewer, member] = [await addMember('viewer', owner), await addMember('member', owner)];
  // An owner's: were it still good, it would open the most.
  const revoked = (await owner.post<{ id: string; key: string }>(`/members/${ownerId}/keys`)).body;
  await owner.delete(`/keys/${revoked.id}`);
  const { owner: foreign } = await newProject();
  // A read waits for all of this to be in the read model, for whoever has only that.
  await foreign.get('/keys');
  return {
    none: undefined,
    malformed: 'fl_mem_malformed',
    revoked: revoked.key,
    device,
    viewer: viewer.key,
    member: member.key,
    owner: owner.key,
    foreign: foreign.key,
    admin: ADMIN_KEY,
  };
}

function clientsOf(
  of: TestService,
  keys: Record<AnyKind, string | undefined>,
): Record<AnyKind, ApiClient> {
  const entries = Object.entries(keys).map(([kind, key]) => [kind, of.client(key)]);
  return Object.fromEntries(entries) as Record<AnyKind, ApiClient>;
}

/** Clients for one line of the table: what foreign keys write under our ids makes ids of theirs. */
async function clientsFor(row: Row): Promise<Record<AnyKind, ApiClient>> {
  if (isAdministration(row)) return idleClients;
  return { ...clients, foreign: (await service.newProject()).owner };
}

/** A project that has something in every list, with its own id or one of `marks` in each. */
interface Populated extends TestProject {
  readonly deviceKey: string;
  readonly sensor: string;
  readonly sim: string;
  readonly devEui: string;
  readonly webhook: string;
  readonly marks: readonly string[];
}

async function populated(): Promise<Populated> {
  const made = await service.newProject();
  const { id, owner, ownerId } = made;
  const [sensor, sim] = [`sensor-${id}`, `sim-${id}`];
  const deviceKey = (
    await owner.post<{ key: string }>('/devices', {
      json: { device_id: `device-${id}`, sensor_id: sensor },
    })
  ).body.key;
  const device = service.client(deviceKey);
  await device.post('/firmware', { json: { version: `1.0.0-of-${id}`, timestamp: 1_767_225_600 } });
  await device.patch(`/sensors/${sensor}`, { json: { data: { n: 1 } } });
  await owner.put(`/inventory/${sim}`, { json: { org_id: `org-${id}` } });
  for (const bytes of [1, 2]) {
    const usage = { 'sim-card-id': sim, 'bytes-used': bytes, date: '2026-01-01T00:00:00Z', id };
    await owner.post('/usage', { json: usage });
  }
  const batchId = await newBatch(owner);
  const devEui = await beginOne(made, batchId);
  const webhook = await newWebhook(made);
  return {
    ...made,
    deviceKey,
    sensor,
    sim,
    devEui,
    webhook,
    marks: [id, ownerId, batchId, devEui],
  };
}

async function newWebhook({ id, owner }: TestProject): Promise<string> {
  const json = { url: `https://receiver.example/${id}` };
  return (await owner.post<{ id: string }>('/webhooks', { json })).body.id;
}

/** As the provisioning does it, in another process: the DevEUI that is asked for. */
async function beginOne({ id, owner }: TestProject, batchId: string): Promise<string> {
  const context = { projectId: id, actor: 'system:provisioning', correlationId: randomUUID() };
  const work = ledger.commands.deveui.work(batchStream(id, batchId), context);
  const handled = await work.begin(new Date().toISOString());
  const seen = formatPosition(ledger.store.logId, handled.position);
  const { body } = await owner.get<{ in_flight: string[] }>(`/batches/${batchId}`, {
    headers: { 'fleetledger-min-position': seen },
  });
  return body.in_flight[0] ?? '';
}

let names = 0;

function newNumber(): number {
  names += 1;
  return names;
}

/** An id that nothing has yet. */
function newId(kind: string): string {
  return `${kind}-${newNumber()}`;
}

async function addMember(role: string, to = project.owner): Promise<{ id: string; key: string }> {
  const json = { name: 'M', role };
  return (await to.post<{ id: string; key: string }>('/members', { json })).body;
}

async function addDevice(): Promise<{ device_id: string; key: string }> {
  const json = { device_id: newId('device') };
  return (await project.owner.post<{ device_id: string; key: string }>('/devices', { json })).body;
}

async function newBatch(owner = project.owner): Promise<string> {
  return (await owner.post<{ id: string }>('/batches', { json: { batch_size: 2 } })).body.id;
}

interface Resource {
  /** An id of the project, made anew each time for operations that use it up. */
  readonly existing: (row: Row) => Promise<string> | string;
  /** Well-formed, and nowhere. */
  readonly missing: string;
}

const BATCH: Resource = {
  async existing({ path }) {
    const id = await newBatch();
    // To resume one that runs would change nothing.
    if (path.endsWith('/resume')) await project.owner.delete(`/batches/${id}`);
    return id;
  },
  missing: 'missing',
};

/** What the first parameter of a path names. */
const RESOURCES: Readonly<Record<string, Resource>> = {
  '/projects/{id}': { existing: () => project.id, missing: 'missing' },
  '/members/{id}': { existing: async () => (await addMember('viewer')).id, missing: 'missing' },
  '/keys/{id}': {
    existing: async () => (await addDevice()).key.split('_')[2] ?? '',
    missing: 'missing',
  },
  '/devices/{id}': {
    // A device reads its own firmware, and nothing else is done to the one whose key is tried.
    existing: async ({ path }) =>
      path.includes('/firmware') ? `device-${project.id}` : (await addDevice()).device_id,
    missing: 'missing',
  },
  '/organization/{id}': { existing: () => `org-${project.id}`, missing: 'missing' },
  '/simcard/{id}': { existing: () => project.sim, missing: 'missing' },
  '/inventory/{sim}': { existing: () => project.sim, missing: 'missing' },
  // The one that the device speaks for.
  '/sensors/{id}': { existing: () => project.sensor, missing: 'missing' },
  '/batches/{id}': BATCH,
  '/batch/{id}': BATCH,
  '/deveuis/{deveui}': { existing: () => project.devEui, missing: '0000000000000000' },
  '/webhooks/{id}': {
    existing: ({ method }) => (method === 'DELETE' ? newWebhook(project) : project.webhook),
    missing: 'missing',
  },
  // One replay at a time for each projection; that of 'deveui' and of 'firmware' are under way.
  '/admin/projections/{name}': {
    existing: ({ path }) => (path.endsWith('/verify') ? 'tenancy' : 'state'),
    missing: 'missing',
  },
  '/admin/rebuilds/{id}': { existing: () => rebuildId, missing: randomUUID() },
  '/admin/verifications/{id}': { existing: () => verificationId, missing: randomUUID() },
};

/** The ids that are not in the path. */
const BY_DAY = () => ({ start: '2026-01-01', end: '2026-01-31', every: '1day' });
const QUERIES: Readonly<Record<string, (id: string) => Record<string, string>>> = {
  'GET /organization/{id}/usage': BY_DAY,
  'GET /simcard/{id}/usage': BY_DAY,
  'GET /firmware': (id) => ({ device_id: id }),
  'POST /devices/{id}/transfer': () => ({ project: project.id }),
};

/**
 * The bodies of operations that take one. Text is sent as it is, all else as JSON. `n` is another
 * one each time: what changes nothing would leave no event, wherever it went.
 */
const BODIES: Readonly<Record<string, (n: number, kind: AnyKind) => unknown>> = {
  'POST /projects': () => ({ name: 'P' }),
  'PUT /projects/{id}/dedup': (seconds) => ({ strategy: 'window', seconds }),
  'POST /members': () => ({ name: 'M', role: 'viewer' }),
  'POST /members/{id}/keys': () => ({}),
  'POST /devices': async (_n, kind) => ({ device_id: await deviceToRegister(kind) }),
  'POST /devices text/csv': tableOfDevices,
  'POST /devices application/csv': tableOfDevices,
  'POST /devices application/vnd.ms-excel': tableOfDevices,
  'PATCH /devices/{id}': (n) => ({ sim_card_id: `sim-${n}` }),
  'PATCH /devices/{id} application/merge-patch+json': (n) => ({ sim_card_id: `sim-${n}` }),
  'POST /devices/{id}/keys': () => ({}),
  'POST /devices/{id}/transfer': () => ({ to: otherProject.id }),
  'PUT /inventory/{sim}': (n) => ({ org_id: `org-${n}` }),
  'POST /inventory': (n) => [{ sim_card_id: project.sim, org_id: `org-${n}` }],
  'POST /inventory text/csv': tableOfSimCards,
  'POST /inventory application/csv': tableOfSimCards,
  'POST /inventory application/vnd.ms-excel': tableOfSimCards,
  'POST /usage': usageOf,
  'POST /usage application/cloudevents+json': cloudEventOf,
  'POST /usage application/cloudevents-batch+json': (n) => [cloudEventOf(n)],
  'POST /usage application/x-ndjson': (n) => JSON.stringify(usageOf(n)),
  'POST /usage application/ndjson': (n) => JSON.stringify(usageOf(n)),
  'POST /usage application/jsonl': (n) => JSON.stringify(usageOf(n)),
  'POST /firmware': (n) => ({ version: `1.0.${n}`, timestamp: 1_767_225_600 }),
  'PATCH /sensors/{id}': (n) => ({ data: { n } }),
  'PATCH /sensors/{id} application/merge-patch+json': (n) => ({ n }),
  'PUT /sensors/{id}/dedup': (seconds) => ({ strategy: 'window', seconds }),
  'POST /sensors/patches': (n) => [{ id: project.sensor, data: { n } }],
  'POST /sensors/patches application/x-ndjson': oneLine,
  'POST /sensors/patches application/ndjson': oneLine,
  'POST /sensors/patches application/jsonl': oneLine,
  'POST /batches': () => ({ batch_size: 2 }),
  'POST /batch': () => ({ batch_size: 2 }),
  'POST /webhooks': (n) => ({ url: `https://receiver.example/${n}` }),
  'PATCH /webhooks/{id}': (n) => ({ url: `https://receiver.example/${n}` }),
  'POST /webhooks/{id}/resume': () => ({}),
  'POST /webhooks/{id}/replay': () => ({ from: 'start' }),
  'POST /webhooks/{id}/rotate-secret': () => ({ overlap_seconds: 60 }),
  'POST /admin/projections/{name}/retry': () => ({}),
  'POST /admin/projections/{name}/skip': () => ({}),
};

/**
 * The project's own keys need an id that is free; to a foreign one those of the project are, too.
 */
async function deviceToRegister(kind: AnyKind): Promise<string> {
  return kind === 'foreign' ? (await addDevice()).device_id : newId('device');
}

async function tableOfDevices(_n: number, kind: AnyKind): Promise<string> {
  return `device_id\n${await deviceToRegister(kind)}\n`;
}

function tableOfSimCards(n: number): string {
  return `sim_card_id,org_id\n${project.sim},org-${n}\n`;
}

function usageOf(n: number): object {
  return { 'sim-card-id': project.sim, 'bytes-used': n, date: '2026-01-01T00:00:00Z' };
}

function cloudEventOf(n: number): object {
  return { specversion: '1.0', id: `e${n}`, source: 's', type: 'usage', data: usageOf(n) };
}

function oneLine(n: number): string {
  return `${JSON.stringify({ id: project.sensor, data: { n } })}\n`;
}

interface GoodRequest {
  readonly method: Method;
  readonly path: string;
  readonly options: SendOptions;
}

function resourceOf({ name, path }: Row): Resource | undefined {
  if (name === 'GET /firmware') return RESOURCES['/devices/{id}'];
  const template = /^[^{]*\{\w+\}/.exec(path)?.[0];
  if (template === undefined) return undefined;
  const resource = RESOURCES[template];
  if (resource === undefined) throw new Error(`say in RESOURCES what ${template} names`);
  return resource;
}

/** `id`: of the resource; without one a resource of the project is made. */
async function goodRequest(
  row: Row,
  kind: AnyKind,
  { id, n = newNumber() }: { readonly id?: string; readonly n?: number } = {},
): Promise<GoodRequest> {
  const named = id ?? (await resourceOf(row)?.existing(row)) ?? '';
  const path = row.path.replace(/\{\w+\}/, encodeURIComponent(named)).replace('{n}', '1');
  const query = new URLSearchParams(QUERIES[row.name]?.(named)).toString();
  const body = await BODIES[row.name]?.(n, kind);
  return {
    method: row.method,
    path: query === '' ? path : `${path}?${query}`,
    options:
      body === undefined
        ? {}
        : {
            body: typeof body === 'string' ? body : JSON.stringify(body),
            headers: { 'content-type': row.contentType },
          },
  };
}

function send<Body>(
  client: ApiClient,
  { method, path, options }: GoodRequest,
): Promise<Answer<Body>> {
  return client.send<Body>(method, path, options);
}

test('the table has a line for each operation of the document, and for no other', () => {
  const documented = Object.entries(service.document.paths).flatMap(([path, operations]) =>
    Object.entries(operations).flatMap(([method, { requestBody }]) => {
      const types = Object.keys(requestBody?.content ?? { 'application/json': {} });
      return types.map((type) =>
        [method.toUpperCase(), path, ...(type === 'application/json' ? [] : [type])].join(' '),
      );
    }),
  );
  expect(ROWS.map(({ name }) => name).toSorted()).toEqual(documented.toSorted());
});

describe('each key is answered as the table says', () => {
  test.each(ROWS.map((row) => [row.name, row] as const))('%s', async (_name, row) => {
    const actual: Partial<Record<AnyKind, number>> = {};
    for (const [kind, client] of Object.entries(await clientsFor(row)) as [AnyKind, ApiClient][]) {
      const request = await goodRequest(row, kind);
      const { status, body } = await send<{ results?: { status: number }[] }>(client, request);
      actual[kind] = status;
      // What is answered item by item may refuse the items alone.
      for (const result of body?.results ?? []) expect(result.status, kind).toBeLessThan(300);
    }
    expect(actual).toEqual(row.expected);
  });
});

describe('each key is answered as the table says where it asks for an event stream', () => {
  const isStreamed = ({ method, path }: Row): boolean =>
    JSON.stringify(service.document.paths[path]?.[method.toLowerCase()]?.responses).includes(
      'text/event-stream',
    );

  test('on all operations that have one', async () => {
    const streamed = ROWS.filter(isStreamed);
    expect(streamed.map(({ path }) => path)).toContain('/sensors/{id}');
    for (const row of streamed) {
      const rowClients = Object.entries(await clientsFor(row)) as [AnyKind, ApiClient][];
      const { url } = isAdministration(row) ? idle : service;
      for (const [kind, { key }] of rowClients) {
        const { path } = await goodRequest(row, kind);
        const connection = new SseConnection({ url, key, path });
        await vi.waitFor(() => expect(connection.status).toBeDefined(), { timeout: 20_000 });
        expect(connection.status, `${row.name} ${kind}`).toBe(row.expected[kind]);
        connection.close();
      }
    }
  });
});

describe('what is another project’s is answered as what is not there', () => {
  const rowsOfOne = ROWS.filter((row) => resourceOf(row) !== undefined);

  test.each(rowsOfOne.map((row) => [row.name, row] as const))('%s', async (_name, row) => {
    const missing = resourceOf(row)?.missing ?? '';
    const existing = (await resourceOf(row)?.existing(row)) ?? '';
    const { owner } = await service.newProject();
    const json = { device_id: 'device', sensor_id: 'theirs' };
    const { body } = await owner.post<{ key: string }>('/devices', { json });
    const foreigners = isAdministration(row)
      ? [idleClients.foreign]
      : [owner, service.client(body.key)];
    for (const foreigner of foreigners) {
      const ofMissing = await told(foreigner, row, missing);
      expect(await told(foreigner, row, existing)).toEqual(ofMissing);
    }
  });

  /** All that an answer says, but for the id that was asked for, and what differs each time. */
  async function told(client: ApiClient, row: Row, id: string): Promise<object> {
    const answer = await send<object>(client, await goodRequest(row, 'foreign', { id, n: 1 }));
    const headers = Array.from(answer.headers.keys()).toSorted();
    const { status, text } = answer;
    if (answer.body === undefined) return { status, headers, text };
    const body = { ...answer.body, instance: '', correlation_id: '' };
    return { status, headers, text: JSON.stringify(body).replaceAll(id, '{id}') };
  }
});

test('no request with a foreign key leaves an event in a project', async () => {
  const { owner: foreign } = await service.newProject();
  const requests: GoodRequest[] = [];
  // All that they ask for is there before any of them is sent.
  for (const row of PROJECT_ROWS) requests.push(await goodRequest(row, 'foreign'));
  const before = await eventsOf(project);
  for (const request of requests) await send(foreign, request);
  expect(before.length).toBeGreaterThan(0);
  expect(await eventsOf(project)).toEqual(before);
});

/** Every event that is in a stream of the project, or says that it is the project's. */
async function eventsOf({ id }: TestProject): Promise<object[]> {
  const streams = new RegExp(`^[a-z]+-${id}\\.`);
  const events = await service.admin.walk<{ stream: string; metadata: { projectId: string } }>(
    '/admin/log?limit=500',
  );
  return events.filter(({ stream, metadata }) => streams.test(stream) || metadata.projectId === id);
}

describe('no list shows what another project has', () => {
  const lists = PROJECT_ROWS.filter(
    (row) => row.method === 'GET' && resourceOf(row) === undefined,
  ).map(({ path }) => path);

  test.each(lists)('GET %s', async (path) => {
    const { owner, marks } = await populated();
    const { owner: foreign } = await populated();
    const marksIn = (text: string): string[] => marks.filter((mark) => text.includes(mark));
    expect(marksIn((await owner.get(path)).text)).not.toEqual([]);
    const shown = await foreign.get(path);
    expect(shown.status).toBe(200);
    expect(marksIn(shown.text)).toEqual([]);
  });
});
