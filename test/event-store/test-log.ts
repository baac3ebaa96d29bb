import path from 'node:path';
import type { Database } from '../../src/database/database.ts';
import { openEventStoreDB } from '../../src/event-store/eventstoredb/eventstoredb-event-store.ts';
import type { OpenEventStore } from '../../src/event-store/port.ts';
import { openPostgresEventStore } from '../../src/event-store/postgres/postgres-event-store.ts';
import { streamCategories } from '../../src/events/registry.ts';
import type { Logger } from '../../src/shared/logger.ts';
import { startStandInProcess } from './eventstoredb/stand-in-child.ts';
import { TEST_CATEGORIES } from './test-stream-name.ts';

/**
 * The log that belongs to a database of the tests: in it, or on the server at `TEST_EVENTSTORE_URL`
 * where the run is for EventStoreDB (`npm run test:eventstoredb`).
 */
export function openTestLog(options: {
  readonly databaseUrl: string;
  readonly database: Database;
  readonly logger: Logger;
}): Promise<OpenEventStore> {
  const { databaseUrl, database, logger } = options;
  const url = testEventStoreUrl(databaseUrl);
  return url === undefined
    ? openPostgresEventStore({ database, logger })
    : openEventStoreDB({ url, logger, categories: [...streamCategories, ...TEST_CATEGORIES] });
}

let users = 0;

/**
 * Where the run is for stand-ins, gives the test file one of its own, for as long as it is in use:
 * on a shared one, each reading of the whole log would go through the events of all other files. A
 * worker runs one file at a time, and the processes that the file starts inherit its environment.
 * Gives what ends the use.
 */
export async function useLogServer(): Promise<() => Promise<void>> {
  const isForStandIns =
    process.env['TEST_LOG'] === 'eventstoredb' && !process.env['EVENTSTORE_URL'];
  users += 1;
  if (!isForStandIns || users > 1) return async () => void (users -= 1);
  const shared = process.env['TEST_EVENTSTORE_URL'];
  const showsAfterMs = Number(process.env['TEST_EVENTSTORE_SHOWS_AFTER_MS']);
  const standIn = await startStandInProcess(showsAfterMs);
  process.env['TEST_EVENTSTORE_URL'] = standIn.connectionString;
  return async () => {
    users -= 1;
    process.env['TEST_EVENTSTORE_URL'] = shared;
    await standIn.end();
  };
}

/**
 * A log of its own for each database, or data directory, of the tests; undefined where the run is
 * for PostgreSQL.
 */
export function testEventStoreUrl(databaseUrl: string): string | undefined {
  const server = process.env['TEST_EVENTSTORE_URL'];
  if (server === undefined || server === '') return undefined;
  const name = path.basename(new URL(databaseUrl, 'file:').pathname);
  return `${server}${server.includes('?') ? '&' : '?'}streamPrefix=${name}.`;
}
