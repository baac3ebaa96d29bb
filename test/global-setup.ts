import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestProject } from 'vitest/node';
import { openDatabase } from '../src/database/database.ts';
import { openEmbeddedServer } from '../src/database/embedded-server/embedded-server.ts';
import { createLogger } from '../src/shared/logger.ts';

declare module 'vitest' {
  interface ProvidedContext {
    databaseServerUrl: string;
  }
}

/** One PostgreSQL server for the whole run: the one at TEST_DATABASE_URL, or an embedded one. */
export default async function setUp(project: TestProject): Promise<() => Promise<void>> {
  const given = process.env['TEST_DATABASE_URL'];
  if (given) {
    project.provide('databaseServerUrl', given);
    return async () => undefined;
  }
  const logger = createLogger('warn');
  const dataDir = await mkdtemp(join(tmpdir(), 'fleetledger-test-'));
  const server = await openEmbeddedServer({ dataDir, logger, role: 'tool' });
  project.provide('databaseServerUrl', server.url);

  return async () => {
    const databases = openDatabase({ url: server.url, logger, maxConnections: 1 });
    const kept = await databases.query({
      text: `select datname from pg_database where starts_with(datname, 'fleetledger_test_')`,
    });
    await databases.close();
    await server.close();
    if (kept.length === 0) await rm(dataDir, { recursive: true, force: true });
    else console.error(`kept, with the databases of failed tests: ${dataDir}`);
  };
}
