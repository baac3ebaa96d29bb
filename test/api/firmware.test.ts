import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createTestDatabase } from '../database/test-database.ts';
import {
  nextLink,
  problem,
  startTestService,
  type ApiClient,
  type TestService,
} from './api-client.ts';

const database = createTestDatabase();
let service: TestService;
let owner: ApiClient;

beforeAll(async () => {
  service = await startTestService(database.url);
  ({ owner } = await service.newProject());
});
afterAll(() => service.stop());

interface Report {
  readonly id: string;
  readonly device_id: string;
  readonly component: string;
  readonly version: string;
  readonly timestamp: string;
  readonly received_at: string;
}

interface TestDevice {
  readonly id: string;
  readonly client: ApiClient;
}

async function newDevice(by = owner): Promise<TestDevice> {
  const id = `device-${randomBytes(4).toString('hex')}`;
  const { body } = await by.post<{ key: string }>('/devices', { json: { device_id: id } });
  return { id, client: service.client(body.key) };
}

function report({ client }: TestDevice, version: string, timestamp: unknown, more: object = {}) {
  return client.post<{ message: string; event_id: string }>('/firmware', {
    json: { version, timestamp, ...more },
  });
}

describe('a report', () => {
  test('is kept for each device, also when their clients make the same idempotency keys', async () => {
    const [one, other] = [await newDevice(), await newDevice()];
    const json = { version: '1.0.0', timestamp: 1_700_000_000 };
    const headers = { 'idempotency-key': 'report-1' };
    const answers = [];
    for (const { client } of [one, other, one]) {
      answers.push(await client.post<{ event_id: string }>('/firmware', { json, headers }));
    }
    expect(answers.map(({ status }) => status)).toEqual([202, 202, 202]);
    expect(answers[2]?.body).toEqual(answers[0]?.body);
    expect(answers[1]?.body.event_id).not.toBe(answers[0]?.body.event_id);
    expect(answers.map((answer) => answer.headers.get('idempotency-replayed'))).toEqual([
      null,
      null,
      'true',
    ]);
    for (const { id } of [one, other]) {
      const { body } = await owner.get<{ items: Report[] }>(`/devices/${id}/firmware`);
      expect(body.items).toMatchObject([{ device_id: id, version: '1.0.0' }]);
    }
  });

  test('is accepted, and stands in the history with the time of the device', async () => {
    const device = await newDevice();
    const answer = await report(device, '1.0.0', 123456677);
    expect(answer).toMatchObject({
      status: 202,
      body: { message: 'Update Accepted.', event_id: expect.any(String) as string },
    });

    const { status, body } = await owner.get<Report[]>(`/firmware?device_id=${device.id}`);
    expect(status).toBe(200);
    expect(body).toEqual([
      {
        id: answer.body.event_id,
        device_id: device.id,
        component: 'main',
        version: '1.0.0',
        hardware: null,
        timestamp: '1973-11-29T21:31:17.000Z',
        received_at: expect.any(String),
        clock: 'implausible',
      },
    ]);
  });

  test('of the same again records nothing, and names the first event', async () => {
    const device = await newDevice();
    const first = await report(device, '1.0.0', 1_000);
    const again = await report(device, '1.0.0', '1970-01-01T00:16:40Z', { component: 'main' });
    expect(again.body).toEqual(first.body);
    const { body } = await owner.get<Report[]>(`/firmware?device_id=${device.id}`);
    expect(body).toHaveLength(1);
  });

  test.each([
    '1.0.0',
    '0.0.4',
    '1.0.0-alpha.1',
    '1.0.0-0A.is.legal',
    '1.0.0+0.build.1-rc.10000aaa-kk-0.1',
    '2.1.0-rc.1+build.7',
    '1.1.2-prerelease+meta',
  ])('of the version %s is kept as it is', async (version) => {
    const device = await newDevice();
    expect(await report(device, version, 1_000)).toMatchObject({ status: 202 });
    const { body } = await owner.get<Report[]>(`/firmware?device_id=${device.id}`);
    expect(body[0]?.version).toBe(version);
  });

  test.each([
    [{ version: '1.0' }, 'body.version'],
    [{ version: 'v1.0.0' }, 'body.version'],
    [{ version: '01.0.0' }, 'body.version'],
    [{ version: '1.0.0-' }, 'body.version'],
    [{ version: '1.0.0-01' }, 'body.version'],
    [{ version: ' 1.0.0' }, 'body.version'],
    [{ version: '1.0.0 ' }, 'body.version'],
    [{ version: '1.0.0\n' }, 'body.version'],
    [{ version: 1 }, 'body.version'],
    [{ version: undefined }, 'body.version'],
    [{ timestamp: undefined }, 'body.timestamp'],
    [{ timestamp: -1 }, 'body.timestamp'],
    [{ timestamp: 'yesterday' }, 'body.timestamp'],
    [{ timestamp: Date.now() / 1_000 + 90_000 }, 'body.timestamp'],
    [{ component: '' }, 'body.component'],
    [{ component: 'x'.repeat(129) }, 'body.component'],
    [{ hardware: 7 }, 'body.hardware'],
  ])('with %j is refused with 400', async (change, path) => {
    const device = await newDevice();
    const answer = await report(device, '1.0.0', 1_000, change);
    expect(answer).toMatchObject(problem(400, 'bad-request'));
    expect(answer.body).toMatchObject({ errors: [{ path }] });
    expect((await owner.get(`/firmware?device_id=${device.id}`)).body).toEqual([]);
  });

  test('an hour ahead is kept: clocks are wrong', async () => {
    const device = await newDevice();
    const ahead = new Date(Date.now() + 3_600_000).toISOString();
    expect(await report(device, '1.0.0', ahead)).toMatchObject({ status: 202 });
  });

  test('is refused for what is wrong with the request itself', async () => {
    const { client } = await newDevice();
    const body = JSON.stringify({ version: '1.0.0', timestamp: 1 });
    const typed = (type: string) => ({ body, headers: { 'content-type': type } });
    expect(await client.post('/firmware', typed('text/plain'))).toMatchObject(
      problem(415, 'unsupported-media-type'),
    );
    expect(await client.post('/firmware', typed('application/json; charset=utf-8'))).toMatchObject({
      status: 202,
    });
    const broken = { body: '{', headers: { 'content-type': 'application/json' } };
    expect(await client.post('/firmware', broken)).toMatchObject(problem(400, 'malformed-json'));
    expect(await service.client().post('/firmware', { json: {} })).toMatchObject(
      problem(401, 'unauthenticated'),
    );
    expect(await owner.post('/firmware', { json: {} })).toMatchObject(problem(403, 'forbidden'));
  });
});

