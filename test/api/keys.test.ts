import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { createTestDatabase } from '../database/test-database.ts';
import {
  problem,
  startTestService,
  type ApiClient,
  type TestProject,
  type TestService,
} from './api-client.ts';

const database = createTestDatabase();
let service: TestService;
/** Another process would be no different: nothing in it is shared but the database. */
let otherService: TestService;
let project: TestProject;
let owner: ApiClient;

const UNAUTHENTICATED = problem(401, 'unauthenticated');

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

interface NewMember {
  readonly id: string;
  readonly key: string;
}

async function addMember(role: 'owner' | 'member'): Promise<NewMember> {
  return (await owner.post<NewMember>('/members', { json: { name: 'M', role } })).body;
}

/** The id in a key: `fl_<kind>_<id>_<secret>`. */
function keyId(key: string): string {
  return key.split('_')[2] ?? '';
}

test('the last key of the last owner stays', async () => {
  const { owner: only } = await service.newProject();
  const path = `/keys/${keyId(only.key ?? '')}`;
  expect(await only.delete(path)).toMatchObject(problem(409, 'last-owner'));
  const { body } = await only.post<NewMember>('/members', { json: { name: 'M', role: 'owner' } });
  expect(await only.delete(path)).toMatchObject({ status: 204 });
  expect(await service.client(body.key).get('/keys')).toMatchObject({ status: 200 });
});

test('a device is seen when its key is used, once in minutes, by whatever process', async () => {
  const json = { device_id: 'seen', sensor_id: 'seen' };
  const { key } = (await owner.post<{ key: string }>('/devices', { json })).body;
  const sightings = async (): Promise<number> =>
    (await service.admin.walk('/admin/log?type=DeviceSeen')).length;
  const before = await sightings();
  for (const { client } of [service, otherService]) {
    for (let n = 0; n < 3; n += 1) await client(key).get('/sensors/seen');
  }
  await expect
    .poll(async () => (await owner.get<{ last_seen_at: unknown }>('/devices/seen')).body)
    .toMatchObject({ last_seen_at: expect.any(String) as string });
  expect(await sightings()).toBe(before + 1);
});

test('a device that reports is seen by that, without a further event', async () => {
  const json = { device_id: 'reports', sensor_id: 'reports' };
  const { key } = (await owner.post<{ key: string }>('/devices', { json })).body;
  const patch = { json: { data: { n: 1 } } };
  for (let n = 0; n < 3; n += 1) await service.client(key).patch('/sensors/reports', patch);
  const log = await service.admin.walk<{ stream: string }>('/admin/log?type=DeviceSeen');
  expect(log.filter(({ stream }) => stream.includes('reports'))).toEqual([]);
});

describe('while the read model of keys is paused', () => {
  let member: NewMember;

  beforeEach(async () => {
    member = await addMember('owner');
    expect(await otherService.client(member.key).get('/keys')).toMatchObject({ status: 200 });
    await service.admin.post('/admin/projections/tenancy/pause');
  });
  afterEach(() => service.admin.post('/admin/projections/tenancy/resume'));

  test('a key is revoked, for every process and for one that starts', async () => {
    expect(await owner.delete(`/keys/${keyId(member.key)}`)).toMatchObject({ status: 204 });
    expect(await service.client(member.key).get('/keys')).toMatchObject(UNAUTHENTICATED);
    await expect
      .poll(() => otherService.client(member.key).get('/keys'))
      .toMatchObject(UNAUTHENTICATED);

    const started = await startTestService(database.url);
    try {
      const post = { json: { name: 'M', role: 'owner' } };
      expect(await started.client(member.key).post('/members', post)).toMatchObject(
        UNAUTHENTICATED,
      );
      expect(await started.client(owner.key).post('/members', post)).toMatchObject({ status: 201 });
    } finally {
      await started.stop();
    }
  });

  test('a key is issued, accepted by every process, and revoked', async () => {
    const { key } = await addMember('owner');
    for (const { client } of [service, otherService]) {
      const json = { name: 'M', role: 'member' };
      expect(await client(key).post('/members', { json })).toMatchObject({ status: 201 });
    }
    expect(await owner.delete(`/keys/${keyId(key)}`)).toMatchObject({ status: 204 });
    const json = { name: 'M', role: 'member' };
    expect(await service.client(key).post('/members', { json })).toMatchObject(UNAUTHENTICATED);
  });
});
