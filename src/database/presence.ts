import type { Logger } from '../shared/logger.ts';
import type { Connection, Database } from './database.ts';

export interface Presence {
  close(): Promise<void>;
}

const RECONNECT_AFTER_MS = 500;

/**
 * Says in the database that a service runs on it, for as long as it does: by a lock that is shared by
 * all services, and gone at once when their process is.
 */
export function announcePresence(database: Database, logger: Logger): Presence {
  let isClosed = false;
  let connection: Connection | undefined;
  let retry: NodeJS.Timeout | undefined;
  let connecting = Promise.resolve();

  const connect = async (): Promise<void> => {
    try {
      const fresh = await database.connect();
      connection = fresh;
      fresh.onLost(againLater);
      await fresh.query({ text: 'select pg_advisory_lock_shared(7001, 2)' });
    } catch (error) {
      logger.debug({ err: error }, 'the presence in the database was lost; it is announced again');
      againLater();
    }
  };
  const againLater = (): void => {
    if (isClosed || retry !== undefined) return;
    const lost = connection;
    connection = undefined;
    retry = setTimeout(() => {
      retry = undefined;
      connecting = Promise.resolve(lost?.close())
        .catch(() => undefined)
        .then(connect);
    }, RECONNECT_AFTER_MS);
  };

  connecting = connect();
  return {
    async close() {
      isClosed = true;
      clearTimeout(retry);
      await connecting;
      await connection?.close();
    },
  };
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
