import { randomBytes } from 'node:crypto';
import { parseUrl } from '../src/event-store/eventstoredb/connection.ts';
import { startChild } from './child.ts';

/** The EventStoreDB server that ours and the bare client use, each log in streams of its own. */
export interface EventStoreServer {
  /** One that holds nothing, whatever else the server holds. */
  freshLog(): EventStoreLog;
  close(): Promise<void>;
}

export interface EventStoreLog {
  /** As our adapter takes it. */
  readonly url: string;
  /** As the bare client takes it. */
  readonly connectionString: string;
  /** Before the names of all streams of this log. */
  readonly streamPrefix: string;
}

/** Instead of a connection string: the stand-in of the tests, in a process of its own. */
export const STAND_IN = 'stand-in';

/** A stand-in is started anew; a server keeps what it holds. */
export async function openEventStoreServer(url: string): Promise<EventStoreServer> {
  if (url !== STAND_IN) return serverAt(url, () => Promise.resolve());
  const program = new URL('../test/event-store/eventstoredb/stand-in-process.ts', import.meta.url);
  const standIn = await startChild(program);
  return serverAt(standIn.url, () => standIn.stop());
}

/** What may be shown of it: no credentials. */
export function hostOf(url: string): string {
  return url.replace(/^[^:]+:\/\/(?:.*@)?/, '').replace(/[/?].*$/, '');
}

function serverAt(url: string, close: () => Promise<void>): EventStoreServer {
  const { connectionString } = parseUrl(url);
  return {
    freshLog() {
      const streamPrefix = `bench${randomBytes(4).toString('hex')}.`;
      const separator = connectionString.includes('?') ? '&' : '?';
      return {
        url: `${connectionString}${separator}streamPrefix=${streamPrefix}`,
        connectionString,
        streamPrefix,
      };
    },
    close,
  };
}
