import { EventStoreDBClient } from '@eventstore/db-client';

/**
 * The client of this process for one server. All logs on that server share it: the package keeps the
 * appends that wait for an answer in one table for all its clients, so that the broken stream of one
 * rejects those of the others, and a late answer to such an append ends the process.
 */
export interface Connection {
  readonly client: EventStoreDBClient;
  /** When the last log on the server is closed, the connection is. */
  close(): Promise<void>;
}

interface Shared {
  readonly client: EventStoreDBClient;
  users: number;
}

const shared = new Map<string, Shared>();

export function connect(connectionString: string): Connection {
  const connection = shared.get(connectionString) ?? {
    client: EventStoreDBClient.connectionString(connectionString),
    users: 0,
  };
  connection.users += 1;
  shared.set(connectionString, connection);
  let isClosed = false;
  return {
    client: connection.client,
    async close() {
      if (isClosed) return;
      isClosed = true;
      connection.users -= 1;
      if (connection.users > 0) return;
      shared.delete(connectionString);
      await closeClient(connection.client);
    },
  };
}

/** `dispose` ends the calls, and leaves the channel open, which keeps the process from ending. */
async function closeClient(client: EventStoreDBClient): Promise<void> {
  await client.dispose();
  const internals = client as unknown as { getChannel(): Promise<{ close(): void }> };
  // Where there is no server, no channel was made either.
  const channel = await internals.getChannel().catch(() => undefined);
  channel?.close();
}

const STREAM_PREFIX = /[?&]streamPrefix=([^&]*)/i;

/**
 * `streamPrefix=…` is ours, not the client's: it stands before the names of all streams, so that
 * several ledgers can live on one server.
 */
export function parseUrl(url: string): { connectionString: string; streamPrefix: string } {
  const streamPrefix = decodeURIComponent(STREAM_PREFIX.exec(url)?.[1] ?? '');
  const without = url.replace(STREAM_PREFIX, (found) => (found.startsWith('?') ? '?' : ''));
  return {
    connectionString: without.replace('?&', '?').replace(/\?$/, ''),
    streamPrefix,
  };
}
