import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { openDatabase } from '../../src/database/database.ts';
import type { StreamCategory } from '../../src/events/registry.ts';
import { streamName } from '../../src/event-store/stream-name.ts';
import { createLogger } from '../../src/shared/logger.ts';
import { newEventId } from '../../src/shared/ids.ts';
import { createTestDatabase } from '../database/test-database.ts';
import { openTestLog } from '../event-store/test-log.ts';
import { PROJECTION_NAMES } from '../projections/projection-versions.ts';
import {
  startTestService,
  type Answer,
  type ApiClient,
  type Method,
  type SendOptions,
  type TestProject,
  type TestService,
} from './api-client.ts';

const NDJSON = { 'content-type': 'application/x-ndjson' };

describe.each(['paused', 'stopped'] as const)('while every read model is %s', (status) => {
  const database = createTestDatabase();
  let service: TestService;
  let project: TestProject;
  let owner: ApiClient;
  let device: ApiClient;

  beforeAll(async () => {
    service = await startTestService(database.url, {
      lorawanApiUrl: 'http://127.0.0.1:1',
      arePrivateWebhooksAllowed: true,
    });
    project = await service.newProject();
    ({ owner } = project);
    const json = { device_id: 'd1', sensor_id: 'd1-flow' };
    device = service.client((await owner.post<{ key: string }>('/devices', { json })).body.key);
    if (status === 'paused') await pauseAll(service);
    else await stopAll(service, database.url);
  });
  afterAll(() => service.stop());

  const recorded: readonly [string, Method, string, SendOptions, number][] = [
    ['a new member', 'POST', '/members', { json: { name: 'M', role: 'viewer' } }, 201],
    ['a new device', 'POST', '/devices', { json: { device_id: 'd2' } }, 201],
    ['a link of a device', 'PATCH', '/devices/d1', { json: { sim_card_id: '7' } }, 200],
    ['a key of a device', 'POST', '/devices/d1/keys', {}, 201],
    ['a SIM card', 'PUT', '/inventory/7', { json: { org_id: 'o1' } }, 200],
    ['a SIM card from now on', 'PUT', '/inventory/7', { json: { org_id: 'o2' } }, 200],
    ['many SIM cards', 'POST', '/inventory', { json: [{ sim_card_id: '8', org_id: 'o1' }] }, 200],
    ['a patch', 'PATCH', '/sensors/s1', { json: { data: { a: 1 } } }, 200],
    ['a deduplication strategy', 'PUT', '/sensors/s1/dedup', { json: { strategy: 'none' } }, 200],
    ['many patches', 'POST', '/sensors/patches', { json: [{ id: 's1', data: { a: 2 } }] }, 200],
    [
      'a stream of patches',
      'POST',
      '/sensors/patches',
      { body: '{"id":"s1","data":{"a":3}}\n', headers: NDJSON },
      200,
    ],
    [
      'usage',
      'POST',
      '/usage',
      { json: { 'sim-card-id': '7', 'bytes-used': 1, date: '2026-01-01T00:00:00Z' } },
      202,
    ],
    ['a webhook', 'POST', '/webhooks', { json: { url: 'http://127.0.0.1:1/hook' } }, 201],
    ['a retired device', 'DELETE', '/devices/d2', {}, 204],
  ];

  test.each(recorded)('%s is recorded and answered', async (_what, method, path, options, code) => {
    expect(await owner.send(method, path, options)).toMatchObject({ status: code });
  });

  test('a project is made, and its owner is let in', async () => {
    const another = await service.newProject();
    const json = { device_id: 'd1' };
    expect(await another.owner.post('/devices', { json })).toMatchObject({ status: 201 });
  });

  test('a report of firmware is accepted', async () => {
    const json = { version: '1.0.0', timestamp: 1_700_000_000 };
    expect(await device.post('/firmware', { json })).toMatchObject({ status: 202 });
  });

  test('a device is answered as it was changed, with its new revision', async () => {
    await owner.post('/devices', { json: { device_id: 'd3' } });
    const changed = await owner.patch('/devices/d3', { json: { dev_eui: 'ffa45722aa738240' } });
    expect(changed).toMatchObject({
      status: 200,
      body: { device_id: 'd3', dev_eui: 'FFA45722AA738240', sim_card_id: null },
    });
    expect(changed.headers.get('etag')).toBe('"2"');
  });

  test('a batch is requested, stopped, resumed and hidden', async () => {
    const headers = { prefer: 'wait=1' };
    const { body: batch, status: code } = await owner.post<{ id: string }>('/batches', { headers });
    expect(code).toBe(201);
    const path = `/batches/${batch.id}`;
    const stopped: Answer<unknown> = await owner.delete(path);
    expect(stopped).toMatchObject({ status: 202, body: { id: batch.id, status: 'Stopped' } });
    const resumed: Answer<unknown> = await owner.post(`${path}/resume`);
    expect(resumed).toMatchObject({ status: 202, body: { id: batch.id, status: 'Processing' } });
    expect(await owner.delete(path)).toMatchObject({ status: 202 });
    expect(await owner.delete(path)).toMatchObject({ status: 204 });
  });
});

async function pauseAll({ admin }: TestService): Promise<void> {
  for (const name of PROJECTION_NAMES) await admin.post(`/admin/projections/${name}/pause`);
}

/** An event of each read model that no release knows how to read, so that each of them stops. */
const UNREADABLE: readonly [StreamCategory, string][] = [
  ['device', 'LinkClaimVoided'],
  ['sensor', 'SensorPatched'],
  ['batch', 'DevEuiRegistered'],
  ['firmware', 'FirmwareReported'],
  ['usage', 'UsageRecorded'],
  ['webhook', 'WebhookChanged'],
];

async function stopAll({ admin }: TestService, databaseUrl: string): Promise<void> {
  const logger = createLogger('silent');
  const database = openDatabase({ url: databaseUrl, logger, maxConnections: 2 });
  const log = await openTestLog({ databaseUrl, database, logger });
  for (const [category, type] of UNREADABLE) {
    const stream = streamName(category, 'another-project', randomUUID());
    const metadata = {
      projectId: 'another-project',
      actor: 'system:test',
      correlationId: 'test',
      schemaVersion: 99,
    };
    const event = { id: newEventId(), type, data: {}, metadata };
    await log.append([{ stream, expectedRevision: 'no-stream', events: [event] }]);
  }
  await log.close();
  await database.close();
  await vi.waitFor(
    async () => {
      const { body } = await admin.get<{ items: { status: string }[] }>('/admin/projections');
      expect(body.items.map((projection) => projection.status)).toEqual(
        PROJECTION_NAMES.map(() => 'stopped'),
      );
    },
    { timeout: 20_000, interval: 50 },
  );
}
