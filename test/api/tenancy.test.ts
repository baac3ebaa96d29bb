import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { openDatabase } from '../../src/database/database.ts';
import { createLogger } from '../../src/shared/logger.ts';
import { createTestDatabase } from '../database/test-database.ts';
import {
  ADMIN_KEY,
  problem,
  startTestService,
  type Answer,
  type ApiClient,
  type Method,
  type SendOptions,
  type TestProject,
  type TestService,
} from './api-client.ts';

const database = createTestDatabase();
let service: TestService;
/** Another process would be no different: nothing in it is shared but the database. */
let otherService: TestService;
let project: TestProject;
let owner: ApiClient;

beforeAll(async () => {
  service = await startTestService(database.url);
  otherService = await startTestService(database.url);
  project = await service.newProject();
  ({ owner } = project);
});
afterAll(async () => {
  await service.stop();
  await otherService.stop();
});

type Role = 'owner' | 'member' | 'viewer';

interface Member {
  readonly id: string;
  readonly name: string;
  readonly role: Role;
}

interface Device {
  readonly device_id: string;
  readonly dev_eui: string | null;
  readonly sim_card_id: string | null;
  readonly sensor_id: string | null;
  readonly created_at: string;
  readonly retired_at: string | null;
}

interface Key {
  readonly id: string;
  readonly kind: string;
  readonly holder: string;
  readonly created_at: string;
  readonly revoked_at: string | null;
}

let names = 0;

/** An id that no other test knows. */
function newId(kind: string): string {
  names += 1;
  return `${kind}-${names}`;
}

async function addMember(role: Role, to = owner): Promise<Member & { key: string }> {
  const { body } = await to.post<Member & { key: string }>('/members', {
    json: { name: 'M', role },
  });
  return body;
}

async function addDevice(links: object = {}, to = owner): Promise<Device & { key: string }> {
  const json = { device_id: newId('device'), ...links };
  return (await to.post<Device & { key: string }>('/devices', { json })).body;
}

/** The id in a key: `fl_<kind>_<id>_<secret>`. */
function keyId(key: string): string {
  return key.split('_')[2] ?? '';
}

const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;
const UNAUTHENTICATED = problem(401, 'unauthenticated');
const FORBIDDEN = problem(403, 'forbidden');
const NOT_FOUND = problem(404, 'not-found');
const INVALID = problem(422, 'validation-failed');

describe('a project', () => {
  test('is created with an owner, whose key works at once', async () => {
    const id = newId('project');
    const answer = await service.admin.post<{ owner: { key: string } }>('/projects', {
      json: { id, name: 'Fleet of ü' },
    });
    expect(answer).toMatchObject({
      status: 201,
      body: {
        id,
        name: 'Fleet of ü',
        created_at: expect.stringMatching(TIME),
        owner: {
          id: expect.stringMatching(/./),
          role: 'owner',
          key: expect.stringMatching(/^fl_mem_[^_]+_[^_]{20,}$/),
        },
      },
    });
    expect(answer.headers.get('Location')).toBe(`/api/v1/projects/${id}`);
    expect(answer.headers.get('Cache-Control')).toBe('no-store');
    const first = service.client(answer.body.owner.key);
    expect(await first.get('/projects')).toMatchObject({ body: { items: [{ id }], next: null } });
    expect(await first.post('/devices', { json: { device_id: 'd' } })).toMatchObject({
      status: 201,
    });
  });

  test('gets an id when none is given', async () => {
    const [one, two] = [await service.newProject(), await service.newProject()];
    expect(one.id).toMatch(/^[a-z0-9]+$/);
    expect(one.id).not.toBe(two.id);
  });

  test('is not created twice', async () => {
    const { id } = await service.newProject();
    expect(await service.admin.post('/projects', { json: { id, name: 'x' } })).toMatchObject(
      problem(409, 'project-exists'),
    );
  });

  test.each([
    {},
    { name: '' },
    { name: 'x'.repeat(201) },
    { name: 1 },
    { name: 'x', id: '' },
    { name: 'x', id: 'A' },
    { name: 'x', id: '-a' },
    { name: 'x', id: 'a_b' },
    { name: 'x', id: 'a.b' },
    { name: 'x', id: '_installation' },
    { name: 'x', id: 'x'.repeat(64) },
    { name: 'x\u0000' },
    [],
  ])('is not created of %j', async (json) => {
    expect(await service.admin.post('/projects', { json })).toMatchObject(INVALID);
  });

  test('is listed for its members alone, and for the admin with all others', async () => {
    const { id } = await service.newProject();
    const all = await service.admin.walk<{ id: string }>('/projects?limit=2');
    const ids = all.map((each) => each.id);
    expect(ids).toContain(id);
    expect(ids).toContain(project.id);
    expect(ids).toEqual(ids.toSorted());
    expect(await owner.walk('/projects')).toEqual([
      { id: project.id, name: 'Fleet', created_at: expect.stringMatching(TIME) },
    ]);
    const single = { status: 200, body: { id: project.id, name: 'Fleet' } };
    expect(await service.admin.get(`/projects/${project.id}`)).toMatchObject(single);
    expect(await owner.get(`/projects/${project.id}`)).toMatchObject(single);
    expect(await service.admin.get('/projects/missing')).toMatchObject(NOT_FOUND);
  });
});