describe('the reports of a device', () => {
  test('come newest first, page by page, and as of a position', async () => {
    const device = await newDevice();
    const days = [3, 1, 5, 2, 4];
    let third = '';
    for (const [index, day] of days.entries()) {
      const { headers } = await report(device, `1.0.${day}`, `2026-01-0${day}T00:00:00Z`);
      if (index === 2) third = headers.get('Fleetledger-Position') ?? '';
    }
    const bare: string[] = [];
    let path: string | undefined = `/firmware?device_id=${device.id}&limit=2`;
    while (path !== undefined) {
      const { body, headers }: { body: Report[]; headers: Headers } = await owner.get(path);
      bare.push(...body.map(({ version }) => version));
      path = nextLink(headers);
      // Neither what belongs before nor what belongs behind disturbs the walk.
      await report(device, `2.0.${bare.length}`, '2026-01-09T00:00:00Z');
      await report(device, `0.0.${bare.length}`, '2025-01-09T00:00:00Z');
    }
    expect(bare).toEqual(['1.0.5', '1.0.4', '1.0.3', '1.0.2', '1.0.1']);

    const then = await owner.walk<Report>(`/devices/${device.id}/firmware?as_of=${third}&limit=2`);
    expect(then.map(({ version }) => version)).toEqual(['1.0.5', '1.0.3', '1.0.1']);
  });

  test('are there for who may read them, and not found elsewhere', async () => {
    const device = await newDevice();
    const stranger = (await service.newProject()).owner;
    expect(await owner.get(`/firmware?device_id=${device.id}`)).toMatchObject({
      status: 200,
      body: [],
    });
    for (const path of [
      `/firmware?device_id=${device.id}`,
      `/devices/${device.id}/firmware`,
      `/devices/${device.id}/firmware/current`,
    ]) {
      expect(await stranger.get(path), path).toMatchObject(problem(404, 'not-found'));
    }
    expect(await device.client.get(`/firmware?device_id=${device.id}`)).toMatchObject(
      problem(403, 'forbidden'),
    );
    expect(await owner.get('/firmware')).toMatchObject(problem(400, 'bad-request'));
    expect(await owner.get('/firmware?device_id=')).toMatchObject(problem(400, 'bad-request'));
    expect(await owner.get('/firmware?device_id=nobody')).toMatchObject(problem(404, 'not-found'));
    expect(await owner.get(`/firmware?device_id=${device.id}&limit=0`)).toMatchObject(
      problem(400, 'bad-request'),
    );
  });
});

