import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { deviceDecider } from '../../src/commands/tenancy/device-decider.ts';
import { FoldedStates } from '../../src/commands/core/folded-states.ts';
import { CommandHandler } from '../../src/commands/core/handler.ts';
import { deviceStream } from '../../src/commands/tenancy/device-decider.ts';
import { openDatabase } from '../../src/database/database.ts';
import { openPostgresSnapshotStore } from '../../src/event-store/postgres/postgres-snapshot-store.ts';
import { createLogger } from '../../src/shared/logger.ts';
import { createTestDatabase } from '../database/test-database.ts';
import { openTestLog } from '../event-store/test-log.ts';
import { startSimulator, type Simulator } from '../../src/lorawan/simulator/simulator.ts';
import { problem, startTestService, type ApiClient, type TestService } from './api-client.ts';

const database = createTestDatabase();
let simulator: Simulator;
let service: TestService;
let owner: ApiClient;

beforeAll(async () => {
  simulator = await startSimulator({ latencyMs: 1 });
  service = await startTestService(database.url, {
    lorawanApiUrl: simulator.url,
    roles: ['api', 'projections', 'provisioning'],
  });
  ({ owner } = await service.newProject());
});
afterAll(async () => {
  await service.stop();
  await simulator.close();
});

interface Entry {
  readonly event_id: string;
  readonly type: string;
  readonly domain: string;
  readonly occurred_at: string | null;
  readonly recorded_at: string;
  readonly actor: string;
  readonly data: Readonly<Record<string, unknown>>;
}

function newId(name: string): string {
  return `${name}-${randomBytes(4).toString('hex')}`;
}

async function timeline(deviceId: string, limit = 500): Promise<Entry[]> {
  return owner.walk<Entry>(`/devices/${deviceId}/timeline?limit=${limit}`);
}

function types(entries: readonly Entry[]): string[] {
  return entries.map(({ type }) => type);
}

/** The events of a stream in the raw log, in its order. */
async function logged(stream: string): Promise<{ event_id: string; type: string }[]> {
  return service.admin.walk(`/admin/log?stream=${encodeURIComponent(stream)}`);
}