describe('a member', () => {
  test.each(['owner', 'member', 'viewer'] as const)('is added as %s, with a key', async (role) => {
    const answer = await owner.post<Member & { key: string }>('/members', {
      json: { name: 'Ada', role },
    });
    expect(answer).toMatchObject({
      status: 201,
      body: { id: expect.stringMatching(/./), name: 'Ada', role },
    });
    expect(answer.headers.get('Cache-Control')).toBe('no-store');
    const { id, key } = answer.body;
    expect(await service.client(key).get('/devices')).toMatchObject({ status: 200 });
    const listed = await owner.walk<Member>('/members?limit=1');
    expect(listed.at(-1)).toEqual({ id, name: 'Ada', role });
  });

  test.each([
    { name: 'x' },
    { role: 'owner' },
    { name: 'x', role: 'admin' },
    { name: '', role: 'owner' },
  ])('is not added as %j', async (json) => {
    expect(await owner.post('/members', { json })).toMatchObject(INVALID);
  });

  test('that is removed is listed no more, and its keys are refused', async () => {
    const { id, key } = await addMember('owner');
    const removed = service.client(key);
    expect(await removed.get('/members')).toMatchObject({ status: 200 });
    expect(await owner.delete(`/members/${id}`)).toMatchObject({ status: 204, text: '' });
    expect(await removed.get('/members')).toMatchObject(UNAUTHENTICATED);
    expect(await removed.get('/sensors')).toMatchObject(UNAUTHENTICATED);
    const ids = (await owner.walk<Member>('/members')).map((member) => member.id);
    expect(ids).not.toContain(id);
    expect(await owner.delete(`/members/${id}`)).toMatchObject(NOT_FOUND);
    expect(await owner.post(`/members/${id}/keys`)).toMatchObject(NOT_FOUND);
  });

  test('that is the last owner cannot be removed', async () => {
    const { owner: first, ownerId } = await service.newProject();
    await addMember('member', first);
    expect(await first.delete(`/members/${ownerId}`)).toMatchObject(problem(409, 'last-owner'));
    const second = await addMember('owner', first);
    expect(await first.delete(`/members/${ownerId}`)).toMatchObject({ status: 204 });
    expect(await first.get('/members')).toMatchObject(UNAUTHENTICATED);
    const left = service.client(second.key);
    expect(await left.delete(`/members/${second.id}`)).toMatchObject(problem(409, 'last-owner'));
  });

  test('stays, of two owners who remove each other at once', async () => {
    const { id, owner: first, ownerId } = await service.newProject();
    const second = await addMember('owner', first);
    const answers = await Promise.all([
      first.delete(`/members/${second.id}`),
      otherService.client(second.key).delete(`/members/${ownerId}`),
    ]);
    expect(answers.filter(({ status }) => status === 204)).toHaveLength(1);
    const clients = [first, service.client(second.key)];
    const statuses = await Promise.all(
      clients.map(async (client) => (await client.get(`/projects/${id}`)).status),
    );
    expect(new Set(statuses)).toEqual(new Set([200, 401]));
  });
});

