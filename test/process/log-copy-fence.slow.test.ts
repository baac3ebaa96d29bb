// @module-tag slow
import { expect, onTestFinished, test, vi } from 'vitest';
import { createProject } from '../api/api-client.ts';
import { cuttableConnection } from '../database/cuttable-connection.ts';
import { createTestDatabase } from '../database/test-database.ts';
import { startStandInProcess } from '../event-store/eventstoredb/stand-in-child.ts';
import { startLoad } from './load.ts';
import { startCli, startServiceProcess, terminate } from './service-process.ts';

vi.setConfig({ testTimeout: 240_000 });

const ADMIN_API_KEY = 'the-admin-key-of-the-tests';
const database = createTestDatabase();

test('a copy does not end before a service that is cut off from its database appends no more', async () => {
  const standIn = await startStandInProcess();
  onTestFinished(() => standIn.end());
  const place = (name: string) => `${standIn.connectionString}&streamPrefix=${name}.`;
  const direct = { DATABASE_URL: database.url, EVENTSTORE_URL: '' };
  const connection = await cuttableConnection(database.url);
  onTestFinished(() => connection.close());
  const service = startServiceProcess({
    ADMIN_API_KEY,
    DATABASE_URL: connection.url,
    EVENTSTORE_URL: place('old'),
    LOG_LEVEL: 'error',
  });
  const project = await createProject(await service.serving(), ADMIN_API_KEY);
  const load = await startLoad(project.owner, 4);
  await vi.waitUntil(() => load.acknowledged() > 200, 60_000);

  // Cut off for a moment, the copy continues, as the service does.
  const copying = startCli(['log', 'copy', '--from', place('old'), '--to', place('new')], direct);
  await vi.waitUntil(() => copying.stderr().includes('once the service is stopped'), 60_000);
  connection.cut();
  const acknowledged = load.acknowledged();
  await vi.waitUntil(() => load.acknowledged() > acknowledged + 200, 60_000);
  expect(copying.child.exitCode).toBeNull();

  // Cut off for good, it ends when nothing is acknowledged any more, and the service never appends
  // again.
  connection.interrupt();
  expect(await copying.ended(), copying.stderr()).toBe(0);
  const atEnd = load.acknowledged();
  connection.restore();
  expect(await service.ended()).toBe(1);
  expect(service.stderr()).toContain('may not append any more');
  await load.ended();
  expect(load.acknowledged()).toBe(atEnd);

  const moved = startServiceProcess({
    ...direct,
    ADMIN_API_KEY,
    EVENTSTORE_URL: place('new'),
    LOG_LEVEL: 'error',
  });
  const owner = (await moved.serving()).client(project.owner.key);
  await vi.waitFor(async () => expect((await owner.get('/sensors')).status).toBe(200), 60_000);
  await load.expectKept(owner);
  expect(await terminate(moved)).toBe(0);
});
