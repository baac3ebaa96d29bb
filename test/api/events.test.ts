import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from 'vitest';
import { createTestDatabase } from '../database/test-database.ts';
import { follow, type Message, type SseConnection } from '../followers/sse-client.ts';
import {
  connectTo,
  problem,
  startTestService,
  type ApiClient,
  type TestProject,
  type TestService,
} from './api-client.ts';

const eventually = <Result>(check: () => Result) =>
  vi.waitFor(check, { timeout: 20_000, interval: 10 });

type Entry = Readonly<Record<'position' | 'type' | 'stream', string>> & {
  readonly data: Readonly<Record<string, unknown>>;
};
type Page = { readonly items: Entry[] };

const database = createTestDatabase();
let service: TestService;
let project: TestProject;

beforeAll(async () => {
  service = await startTestService(database.url, { lorawanApiUrl: 'http://127.0.0.1:1' });
  project = await service.newProject();
});
afterAll(() => service.stop());

const patch = (n: number, sensor = 's1', client = project.owner) =>
  client.patch(`/sensors/${sensor}`, { json: { data: { n } } });

async function stream(path: string, client: ApiClient = project.owner, lastEventId?: string) {
  return await follow({ url: service.url, key: client.key, path, lastEventId });
}

async function member(role: string, owner = project.owner): Promise<ApiClient & { id: string }> {
  const json = { name: role, role };
  const { body } = await owner.post<{ id: string; key: string }>('/members', { json });
  return Object.assign(service.client(body.key), { id: body.id });
}

async function device(id: string, links: object, owner = project.owner): Promise<ApiClient> {
  const json = { device_id: id, ...links };
  const { body } = await owner.post<{ key: string }>('/devices', { json });
  return service.client(body.key);
}

const received = (connection: SseConnection, count: number): Promise<Message[]> =>
  eventually(() => {
    expect(connection.messages).toHaveLength(count);
    return connection.messages;
  });

const numbers = ({ messages }: SseConnection): unknown[] =>
  messages.map(({ data }) => (data['data'] as { patch?: { n?: number } }).patch?.n);