describe('a device', () => {
  test('is registered with what it carries, and a key', async () => {
    const answer = await owner.post<Device & { key: string }>('/devices', {
      json: {
        device_id: 'a/b 💡',
        dev_eui: 'ff-a4-57-22-aa-73-82-40',
        sim_card_id: '89440001',
        sensor_id: 's',
      },
    });
    expect(answer).toMatchObject({
      status: 201,
      body: {
        device_id: 'a/b 💡',
        dev_eui: 'FFA45722AA738240',
        sim_card_id: '89440001',
        sensor_id: 's',
        created_at: expect.stringMatching(TIME),
        retired_at: null,
        key: expect.stringMatching(/^fl_dev_[^_]+_[^_]{20,}$/),
      },
    });
    expect(answer.headers.get('Cache-Control')).toBe('no-store');
    const location = answer.headers.get('Location') ?? '';
    expect(location).toBe('/api/v1/devices/a%2Fb%20%F0%9F%92%A1');
    const { key: _shownOnce, ...registered } = answer.body;
    const read = await owner.get(location.slice('/api/v1'.length));
    expect(read.body).toEqual({
      ...registered,
      last_seen_at: null,
      firmware: [],
      state: null,
      usage_this_month: 0,
    });
  });

  test('needs nothing but its id', async () => {
    expect(await addDevice()).toMatchObject({ dev_eui: null, sim_card_id: null, sensor_id: null });
  });

  test.each([
    {},
    { device_id: '' },
    { device_id: 1 },
    { device_id: 'x'.repeat(257) },
    { device_id: 'x', dev_eui: 'FFA45722AA73824' },
    { device_id: 'x', dev_eui: 'GFA45722AA738240' },
    { device_id: 'x', sim_card_id: 89440001 },
    { device_id: 'x', sensor_id: '' },
  ])('is not registered of %j', async (json) => {
    expect(await owner.post('/devices', { json })).toMatchObject(INVALID);
  });

  test('is registered once, also when it is retired meanwhile', async () => {
    const { device_id } = await addDevice();
    const exists = problem(409, 'device-exists');
    expect(await owner.post('/devices', { json: { device_id } })).toMatchObject(exists);
    await owner.delete(`/devices/${device_id}`);
    expect(await owner.post('/devices', { json: { device_id } })).toMatchObject(exists);
  });

  test('shows the state of its sensor, and when that was last seen', async () => {
    const sensor = newId('sensor');
    const { device_id } = await addDevice({ sensor_id: sensor });
    await owner.patch(`/sensors/${sensor}`, { json: { data: { a: 1 } } });
    const { body } = await owner.get<{ updated_at: string }>(`/sensors/${sensor}`);
    const seen = { last_seen_at: body.updated_at };
    expect(await owner.get(`/devices/${device_id}`)).toMatchObject({
      body: { ...seen, state: { a: 1 } },
    });
    const listed = await owner.walk<Device>('/devices');
    expect(listed.find((device) => device.device_id === device_id)).toMatchObject(seen);
  });

  test('is changed in what is sent; null removes', async () => {
    const device = await addDevice({ dev_eui: 'ffa45722aa738241', sensor_id: 'changed' });
    const path = `/devices/${device.device_id}`;
    const answer = await owner.patch(path, { json: { sensor_id: null, sim_card_id: '1' } });
    const { key: _shownOnce, ...before } = device;
    const after = { ...before, sensor_id: null, sim_card_id: '1' };
    expect(answer).toMatchObject({ status: 200, body: after });
    const bare = { 'content-type': 'application/merge-patch+json' };
    const second = await owner.patch(path, { json: { dev_eui: null }, headers: bare });
    expect(second.body).toEqual({ ...after, dev_eui: null });
    expect(await owner.get(path)).toMatchObject({ body: { ...after, dev_eui: null } });
  });

  test('is answered as it was changed, also while the tables do not follow', async () => {
    const device = await addDevice();
    const path = `/devices/${device.device_id}`;
    const headers = { 'idempotency-key': `change of ${device.device_id}` };
    const { key: _shownOnce, ...before } = device;
    await service.admin.post('/admin/projections/tenancy/pause');
    try {
      const changed = await owner.patch(path, { json: { sim_card_id: '7' }, headers });
      expect(changed).toMatchObject({ status: 200, body: { ...before, sim_card_id: '7' } });
      const again = await owner.patch(path, { json: { sim_card_id: '7' } });
      expect(again).toMatchObject({ status: 200, body: changed.body });
      expect(again.headers.get('ETag')).toBe(changed.headers.get('ETag'));
    } finally {
      await service.admin.post('/admin/projections/tenancy/resume');
    }
    const { headers: now } = await owner.get(path);
    expect(now.get('ETag')).toBe('"2"');
  });

  test.each([[], null, 'x', { dev_eui: 'x' }, { sensor_id: 1 }, { sim_card_id: '' }])(
    'is not changed by %j',
    async (json) => {
      const { device_id } = await addDevice();
      expect(await owner.patch(`/devices/${device_id}`, { json })).toMatchObject(INVALID);
    },
  );

  test('has an ETag, for If-Match and If-None-Match', async () => {
    const { device_id } = await addDevice();
    const path = `/devices/${device_id}`;
    const change = (sensor: string, ifMatch: string): Promise<Answer<unknown>> =>
      owner.patch(path, { json: { sensor_id: sensor }, headers: { 'if-match': ifMatch } });
    const tag = (await owner.get(path)).headers.get('ETag') ?? '';
    expect(tag).toMatch(/^"\d+"$/);
    expect(await owner.get(path, { headers: { 'if-none-match': tag } })).toMatchObject({
      status: 304,
      text: '',
    });
    const changed = await change('a', tag);
    expect(changed).toMatchObject({ status: 200 });
    expect(await change('b', tag)).toMatchObject(problem(412, 'precondition-failed'));
    expect(await change('b', changed.headers.get('ETag') ?? '')).toMatchObject({ status: 200 });
    expect(await change('c', '*')).toMatchObject({ status: 200 });
    expect(await owner.get(path, { headers: { 'if-none-match': tag } })).toMatchObject({
      status: 200,
      body: { sensor_id: 'c' },
    });
  });

  test('has an ETag that also holds when it gets another key', async () => {
    const { device_id } = await addDevice();
    const path = `/devices/${device_id}`;
    await owner.post(`${path}/keys`);
    const tag = (await owner.get(path)).headers.get('ETag') ?? '';
    const headers = { 'if-match': tag };
    expect(await owner.patch(path, { json: { sensor_id: 'a' }, headers })).toMatchObject({
      status: 200,
    });
  });

  test('is shown as it was', async () => {
    const sensor = newId('sensor');
    const before = await owner.patch(`/sensors/${sensor}`, { json: { data: { n: 1 } } });
    const { device_id } = await addDevice();
    const registered = await owner.get(`/devices/${device_id}`);
    const changed = await owner.patch(`/devices/${device_id}`, { json: { sensor_id: sensor } });
    await owner.patch(`/sensors/${sensor}`, { json: { data: { n: 2 } } });
    await owner.delete(`/devices/${device_id}`);
    const asOf = (answer: Answer<unknown>): Promise<Answer<unknown>> =>
      owner.get(`/devices/${device_id}?as_of=${answer.headers.get('Fleetledger-Position')}`);
    expect(await asOf(before)).toMatchObject(NOT_FOUND);
    expect(await asOf(registered)).toMatchObject({ body: { sensor_id: null, state: null } });
    expect(await asOf(changed)).toMatchObject({
      body: { sensor_id: sensor, state: { n: 1 }, retired_at: null },
    });
    expect(await owner.get(`/devices/${device_id}`)).toMatchObject({
      body: { state: { n: 2 }, retired_at: expect.stringMatching(TIME) },
    });
    expect(await owner.get(`/devices/${device_id}?as_of=1970-01-01T00:00:00Z`)).toMatchObject(
      NOT_FOUND,
    );
    expect(await owner.get(`/devices/${device_id}?as_of=x`)).toMatchObject(INVALID);
  });

  test('that is retired stays to be read, and its keys are refused', async () => {
    const { device_id, key } = await addDevice({ sensor_id: 'retired' });
    const device = service.client(key);
    const path = `/devices/${device_id}`;
    expect(await device.patch('/sensors/retired', { json: { data: {} } })).toMatchObject({
      status: 200,
    });
    expect(await owner.delete(path)).toMatchObject({ status: 204, text: '' });
    expect(await device.patch('/sensors/retired', { json: { data: {} } })).toMatchObject(
      UNAUTHENTICATED,
    );
    expect(await owner.get(path)).toMatchObject({
      body: { retired_at: expect.stringMatching(TIME) },
    });
    expect(await owner.delete(path)).toMatchObject({ status: 204 });
    const retired = problem(409, 'device-retired');
    expect(await owner.patch(path, { json: { sensor_id: null } })).toMatchObject(retired);
    expect(await owner.post(`${path}/keys`)).toMatchObject(retired);
  });
});