/** Epoch seconds of the first of January 2026. */
const T = 1_767_225_600;

describe('what a device has now', () => {
  test('is what arrived last where its clock was reset or is ahead', async () => {
    const device = await newDevice();
    await report(device, '1.0.0', T);
    await report(device, '2.0.0', 5);
    const current = (): Promise<unknown> =>
      owner
        .get<{ items: object[] }>(`/devices/${device.id}/firmware/current`)
        .then(({ body }) => body.items);
    expect(await current()).toMatchObject([
      { version: '2.0.0', timestamp: '1970-01-01T00:00:05.000Z', downgraded_from: null },
    ]);
    await report(device, '2.1.0', Math.floor(Date.now() / 1_000) + 23 * 3_600);
    await report(device, '2.2.0', new Date().toISOString());
    expect(await current()).toMatchObject([{ version: '2.2.0', downgraded_from: null }]);
    const history = await owner.walk<object>(`/devices/${device.id}/firmware?limit=1`);
    expect(history).toMatchObject([
      { version: '2.2.0', clock: 'plausible' },
      { version: '2.1.0', clock: 'plausible' },
      { version: '2.0.0', clock: 'implausible' },
      { version: '1.0.0', clock: 'plausible' },
    ]);
  });

  test('is read by the device itself, with its history, and by no other device', async () => {
    const [device, other] = [await newDevice(), await newDevice()];
    await report(device, '1.0.0', T);
    for (const path of [
      `/devices/${device.id}/firmware`,
      `/devices/${device.id}/firmware/current`,
    ]) {
      const seen = await device.client.get(path);
      expect(seen).toMatchObject({ status: 200, body: { items: [{ version: '1.0.0' }] } });
      expect((await owner.get(path)).body).toEqual(seen.body);
      expect(await other.client.get(path), path).toMatchObject(problem(403, 'forbidden'));
    }
  });

  test('is told by component, and marked where it went down a version', async () => {
    const device = await newDevice();
    await report(device, '2.0.0', T + 1_000);
    const { headers } = await report(device, '7.0.0', T + 1_000, { component: 'radio' });
    await report(device, '1.9.0', T + 2_000);
    await report(device, '3.0.0', T + 500);
    const asOf = headers.get('Fleetledger-Position') ?? '';

    const now = await owner.get<{ items: object[] }>(`/devices/${device.id}/firmware/current`);
    expect(now.body.items).toMatchObject([
      { component: 'main', version: '1.9.0', downgraded_from: '2.0.0' },
      { component: 'radio', version: '7.0.0', downgraded_from: null },
    ]);
    const then = await owner.get<{ items: object[] }>(
      `/devices/${device.id}/firmware/current?as_of=${asOf}`,
    );
    expect(then.body.items).toMatchObject([
      { component: 'main', version: '2.0.0', downgraded_from: null },
      { component: 'radio', version: '7.0.0' },
    ]);
    const twin = await owner.get<{ firmware: object[]; last_seen_at: string }>(
      `/devices/${device.id}`,
    );
    expect(twin.body.firmware).toEqual(now.body.items);
    expect(Date.parse(twin.body.last_seen_at)).toBeGreaterThan(Date.now() - 60_000);
    const timeline = await owner.get<{ items: { type: string; domain: string }[] }>(
      `/devices/${device.id}/timeline`,
    );
    expect(timeline.body.items.map(({ domain }) => domain)).toEqual([
      ...Array.from({ length: 4 }, () => 'firmware'),
      'tenancy',
      'tenancy',
    ]);
  });

  test('is a filter of the list of devices', async () => {
    const project = await service.newProject();
    const devices = [await newDevice(project.owner), await newDevice(project.owner)];
    for (const device of devices) await report(device, '1.0.0', T + 1_000);
    const [upgraded, other] = devices;
    if (upgraded === undefined || other === undefined) throw new Error('no devices');
    await report(upgraded, '2.0.0', T + 2_000);
    const ids = async (version: string): Promise<string[]> => {
      const found = await project.owner.walk<{ device_id: string }>(`/devices?version=${version}`);
      return found.map(({ device_id: id }) => id);
    };
    expect(await ids('2.0.0')).toEqual([upgraded.id]);
    expect(await ids('1.0.0')).toEqual([other.id]);
    expect(await ids('3.0.0')).toEqual([]);
  });

  test('adds up to the spread of the fleet, now and as it was', async () => {
    const project = await service.newProject();
    const devices = [
      await newDevice(project.owner),
      await newDevice(project.owner),
      await newDevice(project.owner),
    ];
    let asOf = '';
    for (const device of devices) {
      asOf = (await report(device, '1.0.0', T + 1_000)).headers.get('Fleetledger-Position') ?? '';
    }
    if (devices[0]) await report(devices[0], '2.0.0', T + 2_000);

    const { body } = await project.owner.get('/firmware/versions');
    expect(body).toEqual({
      items: [
        {
          component: 'main',
          version: '1.0.0',
          devices: 2,
          share: 2 / 3,
          first_seen_at: '2026-01-01T00:16:40.000Z',
          last_seen_at: '2026-01-01T00:16:40.000Z',
        },
        {
          component: 'main',
          version: '2.0.0',
          devices: 1,
          share: 1 / 3,
          first_seen_at: '2026-01-01T00:33:20.000Z',
          last_seen_at: '2026-01-01T00:33:20.000Z',
        },
      ],
    });
    const then = await project.owner.get(`/firmware/versions?as_of=${asOf}`);
    expect(then.body).toMatchObject({ items: [{ version: '1.0.0', devices: 3, share: 1 }] });
  });
});

