// @module-tag slow
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { vi } from 'vitest';
import { openDatabase } from '../../src/database/database.ts';
import { openEmbeddedServer } from '../../src/database/embedded-server/embedded-server.ts';
import { migrate } from '../../src/database/migrations.ts';
import { openPostgresEventStore } from '../../src/event-store/postgres/postgres-event-store.ts';
import { createLogger } from '../../src/shared/logger.ts';
import { eventStoreRestartContract } from './contract.ts';

const logger = createLogger('silent');

// A server of its own: the one that the test files share must not go away under the others.
eventStoreRestartContract('PostgreSQL', async () => {
  const dataDir = await mkdtemp(join(tmpdir(), 'fleetledger-restart-test-'));
  const server = await openEmbeddedServer({ dataDir, logger, role: 'service' });
  const watching = openDatabase({ url: server.url, logger });
  await migrate(watching, logger);

  async function serverPid(): Promise<number> {
    const [pid = ''] = (await readFile(join(dataDir, 'postgres', 'postmaster.pid'), 'utf8')).split(
      '\n',
    );
    return Number(pid);
  }

  return {
    async open() {
      const database = openDatabase({ url: server.url, logger });
      const store = await openPostgresEventStore({ database, logger });
      return {
        store,
        async close() {
          await store.close();
          await database.close();
        },
      };
    },
    faults: {
      cutConnections: () => Promise.reject(new Error('cut in postgres.test.ts')),
      /** The embedded server starts again automatically when it was killed. */
      async restartServer() {
        const killed = await serverPid();
        process.kill(killed, 'SIGKILL');
        await vi.waitFor(
          async () => {
            await watching.query({ text: 'select from ledger.log' });
            if ((await serverPid()) === killed) throw new Error('the killed server still answers');
          },
          { timeout: 40_000 },
        );
      },
    },
    async tearDown() {
      await watching.close();
      await server.close();
      await rm(dataDir, { recursive: true, force: true });
    },
  };
});