describe('a DevEUI, SIM card or sensor', () => {
  const links = (): [string, string][] => [
    ['dev_eui', `FFA45722${(0xaa00_0000 + names).toString(16).toUpperCase()}`],
    ['sim_card_id', newId('sim')],
    ['sensor_id', newId('sensor')],
  ];
  const taken = (by: string) => ({
    status: 409,
    body: { code: 'link-taken', conflicting: { kind: 'device', id: by } },
  });

  test('that another device has is refused, and the answer says which', async () => {
    for (const [name, value] of links()) {
      const first = await addDevice({ [name]: value });
      const second = await addDevice();
      const json = { [name]: value };
      const added = { json: { device_id: newId('device'), ...json } };
      for (const client of [owner, otherService.client(owner.key)]) {
        const posted = await client.post('/devices', added);
        expect(posted).toMatchObject(taken(first.device_id));
        expect(posted.headers.get('Location')).toBe(`/api/v1/devices/${first.device_id}`);
        const path = `/devices/${second.device_id}`;
        expect(await client.patch(path, { json })).toMatchObject(taken(first.device_id));
      }
      expect(await owner.patch(`/devices/${first.device_id}`, { json })).toMatchObject({
        status: 200,
      });
      const { owner: other } = await service.newProject();
      expect(await other.post('/devices', { json: { device_id: 'd', ...json } })).toMatchObject({
        status: 201,
      });
    }
  });

  test('is free again when its device changes, is retired, or goes to another project', async () => {
    const { id: to } = await service.newProject();
    for (const [name, value] of links()) {
      const json = { [name]: value };
      const ends = [
        (id: string) => owner.patch(`/devices/${id}`, { json: { [name]: null } }),
        (id: string) => owner.delete(`/devices/${id}`),
        (id: string) =>
          service.admin.post(`/devices/${id}/transfer?project=${project.id}`, { json: { to } }),
      ];
      for (const end of ends) {
        const { device_id: id } = await addDevice(json);
        expect((await end(id)).status).toBeLessThan(300);
      }
      const { device_id: id } = await addDevice(json);
      expect(await owner.get(`/devices/${id}`)).toMatchObject({ body: json });
    }
  });

  test('goes to the first row of a table that names it', async () => {
    const sim = newId('sim');
    const ids = Array.from({ length: 20 }, () => newId('device'));
    const body = ['device_id,sim_card_id', ...ids.map((id) => `${id},${sim}`)].join('\n');
    const answer = await owner.post<{ results: object[] }>('/devices', {
      body,
      headers: { 'content-type': 'text/csv' },
    });
    expect(answer.body.results).toMatchObject(
      ids.map((_, index) => (index === 0 ? { status: 201 } : { status: 409, code: 'link-taken' })),
    );
  });

  test('goes to one of many devices that want it at once in two processes', async () => {
    for (let round = 0; round < 5; round += 1) {
      const sim = newId('sim');
      const answers = await Promise.all(
        [owner, otherService.client(owner.key)].flatMap((client) =>
          Array.from({ length: 4 }, () =>
            client.post('/devices', { json: { device_id: newId('device'), sim_card_id: sim } }),
          ),
        ),
      );
      const statuses = answers.map(({ status }) => status).toSorted((a, b) => a - b);
      expect(statuses).toEqual([201, ...Array.from({ length: 7 }, () => 409)]);
    }
  });
});

describe('the list of devices', () => {
  let member: ApiClient;
  beforeAll(async () => {
    ({ owner: member } = await service.newProject());
    await addDevice({ device_id: 'plain' }, member);
    await addDevice({ device_id: 'lora', dev_eui: 'ffa45722aa738240' }, member);
    await addDevice({ device_id: 'early', sensor_id: 'early' }, member);
    await addDevice({ device_id: 'late', sensor_id: 'late' }, member);
    await addDevice({ device_id: 'gone' }, member);
    await member.delete('/devices/gone');
    await member.patch('/sensors/early', { json: { data: {} } });
    const since = Date.now();
    await vi.waitUntil(() => Date.now() > since, { interval: 1 });
    await member.patch('/sensors/late', { json: { data: {} } });
  });

  const listed = async (query: string): Promise<string[]> =>
    (await member.walk<Device>(`/devices?limit=2${query}`)).map(({ device_id }) => device_id);

  test('gives all of them by id, as each is shown alone', async () => {
    expect(await listed('')).toEqual(['early', 'gone', 'late', 'lora', 'plain']);
    for (const device of await member.walk<Device>('/devices')) {
      expect(await member.get(`/devices/${device.device_id}`)).toMatchObject({ body: device });
    }
  });

  test('is filtered', async () => {
    const { body } = await member.get<{ updated_at: string }>('/sensors/early');
    const seen = body.updated_at;
    expect(await listed('&has_dev_eui=true')).toEqual(['lora']);
    expect(await listed('&has_dev_eui=false&retired=false')).toEqual(['early', 'late', 'plain']);
    expect(await listed('&retired=true')).toEqual(['gone']);
    expect(await listed(`&seen_after=${seen}`)).toEqual(['late']);
    expect(await listed('&seen_after=1970-01-01T00:00:00Z')).toEqual(['early', 'late']);
    expect(await listed('&seen_before=2999-01-01T00:00:00Z')).toEqual(['early', 'late']);
    expect(await listed('&seen_before=1970-01-01T00:00:00Z')).toEqual([]);
  });

  test.each([
    'has_dev_eui=1',
    'retired=',
    'seen_after=yesterday',
    'seen_before=0000-01-01T00:00:00Z',
  ])('cannot be filtered by %s', async (query) => {
    expect(await member.get(`/devices?${query}`)).toMatchObject(INVALID);
  });

  test('is walked as it stood when the walk began', async () => {
    const { owner: walker } = await service.newProject();
    for (const id of ['b', 'd', 'f', 'h']) {
      await addDevice({ device_id: id, sensor_id: id }, walker);
      await walker.patch(`/sensors/${id}`, { json: { data: { id } } });
    }
    const seenBefore = encodeURIComponent(new Date(Date.now() + 1).toISOString());
    await vi.waitUntil(() => Date.now() > Date.parse(decodeURIComponent(seenBefore)), {
      interval: 1,
    });
    for (const query of ['', '&retired=false', `&seen_before=${seenBefore}`]) {
      const before = (await walker.walk<Device>(`/devices?limit=1${query}`)).map(
        ({ device_id }) => device_id,
      );
      const last = before.at(-1) ?? '';
      let turn = 0;
      const walked = await walker.walk<Device>(`/devices?limit=1${query}`, async () => {
        turn += 1;
        if (turn > 1) return;
        await addDevice({ device_id: `c${newId('')}` }, walker);
        await walker.patch(`/sensors/${last}`, { json: { data: { query } } });
        if (query === '&retired=false') await walker.delete(`/devices/${last}`);
      });
      expect(
        walked.map(({ device_id }) => device_id),
        query,
      ).toEqual(before);
    }
  });
});

