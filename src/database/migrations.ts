import { fileURLToPath } from 'node:url';
import { runner } from 'node-pg-migrate';
import pg from 'pg';
import type { Logger } from '../shared/logger.ts';
import { startSession, type Database } from './database.ts';
import { rightsFailure } from './server-check.ts';

// The same two steps up from `src/database` and from `dist/database`.
const MIGRATIONS_FOLDER = fileURLToPath(new URL('../../migrations', import.meta.url));

/**
 * Brings the schema of the log and of the projection engine up to date. Several processes may start
 * at once: the runner holds an advisory lock, and the others wait for it.
 * (Tables of read models are no migrations: a changed projection is a new generation.)
 */
export async function migrate(database: Database, logger: Logger): Promise<void> {
  const log = (message: string): void => logger.debug(message.trim());
  // A connection without the time-out of other statements: building an index may take long.
  const client = new pg.Client({ connectionString: database.url, keepAlive: true });
  client.on('error', (error) => logger.debug({ err: error }, 'the migration lost its connection'));
  await startSession(client);
  try {
    await runner({
      dbClient: client,
      dir: MIGRATIONS_FOLDER,
      direction: 'up',
      migrationsSchema: 'ledger',
      createMigrationsSchema: true,
      migrationsTable: 'migrations',
      advisoryLockMode: 'wait',
      logger: { info: log, warn: log, error: log, debug: log },
    });
  } catch (error) {
    const isForbidden = error instanceof Error && 'code' in error && error.code === '42501';
    throw isForbidden ? rightsFailure(database.url, error) : error;
  } finally {
    await client.end().catch(() => undefined);
  }
}