describe('the timeline of a device', () => {
  test('is everything that happened to it, newest first, each entry naming its event', async () => {
    const project = await service.newProject();
    const [deviceId, sensorId] = [newId('device'), newId('sensor')];
    const batch = await project.owner.post<{ id: string; deveuis: string[] }>('/batches', {
      json: { batch_size: 1 },
      headers: { Prefer: 'wait=30' },
    });
    const [devEui] = batch.body.deveuis;
    await project.owner.post('/devices', {
      json: { device_id: deviceId, dev_eui: devEui, sensor_id: sensorId },
    });
    await project.owner.patch(`/sensors/${sensorId}`, {
      json: { data: { t: 1 }, timestamp: '2026-01-31T12:00:00Z' },
    });
    const key = await project.owner.post<{ id: string; key: string }>(`/devices/${deviceId}/keys`);
    await project.owner.delete(`/keys/${key.body.id}`);
    await project.owner.patch(`/devices/${deviceId}`, { json: { sim_card_id: '8944' } });
    await project.owner.delete(`/devices/${deviceId}`);

    const { body } = await project.owner.get<{ items: Entry[] }>(`/devices/${deviceId}/timeline`);

    expect(body.items.map(({ type, domain }) => `${domain} ${type}`)).toEqual([
      'tenancy DeviceRetired',
      'tenancy DeviceChanged',
      'tenancy KeyRevoked',
      'tenancy KeyIssued',
      'state SensorPatched',
      'tenancy KeyIssued',
      'tenancy DeviceRegistered',
      'deveui DevEuiRegistered',
      'deveui DevEuiAttempted',
    ]);
    const recorded = [
      ...(await logged(`device-${project.id}.${deviceId}`)),
      ...(await logged(`sensor-${project.id}.${sensorId}`)),
      ...(await logged(`batch-${project.id}.${batch.body.id}`)),
    ].filter(({ type }) => !type.startsWith('Batch'));
    const naming = ({ event_id: id, type }: { event_id: string; type: string }) => `${id} ${type}`;
    expect(body.items.map(naming).toSorted()).toEqual(recorded.map(naming).toSorted());
    expect(JSON.stringify(body)).not.toContain('secretHash');
    const patched = body.items.find(({ type }) => type === 'SensorPatched');
    expect(patched).toMatchObject({
      occurred_at: '2026-01-31T12:00:00.000Z',
      data: { sensorId, patch: { t: 1 }, revision: 0 },
    });
    const registered = body.items.find(({ type }) => type === 'DevEuiRegistered');
    expect(registered).toMatchObject({ data: { devEui }, actor: 'system:provisioning' });
  });

  test('has what a sensor did while the device carried it', async () => {
    const [first, second, sensorId] = [newId('device'), newId('device'), newId('sensor')];
    const patch = (n: number) => owner.patch(`/sensors/${sensorId}`, { json: { data: { n } } });
    await patch(0);
    await owner.post('/devices', { json: { device_id: first, sensor_id: sensorId } });
    await patch(1);
    await owner.patch(`/devices/${first}`, { json: { sensor_id: null } });
    await owner.post('/devices', { json: { device_id: second, sensor_id: sensorId } });
    await patch(2);
    await owner.patch(`/devices/${second}`, { json: { sensor_id: null } });
    await owner.patch(`/devices/${first}`, { json: { sensor_id: sensorId } });
    await patch(3);

    const patches = async (deviceId: string): Promise<unknown[]> =>
      (await timeline(deviceId))
        .filter(({ domain }) => domain === 'state')
        .map(({ data }) => data['patch']);
    expect(await patches(first)).toEqual([{ n: 3 }, { n: 1 }]);
    expect(await patches(second)).toEqual([{ n: 2 }]);
  });

  test('is walked page by page, each entry once, whatever is written meanwhile', async () => {
    const [deviceId, sensorId] = [newId('device'), newId('sensor')];
    await owner.post('/devices', { json: { device_id: deviceId, sensor_id: sensorId } });
    for (let n = 0; n < 12; n += 1) {
      await owner.patch(`/sensors/${sensorId}`, { json: { data: { n } } });
      if (n % 4 === 0) await owner.post(`/devices/${deviceId}/keys`);
    }
    const before = await timeline(deviceId);

    const walked = await owner.walk<Entry>(`/devices/${deviceId}/timeline?limit=3`, async () => {
      await owner.patch(`/sensors/${sensorId}`, { json: { data: { later: Math.random() } } });
    });

    expect(before).toHaveLength(17);
    expect(walked).toEqual(before);
    expect(types(walked).filter((type) => type === 'KeyIssued')).toHaveLength(4);
  });

  test('of another project, or of none, is not there', async () => {
    const deviceId = newId('device');
    await owner.post('/devices', { json: { device_id: deviceId } });
    const stranger = (await service.newProject()).owner;
    const [unknown, foreign] = [
      await owner.get<object>(`/devices/${newId('device')}/timeline`),
      await stranger.get<object>(`/devices/${deviceId}/timeline`),
    ];
    expect(unknown).toMatchObject(problem(404, 'not-found'));
    expect(foreign).toMatchObject(problem(404, 'not-found'));
  });

  test('leaves out what its stream keeps about other devices, which its ETag counts', async () => {
    const { owner: member, id: projectId } = await service.newProject();
    const [deviceId, unregistered] = [newId('device'), newId('device')];
    await member.post('/devices', { json: { device_id: deviceId } });
    for (const id of [deviceId, unregistered]) {
      await recordAboutOthers(projectId, id);
    }
    const read = () => member.get<object>(`/devices/${deviceId}`);
    await expect.poll(async () => (await read()).headers.get('ETag')).toBe('"3"');

    const entries = await member.walk<Entry>(`/devices/${deviceId}/timeline`);
    expect(types(entries)).toEqual(['KeyIssued', 'DeviceRegistered']);
    expect(await member.get<object>(`/devices/${unregistered}/timeline`)).toMatchObject(
      problem(404, 'not-found'),
    );
    const headers = { 'If-Match': (await read()).headers.get('ETag') ?? '' };
    const changed = await member.patch(`/devices/${deviceId}`, {
      json: { sim_card_id: '8944' },
      headers,
    });
    expect(changed).toMatchObject({ status: 200 });
  });
});

/** A claim that another device took over, and the refusal of a device of another project. */
async function recordAboutOthers(projectId: string, deviceId: string): Promise<void> {
  const logger = createLogger('silent');
  const opened = openDatabase({ url: database.url, logger, maxConnections: 2 });
  const log = await openTestLog({ databaseUrl: database.url, database: opened, logger });
  const snapshots = openPostgresSnapshotStore(opened, log.logId);
  const handler = new CommandHandler(log, new FoldedStates(log, snapshots, logger));
  const commands = [
    { type: 'void-claim', deviceId, kind: 'simCardId', value: '8944', claim: 0 },
    { type: 'refuse-transfer', deviceId, from: 'elsewhere', transferId: 't1' },
  ] as const;
  for (const command of commands) {
    await handler.execute(deviceDecider, deviceStream(projectId, deviceId), command, {
      projectId,
      actor: 'a',
      correlationId: 'c',
    });
  }
  await log.close();
  await opened.close();
}

test('firmware is not said to be none at a position before the device was registered', async () => {
  await service.admin.post('/admin/projections/firmware/pause');
  const id = `device-${randomBytes(4).toString('hex')}`;
  await owner.post('/devices', { json: { device_id: id } });
  const paths = [`/firmware?device_id=${id}`, `/devices/${id}/firmware/current`];
  try {
    for (const path of paths) {
      expect(await owner.get(path), path).toMatchObject(problem(503, 'read-model-behind'));
    }
  } finally {
    await service.admin.post('/admin/projections/firmware/resume');
  }
  for (const path of paths) expect(await owner.get(path), path).toMatchObject({ status: 200 });
});