describe('GET /events as an event stream', () => {
  test('begins now, and names each event by its position and type', async () => {
    await patch(1);
    const connection = await stream('/events');
    expect(connection.status).toBe(200);
    expect(connection.headers).toMatchObject({
      'content-type': 'text/event-stream',
      'cache-control': 'no-store',
    });
    const { headers } = await patch(2);
    expect((await received(connection, 1))[0]).toEqual({
      id: headers.get('fleetledger-position'),
      event: 'SensorPatched',
      data: {
        position: headers.get('fleetledger-position'),
        event_id: expect.any(String),
        type: 'SensorPatched',
        domain: 'state',
        stream: `sensor-${project.id}.s1`,
        revision: 1,
        subject: 'sensors/s1',
        occurred_at: null,
        recorded_at: expect.any(String),
        actor: expect.any(String),
        data: { sensorId: 's1', patch: { n: 2 } },
      },
    });
  });

  test('resumes after Last-Event-ID, which counts more than after', async () => {
    const positions: string[] = [];
    for (const n of [10, 11, 12]) {
      positions.push((await patch(n)).headers.get('fleetledger-position') ?? '');
    }
    const path = `/events?sensor_id=s1&after=${positions[0]}`;
    const after = await stream(path);
    const resumed = await stream(path, project.owner, positions[1]);
    await received(after, 2);
    await received(resumed, 1);
    await patch(13);
    await received(after, 3);
    await received(resumed, 2);
    expect(numbers(after)).toEqual([11, 12, 13]);
    expect(numbers(resumed)).toEqual([12, 13]);
  });

  test('says where it begins, so that who loses it at once misses nothing', async () => {
    const connection = await stream('/events');
    expect(connection.lastEventId).toBe(connection.headers['fleetledger-position']);
    connection.close();
    await patch(20);
    const resumed = await stream('/events', project.owner, connection.lastEventId);
    await received(resumed, 1);
    expect(numbers(resumed)).toEqual([20]);
  });

  test('has types, domains, a sensor and a device, as far as they are asked for', async () => {
    const { owner } = await service.newProject();
    const key = await device('d1', { sensor_id: 'p1' }, owner);
    const typed = await stream('/events?types=SensorPatched,FirmwareReported', owner);
    const domain = await stream('/events?domains=firmware', owner);
    const sensor = await stream('/events?sensor_id=p1', owner);
    const ofDevice = await stream('/events?device_id=d1', owner);
    const ofKey = await stream('/events', key);
    await patch(1, 'p1', owner);
    await patch(2, 'p2', owner);
    await key.post('/firmware', { json: { version: '1.0.0', timestamp: 1_767_225_600 } });
    await owner.patch('/devices/d1', { json: { sensor_id: 'p2' } });
    await patch(3, 'p1', owner);
    await patch(4, 'p2', owner);
    const types = ({ messages }: SseConnection) => messages.map(({ event }) => event);
    await eventually(() => expect(numbers(typed)).toEqual([1, 2, undefined, 3, 4]));
    await eventually(() => expect(numbers(sensor)).toEqual([1, 3]));
    await eventually(() => expect(types(domain)).toEqual(['FirmwareReported']));
    const all = ['SensorPatched', 'FirmwareReported', 'DeviceChanged', 'SensorPatched'];
    await eventually(() => expect(types(ofDevice)).toEqual(all));
    await eventually(() => expect(ofKey.text).toContain('DeviceChanged'));
    expect(
      types(ofKey)
        .filter((type) => type !== 'DeviceSeen')
        .slice(0, 4),
    ).toEqual(all.slice(0, types(ofKey).length));
  });

  test('is refused where a filter or a position cannot be meant', async () => {
    const { owner } = project;
    const head = (await owner.get('/sensors')).headers.get('fleetledger-position') ?? '';
    const elsewhere = problem(422, 'position-of-another-log');
    for (const position of ['00000000-1', `${head.split('-')[0]}-99999999999`]) {
      expect(await owner.get(`/events?after=${position}`)).toMatchObject(elsewhere);
    }
    const events = { accept: 'text/event-stream' };
    for (const [path, query, headers] of [
      ['query.types', 'types=SensorPatch', {}],
      ['query.domains', 'domains=states', {}],
      ['query.after', 'after=yesterday', {}],
      ['query.limit', 'limit=1', events],
      ['query.cursor', 'cursor=1', events],
      ['header.Last-Event-ID', '', { ...events, 'last-event-id': 'x' }],
    ] as const) {
      const answer = await owner.get(`/events?${query}`, { headers });
      expect(answer).toMatchObject({ status: 422, body: { errors: [{ path }] } });
    }
    expect((await owner.get('/events?types=SensorPatch')).text).toContain('SensorPatched');
  });

  test('a device key sees its own device alone', async () => {
    const key = await device('own', { sensor_id: 'own-sensor' });
    await device('another', { sensor_id: 'another-sensor' });
    expect(await key.get('/events?device_id=another')).toMatchObject(problem(403, 'forbidden'));
    const connection = await stream('/events', key);
    await patch(1, 'another-sensor');
    await patch(2, 'own-sensor');
    await eventually(() => expect(numbers(connection)).toContain(2));
    expect(numbers(connection)).not.toContain(1);
  });

  test('owners alone are shown members and their keys', async () => {
    const viewer = await member('viewer');
    const [ofOwner, ofViewer] = [await stream('/events'), await stream('/events', viewer)];
    await member('viewer');
    await patch(30);
    await eventually(() => expect(numbers(ofViewer)).toContain(30));
    await eventually(() => expect(ofOwner.text).toContain('MemberAdded'));
    expect(ofOwner.text).toContain('KeyIssued');
    expect(ofOwner.text).not.toMatch(/hash/i);
    expect(ofViewer.text).not.toMatch(/MemberAdded|KeyIssued/);
  });

  test('HEAD gives the head alone', async () => {
    const headers = { accept: 'text/event-stream' };
    const answer = await project.owner.send('HEAD', '/events', { headers });
    expect([answer.status, answer.headers.get('content-type')]).toEqual([200, headers.accept]);
  });
});

