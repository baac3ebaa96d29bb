import type { Logger } from '../shared/logger.ts';
import type { Database } from './database.ts';
import { keepConnection, type KeptConnection } from './kept-connection.ts';

/**
 * Says in the database that a service runs on it, and writes to a log, for as long as it does: by a lock
 * that is shared by all services, and gone at once when their process is.
 */
export function announcePresence(
  database: Database,
  logId: string,
  logger: Logger,
): KeptConnection {
  return keepConnection(
    database,
    'the presence of the service',
    async (connection) => {
      await connection.query({
        text: `select pg_advisory_lock_shared(7002, ('x' || $1::text)::bit(32)::integer) /* log */`,
        values: [logId],
      });
    },
    logger,
  );
}

/** Whether a service on the database writes to a log, in whichever process. */
export async function isServicePresent(database: Database, logId: string): Promise<boolean> {
  const [row] = await database.query<{ is_present: boolean }>({
    text: `
      select exists (
        select
        from pg_locks
        where locktype = 'advisory'
          and database = (select oid from pg_database where datname = current_database())
          and classid = 7002
          and objid = ('x' || $1::text)::bit(32)::bigint /* log */
      ) as is_present`,
    values: [logId],
  });
  return row?.is_present === true;
}
