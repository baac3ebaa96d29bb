import { convertToCommandError, EventStoreDBClient, NotLeaderError } from '@eventstore/db-client';
import { isRefusedUser } from './failures.ts';
import { Reading } from './reading.ts';
import { errorMessage } from '../../shared/errors.ts';

/**
 * The connection of this process to one server. All logs on that server share it, and what bounds
 * its use: to one address gRPC makes one connection anyway, which carries about 100 streams.
 */
export interface Connection {
  readonly client: EventStoreDBClient;
  readonly reading: Reading;
  /** When the last log on the server is closed, the connection is. */
  close(): Promise<void>;
}

interface Shared {
  readonly client: EventStoreDBClient;
  readonly reading: Reading;
  closeChannels(): void;
  users: number;
}

/** An internal of the client, whose version is pinned. */
interface ClientInternals {
  createChannel(): Promise<{ close(): void }>;
  handleError(
    grpcClient: unknown,
    error: Parameters<typeof convertToCommandError>[0],
  ): Promise<void>;
}

const shared = new Map<string, Shared>();

export function connect(connectionString: string): Connection {
  const connection = shared.get(connectionString) ?? open(connectionString);
  connection.users += 1;
  shared.set(connectionString, connection);
  let isClosed = false;
  return {
    client: connection.client,
    reading: connection.reading,
    async close() {
      if (isClosed) return;
      isClosed = true;
      connection.users -= 1;
      if (connection.users > 0) return;
      shared.delete(connectionString);
      // This ends the calls and leaves the channel open, which keeps the process from ending.
      await connection.client.dispose();
      connection.closeChannels();
    },
  };
}

function open(connectionString: string): Shared {
  const client = clientOf(connectionString);
  const internals = client as unknown as ClientInternals;
  const closeChannels = trackChannels(internals);
  boundReconnects(internals);
  return { client, reading: new Reading(client), closeChannels, users: 0 };
}

/** A connection that fails is made anew so often, and not for each call that has failed on it. */
const RECONNECT_INTERVAL_MS = 1_000;

/**
 * The client takes another channel at each call that fails: a hundred callers and an outage of some
 * seconds are hundreds of channels, and sockets that are never closed.
 */
function boundReconnects(internals: ClientInternals): void {
  const handleError = internals.handleError.bind(internals);
  let reconnectedAtMs = Number.NEGATIVE_INFINITY;
  internals.handleError = async (grpcClient, error) => {
    const isToAnotherNode = convertToCommandError(error) instanceof NotLeaderError;
    if (!isToAnotherNode && performance.now() - reconnectedAtMs < RECONNECT_INTERVAL_MS) return;
    reconnectedAtMs = performance.now();
    // The client waits for it nowhere: while no node is found, its failure would end the process.
    await handleError(grpcClient, error).catch(() => undefined);
  };
}

/**
 * When several calls fail at once, the client forgets its channel and takes another one several
 * times. The channels between would stay connected for ever. So only the newest is kept open, and
 * calls on another one are retried. The result closes the newest; a channel that a failed call
 * makes after that is closed at once.
 */
function trackChannels(internals: ClientInternals): () => void {
  const createChannel = internals.createChannel.bind(internals);
  let newest: { readonly number: number; readonly channel: { close(): void } } | undefined;
  let number = 0;
  let isClosed = false;
  internals.createChannel = async () => {
    number += 1;
    const own = number;
    const channel = await createChannel();
    if (isClosed || (newest !== undefined && newest.number > own)) {
      channel.close();
    } else {
      newest?.channel.close();
      newest = { number: own, channel };
    }
    return channel;
  };
  return () => {
    isClosed = true;
    newest?.channel.close();
  };
}

/** The client does not take it. */
export class EventStoreUrlError extends Error {
  override readonly name = 'EventStoreUrlError';
}

/** @throws EventStoreUrlError */
export function checkUrl(url: string): void {
  clientOf(parseUrl(url).connectionString);
}

function clientOf(connectionString: string): EventStoreDBClient {
  try {
    return EventStoreDBClient.connectionString(connectionString);
  } catch (error) {
    const [line = ''] = errorMessage(error).split('\n');
    throw new EventStoreUrlError(`it is not understood: ${line}`, { cause: error });
  }
}

const STREAM_PREFIX = /[?&]streamPrefix=([^&]*)/i;

/**
 * `streamPrefix=…` is ours, not the client's: it stands before the names of all streams, so that
 * several ledgers can live on one server.
 */
export function parseUrl(url: string): { connectionString: string; streamPrefix: string } {
  const streamPrefix = STREAM_PREFIX.exec(url)?.[1] ?? '';
  const without = url.replace(STREAM_PREFIX, (found) => (found.startsWith('?') ? '?' : ''));
  return {
    connectionString: without.replace('?&', '?').replace(/\?$/, ''),
    streamPrefix,
  };
}

/** A status of gRPC. */
const UNAUTHENTICATED = 16;
const RIGHTS =
  'A ledger reads $all, and reads and writes its own streams: docs/operations.md says how to ' +
  'grant it';

/** Why the ledger cannot be opened there, in one line without the password. */
export function connectFailure(connectionString: string, cause: unknown): string {
  const { hosts, user, isAnonymous } = partsOf(connectionString);
  const place = `EventStoreDB at ${hosts}`;
  const [reason = ''] = errorMessage(cause).split('\n');
  if (!isRefusedUser(cause)) {
    return `Cannot connect to ${place}: ${reason}. Check that it runs there, and EVENTSTORE_URL.`;
  }
  if (isAnonymous) {
    return (
      `${place} refuses a connection without a user (${reason}). Name one in EVENTSTORE_URL, ` +
      `with TLS: with tls=false none is sent. ${RIGHTS}.`
    );
  }
  return Number(cause.code) === UNAUTHENTICATED
    ? `${place} does not know the user ${user} with this password (${reason}). ` +
        'Check EVENTSTORE_URL.'
    : `${place} does not allow the user ${user} what a ledger needs (${reason}). ${RIGHTS}.`;
}

function partsOf(connectionString: string): { hosts: string; user: string; isAnonymous: boolean } {
  const [, credentials = '', hosts = ''] =
    /^[^/]*\/\/(?:([^/?]*)@)?([^/?]*)/.exec(connectionString) ?? [];
  const user = decoded(credentials.split(':')[0] ?? '');
  return { hosts, user, isAnonymous: user === '' || /[?&]tls=false/i.test(connectionString) };
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