describe('who may follow no longer', () => {
  test('a revoked key, a removed member and a retired device end their streams', async () => {
    const { owner } = project;
    const removed = await member('viewer');
    const { body: key } = await owner.post<{ id: string; key: string }>(
      `/members/${project.ownerId}/keys`,
    );
    const retired = await device('retired', {});
    const streams = {
      removed: await stream('/events', removed),
      revoked: await stream('/events', service.client(key.key)),
      retired: await stream('/events', retired),
      kept: await stream('/events'),
    };
    await owner.delete(`/members/${removed.id}`);
    await owner.delete(`/keys/${key.id}`);
    await owner.delete('/devices/retired');
    for (const ended of [streams.removed, streams.revoked, streams.retired]) {
      await eventually(() => expect(ended.ended).toBe('properly'));
    }
    expect(streams.kept.ended).toBeUndefined();
    await patch(40);
    await eventually(() => expect(numbers(streams.kept)).toContain(40));
    expect((await service.client(key.key).get('/events')).status).toBe(401);
  });

  test('a stream in another process ends, too', async () => {
    const other = await startTestService(database.url, { roles: ['api'] });
    onTestFinished(() => other.stop());
    const viewer = await member('viewer');
    const there = await follow({ url: other.url, key: viewer.key });
    await patch(45);
    await eventually(() => expect(numbers(there)).toEqual([45]));
    await project.owner.delete(`/members/${viewer.id}`);
    await eventually(() => expect(there.ended).toBe('properly'));
    expect((await other.client(viewer.key).get('/events')).status).toBe(401);
  });

  test('a request that waits is refused when its key is revoked', async () => {
    const viewer = await member('viewer');
    const waiting = waitForEvents(viewer, '?types=BatchHidden', 30);
    await project.owner.delete(`/members/${viewer.id}`);
    expect(await waiting).toMatchObject(problem(401, 'unauthenticated'));
  });
});

const waitForEvents = (client: ApiClient, query: string, seconds: number) =>
  client.get<Page>(`/events${query}`, { headers: { prefer: `wait=${seconds}` } });

describe('GET /events as pages', () => {
  test('gives what a stream gives, oldest first, and says where to continue', async () => {
    const { owner } = await service.newProject();
    for (const n of [1, 2, 3, 4, 5]) await patch(n, 'p', owner);
    const all = await owner.walk<Entry>('/events?types=SensorPatched&limit=2');
    expect(all.map(({ data }) => data['patch'])).toEqual([1, 2, 3, 4, 5].map((n) => ({ n })));
    const first = await owner.get<Page>('/events?types=SensorPatched&limit=2');
    const position = first.headers.get('fleetledger-position') ?? '';
    expect(position).toBe(first.body.items[1]?.position);
    const rest = await owner.get<Page>(`/events?types=SensorPatched&after=${position}`);
    expect(rest.body).toEqual({ items: all.slice(2), next: null });
    const whole = await owner.walk<Entry>('/events');
    const streamed = await stream(`/events?after=2000-01-01`, owner);
    await received(streamed, whole.length);
    expect(streamed.messages.map(({ data }) => data)).toEqual(whole);
  });

  test('waits until something comes, and no longer', async () => {
    const { owner } = await service.newProject();
    const head = (await owner.get<Page>('/events')).headers.get('fleetledger-position') ?? '';
    const waiting = waitForEvents(owner, `?after=${head}&sensor_id=w`, 60);
    await patch(1, 'other', owner);
    await patch(2, 'w', owner);
    const { body, headers } = await waiting;
    expect(body.items.map(({ data }) => data['patch'])).toEqual([{ n: 2 }]);
    expect(headers.get('preference-applied')).toBe('wait=60');
    const next = headers.get('fleetledger-position') ?? '';
    const nothing = await waitForEvents(owner, `?after=${next}`, 1);
    expect(nothing.body).toEqual({ items: [], next: null });
    await patch(3, 'w', owner);
    const later = nothing.headers.get('fleetledger-position') ?? '';
    expect((await waitForEvents(owner, `?after=${later}`, 60)).body.items).toHaveLength(1);
  });
});

describe('GET /admin/events', () => {
  test('has the events of all projects, or of one', async () => {
    const [one, two] = [await service.newProject(), await service.newProject()];
    const all = await stream('/admin/events', service.admin);
    const ofOne = await stream(`/admin/events?project=${one.id}`, service.admin);
    await patch(1, 's', one.owner);
    await patch(2, 's', two.owner);
    await eventually(() => expect(numbers(all)).toEqual([1, 2]));
    await patch(3, 's', one.owner);
    await eventually(() => expect(numbers(ofOne)).toEqual([1, 3]));
    const pages = await service.admin.walk<Entry>(`/admin/events?project=${two.id}`);
    expect(pages.every(({ stream: name }) => name.includes(`-${two.id}.`))).toBe(true);
    expect(pages.map(({ type }) => type)).toContain('ProjectCreated');
  });
});

