import type { Logger } from '../shared/logger.ts';
import type { Database } from './database.ts';
import { keepConnection, type KeptConnection } from './kept-connection.ts';

/**
 * Hears the notifications of some channels. What is notified while the connection is lost is lost
 * too, so `onNotification` is called once after each reconnect, and whoever needs certainty polls
 * beside it.
 */
export function listen(
  database: Database,
  channels: readonly string[],
  onNotification: (payload: string) => void,
  logger: Logger,
): KeptConnection {
  return keepConnection(
    database,
    'notifications',
    async (connection) => {
      connection.onNotification((_channel, payload) => onNotification(payload));
      for (const channel of channels) await connection.query({ text: `listen ${channel}` });
      onNotification('');
    },
    logger,
  );
}
