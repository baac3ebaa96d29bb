import { expect, test, vi } from 'vitest';
import { createProject } from '../api/api-client.ts';
import { createTestDatabase } from '../database/test-database.ts';
import { startServer } from '../event-store/eventstoredb-fixture.ts';
import { startServiceProcess } from './service-process.ts';

vi.setConfig({ testTimeout: 120_000 });

const { url } = createTestDatabase();
const ADMIN_KEY = 'the-admin-key-of-the-tests';

test('a service whose log is put back to an older copy ends with one line that says so, and does not start again', async () => {
  const standIn = await startServer();
  const settings = {
    DATABASE_URL: url,
    EVENTSTORE_URL: standIn.connectionString,
    ADMIN_API_KEY: ADMIN_KEY,
    LOG_LEVEL: 'error',
  };
  const service = startServiceProcess(settings);
  const api = await service.serving();
  const { owner } = await createProject(api, ADMIN_KEY);
  const patch = (value: number) => owner.patch('/sensors/probe', { json: { data: { value } } });
  expect(await patch(1)).toMatchObject({ status: 200 });
  const backup = standIn.recordCount;
  expect(await patch(2)).toMatchObject({ status: 200 });
  expect(await owner.get('/sensors/probe')).toMatchObject({ body: { revision: 1 } });

  await standIn.restoreBackup(backup);

  expect(await patch(3)).toMatchObject({ status: 503, body: { code: 'store-unavailable' } });
  expect(await service.ended()).toBe(1);
  const fatal = service
    .stderr()
    .split('\n')
    .filter((line) => line.includes('The log went back'));
  expect(fatal).toHaveLength(1);

  const again = startServiceProcess(settings);
  expect(await again.ended()).toBe(1);
  expect(again.stderr()).toMatch(/^The log went back: it ends at position .* DATABASE_URL.*\n$/);
});