describe('projects apart', () => {
  test('no stream shows an event of another project', async () => {
    const [mine, theirs] = [await service.newProject(), await service.newProject()];
    const key = await device('same', { sensor_id: 'same' }, mine.owner);
    await device('same', { sensor_id: 'same' }, theirs.owner);
    const streams = [
      await stream('/events', mine.owner),
      await stream('/events?device_id=same', mine.owner),
      await stream('/events?sensor_id=same', mine.owner),
      await stream('/events', key),
    ];
    await patch(666, 'same', theirs.owner);
    await patch(1, 'same', mine.owner);
    for (const connection of streams) {
      await eventually(() => expect(numbers(connection)).toContain(1));
      expect(connection.text).not.toContain('666');
    }
  });
});

describe('a read of one thing as an event stream', () => {
  test('gives the state of a sensor, and again whenever it changes', async () => {
    await patch(1, 'followed');
    const connection = await stream('/sensors/followed');
    await received(connection, 1);
    await patch(2, 'followed');
    await received(connection, 2);
    await patch(2, 'followed'); // A duplicate changes nothing.
    await patch(9, 'not-followed');
    await patch(3, 'followed');
    const messages = await received(connection, 3);
    for (const { id, event, data } of messages) {
      expect(event).toBeUndefined();
      const { body } = await project.owner.get(`/sensors/followed?as_of=${id}`);
      expect(data).toEqual(body);
    }
    expect(messages.at(-1)?.data).toEqual((await project.owner.get('/sensors/followed')).body);
  });

  test('gives the page of a device, after firmware, state and links as well', async () => {
    const key = await device('whole', { sensor_id: 'whole-1', sim_card_id: 'whole-sim' });
    const connection = await stream('/devices/whole');
    const shows = (part: object) =>
      eventually(() => expect(connection.messages.at(-1)?.data).toMatchObject(part));
    await shows({ sensor_id: 'whole-1', state: null, firmware: [] });
    await key.post('/firmware', { json: { version: '2.0.0', timestamp: 1_767_225_600 } });
    await shows({ firmware: [{ version: '2.0.0' }] });
    await patch(7, 'whole-1');
    await shows({ state: { n: 7 } });
    const date = new Date().toISOString();
    await project.owner.post('/usage', {
      json: { 'sim-card-id': 'whole-sim', 'bytes-used': 5, date },
    });
    await shows({ usage_this_month: 5 });
    await project.owner.patch('/devices/whole', { json: { sensor_id: null } });
    await shows({ sensor_id: null, state: null });
    await shows((await project.owner.get<object>('/devices/whole')).body);
  });

  test('gives a batch until it is hidden', async () => {
    const { body } = await project.owner.post<{ id: string }>('/batches', {
      json: { batch_size: 2 },
    });
    const connection = await stream(`/batches/${body.id}`);
    await received(connection, 1);
    await project.owner.delete(`/batches/${body.id}`);
    await eventually(() =>
      expect(connection.messages.at(-1)?.data).toMatchObject({ status: 'Stopped' }),
    );
    await project.owner.delete(`/batches/${body.id}`);
    await eventually(() => expect(connection.ended).toBe('properly'));
  });

  test('is refused for what is not there, or was', async () => {
    const accept = { headers: { accept: 'text/event-stream' } };
    expect(await project.owner.get('/sensors/nowhere', accept)).toMatchObject(
      problem(404, 'not-found'),
    );
    await patch(1, 'was');
    expect(await project.owner.get('/sensors/was?revision=0', accept)).toMatchObject(
      problem(422, 'validation-failed'),
    );
  });
});

describe('a process that drains', () => {
  test('ends its streams properly, says when to come back, and answers who waits', async () => {
    const other = await startTestService(database.url, { roles: ['api'] });
    // The connections of a test service are closed before it is stopped.
    const api = await connectTo(other.url);
    onTestFinished(() => api.leave());
    const connection = await follow({ url: other.url, key: project.owner.key });
    const client = api.client(project.owner.key);
    const waiting = waitForEvents(client, '?types=BatchHidden&after=2999-01-01', 30);
    await eventually(async () =>
      expect((await client.get('//metrics')).text).toMatch(/streams_open 2$/m),
    );
    await other.stop();
    expect(connection.ended).toBe('properly');
    expect(connection.retry).toBeGreaterThan(0);
    expect((await waiting).body).toEqual({ items: [], next: null });
    const resumed = await stream('/events', project.owner, connection.lastEventId);
    await patch(51);
    await eventually(() => expect(numbers(resumed)).toEqual([51]));
  });
});
