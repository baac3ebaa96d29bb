import type { Logger } from '../shared/logger.ts';
import type { Database } from './database.ts';
import { keepConnection, type KeptConnection } from './kept-connection.ts';

/**
 * Says in the database that a service runs on it, for as long as it does: by a lock that is shared by
 * all services, and gone at once when their process is.
 */
export function announcePresence(database: Database, logger: Logger): KeptConnection {
  return keepConnection(
    database,
    'the presence of the service',
    async (connection) => {
      await connection.query({ text: 'select pg_advisory_lock_shared(7001, 2)' });
    },
    logger,
  );
}

/** Whether a service runs on the database, in whichever process. */
export async function isServicePresent(database: Database): Promise<boolean> {
  const [row] = await database.query<{ is_present: boolean }>({
    text: `
      select exists (
        select
        from pg_locks
        where locktype = 'advisory'
          and database = (select oid from pg_database where datname = current_database())
          and classid = 7001
          and objid = 2
      ) as is_present`,
  });
  return row?.is_present === true;
}
