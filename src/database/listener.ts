import type { Logger } from '../shared/logger.ts';
import type { Connection, Database } from './database.ts';

export interface Listener {
  close(): Promise<void>;
}

const RECONNECT_AFTER_MS = 500;

/**
 * Hears the notifications of some channels on a connection of its own, which it renews when it is
 * lost. What is notified meanwhile is lost too, so `onNotification` is called once after each
 * reconnect, and whoever needs certainty polls beside it.
 */
export function listen(
  database: Database,
  channels: readonly string[],
  onNotification: (payload: string) => void,
  logger: Logger,
): Listener {
  let closed = false;
  let connection: Connection | undefined;
  let retry: NodeJS.Timeout | undefined;
  let connecting = Promise.resolve();

  const connect = async (): Promise<void> => {
    try {
      const fresh = await database.connect();
      fresh.onNotification((_channel, payload) => onNotification(payload));
      fresh.onLost(reconnectLater);
      connection = fresh;
      for (const channel of channels) await fresh.query({ text: `listen ${channel}` });
      onNotification('');
    } catch (error) {
      logger.debug({ err: error }, 'listening for notifications failed; it is tried again');
      reconnectLater();
    }
  };
  const reconnectLater = (): void => {
    if (closed || retry !== undefined) return;
    const lost = connection;
    connection = undefined;
    retry = setTimeout(() => {
      retry = undefined;
      connecting = (lost?.close().catch(() => undefined) ?? Promise.resolve()).then(connect);
    }, RECONNECT_AFTER_MS);
  };

  connecting = connect();
  return {
    async close() {
      closed = true;
      clearTimeout(retry);
      await connecting;
      await connection?.close();
    },
  };
}
