import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, inject, type RunnerTask } from 'vitest';
import { openDatabase, type Database } from '../../src/database/database.ts';
import { createLogger } from '../../src/shared/logger.ts';
import { useLogServer } from '../event-store/test-log.ts';
import { databaseUrl } from './test-server.ts';

export interface TestDatabase {
  readonly url: string;
  /** A copy, as a restored dump would be. Nobody may be connected to the original meanwhile. */
  copy(): Promise<string>;
  /** Runs SQL beside whatever is tested, also when nobody may be connected to the database. */
  readonly server: Database;
}

/**
 * A database of the test file's own, for as long as its tests run: migrated, with a log of its own
 * and nothing in it. To be called at the top level of the file. When a test failed, the database is
 * kept and its URL is printed.
 */
export function createTestDatabase(): TestDatabase {
  const serverUrl = inject('databaseServerUrl');
  const template = inject('databaseTemplate');
  const server = openDatabase({
    url: serverUrl,
    logger: createLogger('silent'),
    maxConnections: 2,
    applicationName: 'fleetledger-test',
  });
  const name = `fleetledger_test_${randomBytes(6).toString('hex')}`;
  const names: string[] = [];

  async function create(newName: string, original: string): Promise<string> {
    await server.query({ text: `create database ${newName} template ${original}` });
    names.push(newName);
    return databaseUrl(serverUrl, newName);
  }

  let endUseOfLogServer = async (): Promise<void> => undefined;
  beforeAll(async () => {
    endUseOfLogServer = await useLogServer();
    await giveNewLogId(await create(name, template));
  });
  // oxlint-disable-next-line no-empty-pattern -- vitest accepts nothing else here
  afterAll(async ({}, file) => {
    if (someFailed(file)) {
      const urls = names.map((kept) => databaseUrl(serverUrl, kept));
      console.error(`kept, because a test failed: ${urls.join(' ')}`);
    } else {
      for (const left of names) {
        await server.query({ text: `drop database if exists ${left} with (force)` });
      }
    }
    await server.close();
    await endUseOfLogServer();
  });

  return {
    url: databaseUrl(serverUrl, name),
    copy: () => create(`${name}_copy_${names.length}`, name),
    server,
  };
}

/** Copies of one template would otherwise hold one log, whose positions they would exchange. */
async function giveNewLogId(url: string): Promise<void> {
  const database = openDatabase({ url, logger: createLogger('silent'), maxConnections: 1 });
  await database.query({
    text: `update ledger.log set log_id = '${randomBytes(4).toString('hex')}'`,
  });
  await database.close();
}

function someFailed(task: RunnerTask): boolean {
  if (task.result?.state === 'fail') return true;
  return 'tasks' in task && task.tasks.some(someFailed);
}