describe('a key', () => {
  test('is issued to a device and to a member, and works at once beside the first', async () => {
    const member = await addMember('viewer');
    const device = await addDevice({ sensor_id: 'issued' });
    const holders = [
      { path: `/members/${member.id}`, kind: 'mem', holder: member.id, first: member.key },
      {
        path: `/devices/${device.device_id}`,
        kind: 'dev',
        holder: device.device_id,
        first: device.key,
      },
    ];
    for (const { path, kind, holder, first } of holders) {
      for (const options of [{}, { json: {} }] as SendOptions[]) {
        const answer = await owner.post<{ id: string; key: string }>(`${path}/keys`, options);
        const { key } = answer.body;
        expect(answer).toMatchObject({
          status: 201,
          body: { id: keyId(key), kind, holder, created_at: expect.stringMatching(TIME) },
        });
        expect(answer.headers.get('Cache-Control')).toBe('no-store');
        for (const each of [first, key]) {
          const read = await service.client(each).get('/sensors/never-seen-s');
          expect(read).toMatchObject(kind === 'mem' ? NOT_FOUND : FORBIDDEN);
        }
      }
    }
  });

  test('is not issued to who is not there', async () => {
    for (const path of [
      '/members/missing/keys',
      '/devices/missing/keys',
      '/members/constructor/keys',
    ]) {
      expect(await owner.post(path)).toMatchObject(NOT_FOUND);
    }
  });

  test('is listed with its holder, never with its secret', async () => {
    const { owner: only, ownerId } = await service.newProject();
    const device = await addDevice({}, only);
    await only.delete(`/keys/${keyId(device.key)}`);
    const keys = await only.walk<Key>('/keys?limit=1');
    const created_at = expect.stringMatching(TIME);
    expect(keys).toEqual([
      { id: keyId(only.key ?? ''), kind: 'mem', holder: ownerId, created_at, revoked_at: null },
      {
        id: keyId(device.key),
        kind: 'dev',
        holder: device.device_id,
        created_at,
        revoked_at: expect.stringMatching(TIME),
      },
    ]);
  });

  test('that is revoked is refused from the next request on', async () => {
    const { id, key } = await addMember('owner');
    const spare = (await owner.post<{ key: string }>(`/members/${id}/keys`)).body.key;
    const revoked = service.client(key);
    expect(await revoked.get('/keys')).toMatchObject({ status: 200 });
    expect(await owner.delete(`/keys/${keyId(key)}`)).toMatchObject({ status: 204, text: '' });
    expect(await revoked.get('/keys')).toMatchObject(UNAUTHENTICATED);
    expect(await service.client(spare).get('/keys')).toMatchObject({ status: 200 });
    expect(await owner.delete(`/keys/${keyId(key)}`)).toMatchObject({ status: 204 });
  });

  test('is refused also while many requests with it are under way', async () => {
    const { key } = await addDevice({ sensor_id: 'busy' });
    const device = service.client(key);
    let isRevoked = false;
    const late: number[] = [];
    const work = async (n: number): Promise<void> => {
      for (;;) {
        const beganLate = isRevoked;
        const { status } = await device.patch('/sensors/busy', { json: { data: { n } } });
        if (beganLate) late.push(status);
        if (status === 401) return;
      }
    };
    const working = Promise.all([1, 2, 3, 4, 5, 6].map(work));
    await vi.waitUntil(async () => (await owner.get('/sensors/busy')).status === 200);
    await owner.delete(`/keys/${keyId(key)}`);
    isRevoked = true;
    await working;
    expect(late.length).toBeGreaterThan(0);
    expect(new Set(late)).toEqual(new Set([401]));
  });

  test('that does not exist, or is not of the project, is not found', async () => {
    for (const id of ['missing', 'configured', '__proto__']) {
      expect(await owner.delete(`/keys/${id}`)).toMatchObject(NOT_FOUND);
    }
  });
});

describe('who may', () => {
  interface Deed {
    readonly method: Method;
    readonly path: string;
    readonly json?: object;
  }
  const adminDeeds: Deed[] = [{ method: 'POST', path: '/projects', json: { name: 'x' } }];
  const ownerDeeds: Deed[] = [
    { method: 'POST', path: '/members', json: { name: 'x', role: 'viewer' } },
    { method: 'GET', path: '/members' },
    { method: 'DELETE', path: '/members/missing' },
    { method: 'POST', path: '/members/missing/keys' },
    { method: 'POST', path: '/devices/missing/keys' },
    { method: 'GET', path: '/keys' },
    { method: 'DELETE', path: '/keys/missing' },
  ];
  const memberDeeds: Deed[] = [
    { method: 'POST', path: '/devices', json: { device_id: 'by-member' } },
    { method: 'PATCH', path: '/devices/missing', json: {} },
    { method: 'DELETE', path: '/devices/missing' },
  ];
  const viewerDeeds: Deed[] = [
    { method: 'GET', path: '/devices' },
    { method: 'GET', path: '/devices/missing' },
    { method: 'GET', path: '/projects' },
  ];
  const all = [...adminDeeds, ...ownerDeeds, ...memberDeeds, ...viewerDeeds];

  test.each([
    ['an owner', all.filter((deed) => !adminDeeds.includes(deed))],
    ['a member', [...memberDeeds, ...viewerDeeds]],
    ['a viewer', viewerDeeds],
    ['a device', []],
    ['the admin', [...adminDeeds, { method: 'GET', path: '/projects' }]],
  ] as [string, Deed[]][])(
    '%s may do what is its own, and is refused the rest',
    async (who, own) => {
      const holder = await service.newProject();
      const key = {
        'an owner': async () => holder.owner.key,
        'a member': async () => (await addMember('member', holder.owner)).key,
        'a viewer': async () => (await addMember('viewer', holder.owner)).key,
        'a device': async () => (await addDevice({}, holder.owner)).key,
        'the admin': async () => ADMIN_KEY,
      }[who];
      const client = service.client(await key?.());
      for (const { method, path, json } of all) {
        const mayDo = own.some((deed) => deed.method === method && deed.path === path);
        const answer = await client.send(method, path, json === undefined ? {} : { json });
        if (mayDo) expect([200, 201, 204, 404], `${method} ${path}`).toContain(answer.status);
        else expect(answer, `${method} ${path}`).toMatchObject(FORBIDDEN);
      }
    },
  );
});

