import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, inject, type RunnerTask } from 'vitest';
import { openDatabase, type Database } from '../../src/database/database.ts';
import { createLogger } from '../../src/shared/logger.ts';

export interface TestDatabase {
  readonly url: string;
  /** A copy, as a restored dump would be. Nobody may be connected to the original meanwhile. */
  copy(): Promise<string>;
  /** Runs SQL beside whatever is tested, also when nobody may be connected to the database. */
  readonly server: Database;
}

/**
 * An empty database of the test file's own, for as long as its tests run. To be called at the top
 * level of the file. When a test failed, the database is kept and its URL is printed.
 */
export function createTestDatabase(): TestDatabase {
  const serverUrl = inject('databaseServerUrl');
  const server = openDatabase({
    url: serverUrl,
    logger: createLogger('silent'),
    maxConnections: 2,
    applicationName: 'fleetledger-test',
  });
  const name = `fleetledger_test_${randomBytes(6).toString('hex')}`;
  const names: string[] = [];

  async function create(newName: string, template: string): Promise<string> {
    await server.query({ text: `create database ${newName} template ${template}` });
    names.push(newName);
    return databaseUrl(newName);
  }
  function databaseUrl(databaseName: string): string {
    const url = new URL(serverUrl);
    url.pathname = `/${databaseName}`;
    return url.href;
  }

  beforeAll(() => create(name, 'template0'));
  // oxlint-disable-next-line no-empty-pattern -- vitest accepts nothing else here
  afterAll(async ({}, file) => {
    if (someFailed(file)) {
      console.error(`kept, because a test failed: ${names.map(databaseUrl).join(' ')}`);
    } else {
      for (const left of names) {
        await server.query({ text: `drop database if exists ${left} with (force)` });
      }
    }
    await server.close();
  });

  return {
    url: databaseUrl(name),
    copy: () => create(`${name}_copy_${names.length}`, name),
    server,
  };
}

function someFailed(task: RunnerTask): boolean {
  if (task.result?.state === 'fail') return true;
  return 'tasks' in task && task.tasks.some(someFailed);
}
