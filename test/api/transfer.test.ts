import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
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
let from: TestProject;
let to: TestProject;

beforeAll(async () => {
  service = await startTestService(database.url);
  otherService = await startTestService(database.url);
  from = await service.newProject();
  to = await service.newProject();
});
afterAll(async () => {
  await service.stop();
  await otherService.stop();
});

interface Device {
  readonly id: string;
  readonly client: ApiClient;
}

async function newDevice(by: TestProject = from, id = newId()): Promise<Device> {
  const json = { device_id: id, sensor_id: `${id}-flow`, sim_card_id: `8944-${id}` };
  const { body } = await by.owner.post<{ key: string }>('/devices', { json });
  return { id, client: service.client(body.key) };
}

function newId(): string {
  return `device-${randomBytes(4).toString('hex')}`;
}

function transfer({ id }: Pick<Device, 'id'>, target = to.id, project = from.id) {
  return service.admin.post(`/devices/${id}/transfer?project=${project}`, { json: { to: target } });
}

describe('a device that is transferred', () => {
  test('continues in the other project with its links and its keys', async () => {
    const device = await newDevice();
    const second = await from.owner.post<{ id: string; key: string }>(`/devices/${device.id}/keys`);
    const revoked = await from.owner.post<{ id: string; key: string }>(
      `/devices/${device.id}/keys`,
    );
    await from.owner.delete(`/keys/${revoked.body.id}`);
    const elsewhere = otherService.client(device.client.key);
    await elsewhere.patch(`/sensors/${device.id}-flow`, { json: { data: { n: 1 } } });
    await device.client.post('/firmware', { json: { version: '1.0.0', timestamp: 1 } });

    expect(await transfer(device)).toMatchObject({
      status: 200,
      body: { device_id: device.id, from: from.id, to: to.id },
    });

    expect((await to.owner.get(`/devices/${device.id}`)).body).toMatchObject({
      device_id: device.id,
      sensor_id: `${device.id}-flow`,
      sim_card_id: `8944-${device.id}`,
      retired_at: null,
      firmware: [],
      state: null,
    });
    for (const client of [device.client, elsewhere, service.client(second.body.key)]) {
      const patch = { json: { data: { n: 2 } } };
      await expect
        .poll(async () => (await client.patch(`/sensors/${device.id}-flow`, patch)).status)
        .toBe(200);
    }
    expect((await to.owner.get(`/sensors/${device.id}-flow`)).body).toMatchObject({
      data: { current: { n: 2 } },
    });
    expect(await service.client(revoked.body.key).get('/sensors/x')).toMatchObject(
      problem(401, 'unauthenticated'),
    );
    await device.client.post('/firmware', { json: { version: '2.0.0', timestamp: 2 } });
    expect((await to.owner.get(`/firmware?device_id=${device.id}`)).body).toMatchObject([
      { version: '2.0.0' },
    ]);
  });

  test('does not tell the other project where it comes from', async () => {
    const device = await newDevice();
    await transfer(device);
    const answers = await Promise.all([
      to.owner.walk(`/devices/${device.id}/timeline`),
      to.owner.get(`/devices/${device.id}`),
      to.owner.walk('/devices'),
      to.owner.walk('/keys'),
    ]);
    expect(JSON.stringify(answers)).toContain(device.id);
    expect(JSON.stringify(answers)).not.toContain(from.id);
  });

  test('leaves its history where it was reported', async () => {
    const device = await newDevice();
    await device.client.patch(`/sensors/${device.id}-flow`, { json: { data: { n: 1 } } });
    await device.client.post('/firmware', { json: { version: '1.0.0', timestamp: 1 } });
    await transfer(device);

    expect((await from.owner.get(`/firmware?device_id=${device.id}`)).body).toMatchObject([
      { version: '1.0.0' },
    ]);
    expect((await from.owner.get(`/sensors/${device.id}-flow`)).body).toMatchObject({
      data: { current: { n: 1 } },
    });
    expect((await from.owner.get(`/devices/${device.id}`)).body).toMatchObject({
      retired_at: expect.any(String) as string,
    });
    const timeline = await from.owner.walk<{ type: string }>(`/devices/${device.id}/timeline`);
    expect(timeline.map(({ type }) => type)).toEqual([
      'DeviceTransferred',
      'DeviceTransferStarted',
      'FirmwareReported',
      'SensorPatched',
      'KeyIssued',
      'DeviceRegistered',
    ]);
    expect((await to.owner.get(`/firmware?device_id=${device.id}`)).body).toEqual([]);
  });

  test('is not transferred again by the same request, and can come back', async () => {
    const device = await newDevice();
    await transfer(device);
    expect(await transfer(device)).toMatchObject({ status: 200 });
    expect(await transfer(device, from.id, to.id)).toMatchObject({ status: 200 });

    expect((await from.owner.get(`/devices/${device.id}`)).body).toMatchObject({
      retired_at: null,
    });
    expect(
      await device.client.patch(`/sensors/${device.id}-flow`, { json: { data: { n: 1 } } }),
    ).toMatchObject({ status: 200 });
    const types = await from.owner.walk<{ type: string }>(`/devices/${device.id}/timeline`);
    expect(types.filter(({ type }) => type === 'DeviceTransferred')).toHaveLength(1);
    expect(types.filter(({ type }) => type === 'DeviceRegistered')).toHaveLength(2);
  });

  test('goes to one of two that it is sent to at once, whole, and the other is refused', async () => {
    const third = await service.newProject();
    const device = await newDevice();
    const answers = await Promise.all([transfer(device), transfer(device, third.id)]);

    const statuses = answers.map(({ status }) => status);
    expect(new Set(statuses)).toEqual(new Set([200, 409]));
    expect(answers.find(({ status }) => status === 409)).toMatchObject(
      problem(409, 'device-transferred'),
    );
    const [winner, loser] = statuses[0] === 200 ? [to, third] : [third, to];
    expect(await winner.owner.get(`/devices/${device.id}`)).toMatchObject({ status: 200 });
    expect(await loser.owner.get(`/devices/${device.id}`)).toMatchObject({ status: 404 });
    expect(await transfer(device, loser.id)).toMatchObject(problem(409, 'device-transferred'));
  });

  test('has the keys revoked there that it brought, in every process', async () => {
    const device = await newDevice();
    const elsewhere = otherService.client(device.client.key);
    const patch = { json: { data: { n: 1 } } };
    await elsewhere.patch(`/sensors/${device.id}-flow`, patch);
    await transfer(device);
    const keyId = device.client.key?.split('_')[2] ?? '';

    expect(await from.owner.delete(`/keys/${keyId}`)).toMatchObject({ status: 404 });
    expect(await to.owner.delete(`/keys/${keyId}`)).toMatchObject({ status: 204 });
    expect(await device.client.patch(`/sensors/${device.id}-flow`, patch)).toMatchObject({
      status: 401,
    });
    await expect
      .poll(async () => (await elsewhere.patch(`/sensors/${device.id}-flow`, patch)).status)
      .toBe(401);
  });

  test('is left alone when it cannot be', async () => {
    const device = await newDevice();
    await newDevice(to, device.id);
    expect(await transfer(device)).toMatchObject(problem(409, 'device-exists'));
    expect(await transfer(device, 'nowhere')).toMatchObject(problem(422, 'validation-failed'));
    expect(await transfer(device, from.id)).toMatchObject(problem(422, 'validation-failed'));
    expect(await transfer({ id: newId() })).toMatchObject(problem(404, 'not-found'));
    expect(await transfer(device, to.id, 'nowhere')).toMatchObject(problem(404, 'not-found'));
    const path = `/devices/${device.id}/transfer?project=${from.id}`;
    expect(await from.owner.post(path, { json: { to: to.id } })).toMatchObject(
      problem(403, 'forbidden'),
    );
    expect((await from.owner.get(`/devices/${device.id}`)).body).toMatchObject({
      retired_at: null,
    });

    const retired = await newDevice();
    await from.owner.delete(`/devices/${retired.id}`);
    expect(await transfer(retired)).toMatchObject(problem(409, 'device-retired'));
  });

  test('is verified: the read model is what the log says', async () => {
    const { headers } = await service.admin.post('/admin/projections/tenancy/verify');
    const path = headers.get('Location')?.replace('/api/v1', '') ?? '';
    await expect
      .poll(async () => (await service.admin.get<object>(path)).body, { timeout: 30_000 })
      .toMatchObject({ status: 'completed', differing: [] });
  });
});