describe('a request', () => {
  test.each([
    ['Authorization, whatever its case', (key: string) => ({ authorization: `bEARER   ${key}` })],
    ['X-Project-Membership-Api-Key', (key: string) => ({ 'x-project-membership-api-key': key })],
    ['X-Device-Api-Key', (key: string) => ({ 'x-device-api-key': key })],
  ])('may carry its key in %s', async (_where, headers) => {
    const nobody = service.client();
    const sensor = newId('legacy');
    const device = await addDevice({ sensor_id: sensor });
    const key = _where === 'X-Device-Api-Key' ? device.key : (owner.key ?? '');
    expect(
      await nobody.patch(`/sensors/${sensor}`, { json: { data: {} }, headers: headers(key) }),
    ).toMatchObject({ status: 200 });
  });

  test('without a good key is refused, and told how to send one', async () => {
    const key = owner.key ?? '';
    const [, , id, secret = ''] = key.split('_');
    const other = secret.startsWith('a') ? 'b' : 'a';
    const bad = [
      undefined,
      '',
      'Bearer',
      'Bearer ',
      key,
      `Basic ${key}`,
      `Bearer ${key} x`,
      `Bearer ${key}x`,
      `Bearer ${key.slice(0, -1)}`,
      `Bearer fl_mem_${id}_${other}${secret.slice(1)}`,
      `Bearer fl_mem_unknown_${secret}`,
      `Bearer fl_adm_${id}_${secret}`,
      `Bearer fl_dev_${id}_${secret}`,
      'Bearer fl_mem__',
      `Bearer ${'x'.repeat(5_000)}`,
      `Bearer ${ADMIN_KEY}x`,
    ];
    for (const authorization of bad) {
      const answer = await service.client().get('/devices', {
        headers: authorization === undefined ? {} : { authorization },
      });
      expect(answer, authorization).toMatchObject(UNAUTHENTICATED);
      expect(answer.headers.get('WWW-Authenticate')).toMatch(/^Bearer\b/);
    }
  });

  test('is told of its key before anything else', async () => {
    const nobody = service.client();
    expect(await nobody.get('/devices?limit=x')).toMatchObject(UNAUTHENTICATED);
    expect(await nobody.post('/devices', { body: '{', headers: {} })).toMatchObject(
      UNAUTHENTICATED,
    );
    expect(await nobody.get('/devices/missing')).toMatchObject(UNAUTHENTICATED);
  });

  test('may name its correlation id, and gets one otherwise', async () => {
    const named = await owner.get('/devices', { headers: { 'x-correlation-id': 'trace-1' } });
    expect(named.headers.get('X-Correlation-Id')).toBe('trace-1');
    const unnamed = await owner.get('/devices');
    expect(unnamed.headers.get('X-Correlation-Id')).toMatch(/^[0-9a-f-]{36}$/);
    const unsafe = await owner.get('/devices', { headers: { 'x-correlation-id': 'a b"' } });
    expect(unsafe.headers.get('X-Correlation-Id')).toMatch(/^[0-9a-f-]{36}$/);
    const refused = await owner.get<{ correlation_id: string }>('/devices/missing', {
      headers: { 'x-correlation-id': 'trace-2' },
    });
    expect(refused.body.correlation_id).toBe('trace-2');
  });
});

describe("another project's", () => {
  test('anything is like what does not exist, word for word', async () => {
    const theirs = await service.newProject();
    const device = await addDevice({ sensor_id: 'secret' }, theirs.owner);
    const member = await addMember('viewer', theirs.owner);
    await theirs.owner.patch('/sensors/secret', { json: { data: { a: 1 } } });
    const deviceId = device.device_id;
    const key = keyId(device.key);
    const deeds: [Method, string, string, object?][] = [
      ['GET', '/projects/*', theirs.id],
      ['PUT', '/projects/*/dedup', theirs.id, { strategy: 'none' }],
      ['DELETE', '/members/*', member.id],
      ['POST', '/members/*/keys', member.id],
      ['GET', '/devices/*', deviceId],
      ['PATCH', '/devices/*', deviceId, { sensor_id: 'x' }],
      ['DELETE', '/devices/*', deviceId],
      ['POST', '/devices/*/keys', deviceId],
      ['DELETE', '/keys/*', key],
      ['DELETE', '/keys/*', keyId(theirs.owner.key ?? '')],
      ['GET', '/sensors/*', 'secret'],
      ['GET', '/sensors/*/history', 'secret'],
    ];
    for (const [method, path, id, json] of deeds) {
      const options = json === undefined ? {} : { json };
      const answers = [];
      for (const each of [id, 'missing']) {
        const { status, body, headers } = await owner.send<Record<string, unknown>>(
          method,
          path.replace('*', each),
          options,
        );
        const { instance: _where, correlation_id: _which, ...words } = body;
        answers.push({ status, words, names: [...headers.keys()] });
      }
      expect(answers[0], `${method} ${path}`).toEqual(answers[1]);
      expect(answers[0], `${method} ${path}`).toMatchObject({ status: 404 });
    }
    expect(await theirs.owner.get(`/devices/${deviceId}`)).toMatchObject({
      body: { sensor_id: 'secret', retired_at: null },
    });
    expect(await service.client(member.key).get('/devices')).toMatchObject({ status: 200 });
  });

  test('ids may be the same as ours', async () => {
    const theirs = await service.newProject();
    const ours = await addDevice();
    const json = { device_id: ours.device_id };
    expect(await theirs.owner.post('/devices', { json })).toMatchObject({ status: 201 });
    await theirs.owner.delete(`/devices/${ours.device_id}`);
    expect(await owner.get(`/devices/${ours.device_id}`)).toMatchObject({
      body: { retired_at: null },
    });
  });
});

