import { afterAll, beforeAll, expect, onTestFinished, test, vi } from 'vitest';
import { openDatabase, type Database } from '../../src/database/database.ts';
import { migrate } from '../../src/database/migrations.ts';
import { Presence, PresenceWatch } from '../../src/database/presence.ts';
import { createLogger } from '../../src/shared/logger.ts';
import { cuttableConnection } from './cuttable-connection.ts';
import { createTestDatabase } from './test-database.ts';

const testDatabase = createTestDatabase();
const logger = createLogger('silent');
const UNAVAILABLE = { code: 'store-unavailable' };
let database: Database;

beforeAll(async () => {
  database = openDatabase({ url: testDatabase.url, logger, maxConnections: 2 });
  await migrate(database, logger);
});
afterAll(() => database.close());

async function announced(logId: string, presenceMs: number) {
  const connection = await cuttableConnection(testDatabase.url);
  const through = openDatabase({ url: connection.url, logger, maxConnections: 1 });
  const presence = await Presence.announce({ database: through, logId, logger, presenceMs });
  onTestFinished(async () => {
    await presence.close();
    await through.close();
    await connection.close();
  });
  return { connection, presence };
}

test('a process is present until it says that it stops', async () => {
  const { presence } = await announced('00000001', 60_000);
  const watch = new PresenceWatch(database, '00000001');
  expect(await watch.present()).toEqual([expect.stringContaining(`pid ${process.pid} on `)]);
  expect(await new PresenceWatch(database, '00000002').present()).toEqual([]);
  await presence.confirm();

  await presence.close();
  expect(await watch.present()).toEqual([]);
  await presence.ended;
});

test('a process that is cut off for a while is present all the time, and may append again', async () => {
  const { connection, presence } = await announced('00000003', 50);
  const watch = new PresenceWatch(database, '00000003', 60_000);
  connection.interrupt();
  await vi.waitFor(() => expect(presence.confirm()).rejects.toMatchObject(UNAVAILABLE), {
    timeout: 20_000,
  });
  expect(await watch.present()).toHaveLength(1);

  connection.restore();
  await vi.waitFor(() => presence.confirm(), { timeout: 20_000 });
  expect(await watch.present()).toHaveLength(1);
});

test('a process that was taken for gone never appends again, and is told to end', async () => {
  const { connection, presence } = await announced('00000004', 50);
  const watch = new PresenceWatch(database, '00000004', 50);
  connection.interrupt();
  await vi.waitFor(async () => expect(await watch.present()).toEqual([]), { timeout: 20_000 });

  connection.restore();
  await vi.waitFor(
    () =>
      expect(presence.confirm()).rejects.toMatchObject({
        ...UNAVAILABLE,
        message: expect.stringContaining('Restart it'),
      }),
    { timeout: 20_000 },
  );
  await expect(presence.ended).rejects.toThrow('may not append any more');
  await expect(presence.confirm()).rejects.toMatchObject(UNAVAILABLE);
});
