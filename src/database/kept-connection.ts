import type { Logger } from '../shared/logger.ts';
import type { Connection, Database } from './database.ts';

export interface KeptConnection {
  close(): Promise<void>;
}

const RECONNECT_AFTER_MS = 500;

/**
 * A connection of its own, renewed when it is lost: for what lasts as long as a connection does.
 * `prepare` is called with each new one.
 */
export function keepConnection(
  database: Database,
  purpose: string,
  prepare: (connection: Connection) => Promise<void>,
  logger: Logger,
): KeptConnection {
  let isClosed = false;
  let connection: Connection | undefined;
  let retry: NodeJS.Timeout | undefined;
  let connecting = Promise.resolve();

  const connect = async (): Promise<void> => {
    try {
      const fresh = await database.connect();
      fresh.onLost(reconnectLater);
      connection = fresh;
      await prepare(fresh);
    } catch (error) {
      logger.debug({ err: error }, `connection for ${purpose} failed: retrying`);
      reconnectLater();
    }
  };
  const reconnectLater = (): void => {
    if (isClosed || retry !== undefined) return;
    connection?.close().catch(() => undefined);
    connection = undefined;
    retry = setTimeout(() => {
      retry = undefined;
      connecting = connect();
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