describe('the twin of a device', () => {
  test('is not said to be unchanged when its firmware has changed, and is changed by its revision', async () => {
    const device = await newDevice();
    const path = `/devices/${device.id}`;
    const tag = (await owner.get(path)).headers.get('etag') ?? '';
    await report(device, '1.0.0', 1_700_000_000);
    const seen = await owner.get(path, { headers: { 'if-none-match': tag } });
    expect(seen).toMatchObject({ status: 200, body: { firmware: [{ version: '1.0.0' }] } });
    const newTag = seen.headers.get('etag') ?? '';
    expect(await owner.get(path, { headers: { 'if-none-match': newTag } })).toMatchObject({
      status: 304,
    });
    const change = (ifMatch: string) =>
      owner.patch(path, { json: { sim_card_id: '1' }, headers: { 'if-match': ifMatch } });
    expect(await change(newTag)).toMatchObject({ status: 200 });
    expect(await change(newTag)).toMatchObject(problem(412, 'precondition-failed'));
  });

  test(
    'is of one moment, whatever is written meanwhile: that which its position names',
    { tags: ['slow'] },
    async () => {
      const id = `device-${randomBytes(4).toString('hex')}`;
      const { body } = await owner.post<{ key: string }>('/devices', {
        json: { device_id: id, sensor_id: id, sim_card_id: id },
      });
      const device = { id, client: service.client(body.key) };
      let isWriting = true;
      const writing = Promise.all(
        [1, 2, 3].map(async (writer) => {
          for (let n = 0; isWriting; n += 1) {
            await report(device, `${writer}.0.${n}`, 1_700_000_000 + n);
            await device.client.patch(`/sensors/${id}`, { json: { data: { [writer]: n } } });
          }
        }),
      );
      for (let reading = 0; reading < 30; reading += 1) {
        const seen = await owner.get(`/devices/${id}`);
        const position = seen.headers.get('fleetledger-position');
        const again = await owner.get(`/devices/${id}?as_of=${position}`);
        expect(again.body).toEqual(seen.body);
        expect(again.headers.get('etag')).toBe(seen.headers.get('etag'));
      }
      isWriting = false;
      await writing;
    },
  );
});