describe('in another process', () => {
  const elsewhere = (key: string): ApiClient => otherService.client(key);

  test('a new project, member, device and key work with their first request', async () => {
    const fresh = await service.newProject();
    expect(await elsewhere(fresh.owner.key ?? '').get('/devices')).toMatchObject({ status: 200 });
    const member = await addMember('viewer');
    expect(await elsewhere(member.key).get('/devices')).toMatchObject({ status: 200 });
    const device = await addDevice({ sensor_id: 'there' });
    const patch = { json: { data: {} } };
    expect(await elsewhere(device.key).patch('/sensors/there', patch)).toMatchObject({
      status: 200,
    });
    const { body } = await owner.post<{ key: string }>(`/members/${member.id}/keys`);
    expect(await elsewhere(body.key).get('/devices')).toMatchObject({ status: 200 });
  });

  test('a revoked key, a removed member and a retired device are soon refused', async () => {
    const [member, removed] = [await addMember('member'), await addMember('member')];
    const device = await addDevice({ sensor_id: 'soon' });
    const ends = [
      { key: member.key, end: `/keys/${keyId(member.key)}` },
      { key: removed.key, end: `/members/${removed.id}` },
      { key: device.key, end: `/devices/${device.device_id}` },
    ];
    for (const { key, end } of ends) {
      const client = elsewhere(key);
      // Read once, so that it is known there.
      expect((await client.get('/sensors/soon')).status).not.toBe(401);
      expect(await owner.delete(end)).toMatchObject({ status: 204 });
      await vi.waitUntil(async () => (await client.get('/sensors/soon')).status === 401, {
        timeout: 10_000,
      });
      expect(await client.get('/sensors/soon')).toMatchObject(UNAUTHENTICATED);
    }
  });

  test('a write is read at its position', async () => {
    for (let n = 0; n < 20; n += 1) {
      const device = await addDevice();
      const answer = await owner.post(`/devices/${device.device_id}/keys`);
      const read = await elsewhere(owner.key ?? '').get<{ items: Device[] }>('/devices?limit=500', {
        headers: {
          'fleetledger-min-position': answer.headers.get('Fleetledger-Position') ?? '',
        },
      });
      expect(read.body.items.map(({ device_id }) => device_id)).toContain(device.device_id);
    }
  });
});

describe('an Idempotency-Key', () => {
  const withKey = (key: string, json?: unknown): SendOptions => ({
    ...(json !== undefined && { json }),
    headers: { 'idempotency-key': key },
  });

  test('gives the first answer again, the secret too, and changes nothing', async () => {
    const device_id = newId('device');
    const member = await addMember('viewer');
    const deeds: [ApiClient, string, object | undefined][] = [
      [service.admin, '/projects', { name: 'P' }],
      [owner, '/members', { name: 'M', role: 'viewer' }],
      [owner, '/devices', { device_id, sensor_id: 'again' }],
      [owner, `/members/${member.id}/keys`, undefined],
      [owner, `/devices/${device_id}/keys`, {}],
    ];
    for (const [client, path, json] of deeds) {
      const options = withKey(newId('key'), json);
      const first = await client.post<{ key?: string; owner?: { key: string } }>(path, options);
      expect(first, path).toMatchObject({ status: 201 });
      expect(first.headers.has('Idempotency-Replayed')).toBe(false);
      const count = (await owner.walk('/keys')).length;
      for (const from of [client, otherService.client(client.key)]) {
        const again = await from.post(path, options);
        expect(again.status).toBe(201);
        expect(again.text).toBe(first.text);
        expect(again.headers.get('Idempotency-Replayed')).toBe('true');
        expect(again.headers.get('Location')).toBe(first.headers.get('Location'));
        expect(again.headers.get('Cache-Control')).toBe('no-store');
      }
      expect(await owner.walk('/keys')).toHaveLength(count);
      const key = first.body.key ?? first.body.owner?.key ?? '';
      expect((await service.client(key).get('/sensors/again')).status).not.toBe(401);
    }
  });

  test('knows the request whatever the order of its members and its white space', async () => {
    const device_id = newId('device');
    const key = newId('key');
    const send = (body: string): Promise<Answer<unknown>> =>
      owner.post('/devices', {
        body,
        headers: { 'idempotency-key': key, 'content-type': 'application/json' },
      });
    const first = await send(`{"device_id":"${device_id}","sensor_id":"ordered","dev_eui":null}`);
    const again = await send(
      `{ "dev_eui":null, "sensor_id":"ordered","device_id":"${device_id}" }\n`,
    );
    expect(again).toMatchObject({ status: 201, text: first.text });
  });

  test('is not taken for another request', async () => {
    const key = newId('key');
    const { device_id } = (
      await owner.post<Device>('/devices', withKey(key, { device_id: newId('device') }))
    ).body;
    const reused = problem(422, 'idempotency-key-reused');
    const others: [string, object | undefined][] = [
      ['/devices', { device_id: newId('device') }],
      ['/devices', { device_id, sensor_id: newId('sensor') }],
      [`/devices/${device_id}/keys`, undefined],
      ['/members', { name: 'M', role: 'viewer' }],
      ['/sensors/patches', []],
    ];
    for (const [path, json] of others) {
      expect(await owner.post(path, withKey(key, json)), path).toMatchObject(reused);
    }
  });

  test('shows what it showed to nobody of another role', async () => {
    const options = withKey(newId('key'), { device_id: newId('device') });
    expect(await owner.post('/devices', options)).toMatchObject({ status: 201 });
    const { key } = await addMember('member');
    expect(await service.client(key).post('/devices', options)).toMatchObject(
      problem(422, 'idempotency-key-reused'),
    );
  });

  test('of a device is its own, whatever key a member sends', async () => {
    const id = newId('device');
    const device = await owner.post<{ key: string }>('/devices', {
      json: { device_id: id, sensor_id: id },
    });
    const items = [{ id, data: { n: 1 } }];
    await service.client(device.body.key).post('/sensors/patches', withKey('k', items));
    const literal = withKey(JSON.stringify([id, 'k']), items);
    const answer = await owner.post('/sensors/patches', literal);
    expect(answer).toMatchObject({
      status: 200,
      body: { results: [{ deduplicated: 'unchanged' }] },
    });
    expect(answer.headers.has('Idempotency-Replayed')).toBe(false);
  });

  test('is the own one of each project', async () => {
    const theirs = await service.newProject();
    const options = withKey(newId('key'), { device_id: newId('device') });
    const ours = await owner.post<Device & { key: string }>('/devices', options);
    const other = await theirs.owner.post<Device & { key: string }>('/devices', options);
    expect(other).toMatchObject({ status: 201 });
    expect(other.headers.has('Idempotency-Replayed')).toBe(false);
    expect(other.body.key).not.toBe(ours.body.key);
  });

  test('is 1 to 255 characters', async () => {
    const long = 'x'.repeat(255);
    const first = await owner.post('/devices', withKey(long, { device_id: newId('device') }));
    expect(first).toMatchObject({ status: 201 });
    for (const key of [`${long}x`, '']) {
      const device_id = newId('device');
      expect(await owner.post('/devices', withKey(key, { device_id }))).toMatchObject(INVALID);
      expect(await owner.get(`/devices/${device_id}`)).toMatchObject(NOT_FOUND);
    }
  });

  test('sent twenty times at once, here and elsewhere, has one effect and one answer', async () => {
    const there = otherService.client(owner.key);
    for (const clients of [[owner], [owner, there]]) {
      const device_id = newId('device');
      const options = withKey(newId('key'), { device_id });
      const answers = await Promise.all(
        Array.from({ length: 20 }, (_, n) =>
          (clients[n % clients.length] ?? owner).post<{ key: string }>('/devices', options),
        ),
      );
      expect(new Set(answers.map(({ status, text }) => `${status} ${text}`)).size).toBe(1);
      const fresh = answers.filter(({ headers }) => !headers.has('Idempotency-Replayed'));
      expect(fresh).toHaveLength(1);
      const keys = await owner.walk<Key>('/keys?limit=500');
      expect(keys.filter(({ holder }) => holder === device_id)).toHaveLength(1);
      const key = answers[0]?.body.key ?? '';
      expect(await service.client(key).get('/devices')).toMatchObject(FORBIDDEN);
    }
  });

  test('makes one project of twenty that have no id', async () => {
    const options = withKey(newId('key'), { name: 'Once' });
    const answers = await Promise.all(
      Array.from({ length: 20 }, (_, n) =>
        (n % 2 === 0 ? service : otherService).admin.post('/projects', options),
      ),
    );
    expect(new Set(answers.map(({ text }) => text)).size).toBe(1);
    const projects = await service.admin.walk<{ name: string }>('/projects?limit=500');
    expect(projects.filter(({ name }) => name === 'Once')).toHaveLength(1);
  });

  test('gives a refusal again too, also when nothing would stand in the way any more', async () => {
    const { owner: first, ownerId } = await service.newProject();
    const device_id = newId('device');
    const missing = withKey(newId('key'));
    const notThere = await first.post<object>(`/devices/${device_id}/keys`, missing);
    expect(notThere).toMatchObject(NOT_FOUND);
    await addDevice({ device_id }, first);
    const exists = withKey(newId('key'), { device_id });
    const refused = await first.post('/devices', exists);
    expect(refused).toMatchObject(problem(409, 'device-exists'));
    for (const [path, options, answer] of [
      [`/devices/${device_id}/keys`, missing, notThere],
      ['/devices', exists, refused],
    ] as const) {
      const again = await first.post(path, options);
      expect(again).toMatchObject({ status: answer.status, text: answer.text });
      expect(again.headers.get('Idempotency-Replayed')).toBe('true');
      expect(again.headers.get('Content-Type')).toBe('application/problem+json');
    }
    expect(ownerId).not.toBe('');
  });

  test('brings nothing back: a removed member and a revoked key stay what they are', async () => {
    const options = withKey(newId('key'), { name: 'M', role: 'member' });
    const { body } = await owner.post<Member & { key: string }>('/members', options);
    await owner.delete(`/members/${body.id}`);
    expect(await owner.post('/members', options)).toMatchObject({ status: 201, body });
    expect(await service.client(body.key).get('/devices')).toMatchObject(UNAUTHENTICATED);
    const device = await addDevice();
    const path = `/devices/${device.device_id}/keys`;
    const again = withKey(newId('key'));
    const issued = await owner.post<{ id: string; key: string }>(path, again);
    await owner.delete(`/keys/${issued.body.id}`);
    expect(await owner.post(path, again)).toMatchObject({ status: 201, text: issued.text });
    expect(await service.client(issued.body.key).get('/devices')).toMatchObject(UNAUTHENTICATED);
  });

  test('does not open to others what they may not do', async () => {
    const viewer = service.client((await addMember('viewer')).key);
    const options = withKey(newId('key'), { device_id: newId('device') });
    await owner.post('/devices', options);
    expect(await viewer.post('/devices', options)).toMatchObject(FORBIDDEN);
  });

  test('is free again after a request that was not understood', async () => {
    const key = newId('key');
    expect(await owner.post('/devices', withKey(key, {}))).toMatchObject(INVALID);
    const json = { device_id: newId('device') };
    expect(await owner.post('/devices', withKey(key, json))).toMatchObject({ status: 201 });
  });
});

