import path from 'node:path';
import type { Database } from '../../src/database/database.ts';
import { openEventStoreDB } from '../../src/event-store/eventstoredb/eventstoredb-event-store.ts';
import type { OpenEventStore } from '../../src/event-store/port.ts';
import { openPostgresEventStore } from '../../src/event-store/postgres/postgres-event-store.ts';
import { STREAM_CATEGORIES } from '../../src/event-store/stream-name.ts';
import type { Logger } from '../../src/shared/logger.ts';

/** The categories of streams that tests have of their own. */
const TEST_CATEGORIES = ['meter', 'notes'];

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
    : openEventStoreDB({ url, logger, categories: [...STREAM_CATEGORIES, ...TEST_CATEGORIES] });
}

/**
 * A log of its own for each database, or data directory, of the tests; undefined where the run is for
 * PostgreSQL.
 */
export function testEventStoreUrl(databaseUrl: string): string | undefined {
  const server = process.env['TEST_EVENTSTORE_URL'];
  if (server === undefined || server === '') return undefined;
  const name = path.basename(new URL(databaseUrl, 'file:').pathname);
  return `${server}${server.includes('?') ? '&' : '?'}streamPrefix=${name}.`;
}