describe('secrets', () => {
  test('are nowhere in the database, nor are the idempotency keys they are derived from', async () => {
    const secretKey = `idempotency-${newId('secret')}-that-nobody-may-learn`;
    const keys = [
      (await addMember('owner')).key,
      (await addDevice()).key,
      (
        await owner.post<{ key: string }>('/devices', {
          json: { device_id: newId('device') },
          headers: { 'idempotency-key': secretKey },
        })
      ).body.key,
      (
        await service.admin.post<{ owner: { key: string } }>('/projects', {
          json: { name: 'x' },
          headers: { 'idempotency-key': `admin-${secretKey}` },
        })
      ).body.owner.key,
    ];
    // The read models hold all of it, too.
    await owner.walk('/keys');
    const logged = await service.admin.walk('/admin/log');
    const rows = [...(await everyRow()), ...logged.map((event) => JSON.stringify(event))];
    const found = rows.filter((row) => row.includes('KeyIssued'));
    expect(found.length).toBeGreaterThanOrEqual(keys.length);
    const secrets = [ADMIN_KEY, secretKey, ...keys.map((key) => key.split('_')[3] ?? '')];
    for (const secret of secrets) {
      expect(secret.length).toBeGreaterThan(20);
      expect(rows.filter((row) => row.includes(secret))).toEqual([]);
    }
  });

  async function everyRow(): Promise<string[]> {
    const opened = openDatabase({ url: database.url, logger: createLogger('silent') });
    try {
      const tables = await opened.query<{ name: string }>({
        text: `
          select format('%I.%I', table_schema, table_name) as name
          from information_schema.tables
          where table_type = 'BASE TABLE'
            and table_schema not in ('pg_catalog', 'information_schema')`,
      });
      const rows = await Promise.all(
        tables.map(({ name }) =>
          opened.query<{ row: string }>({ text: `select t::text as row from ${name} t` }),
        ),
      );
      return rows.flat().map(({ row }) => row);
    } finally {
      await opened.close();
    }
  }
});
