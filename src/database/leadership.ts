import { setTimeout as delay } from 'node:timers/promises';
import type { Logger } from '../shared/logger.ts';
import type { Connection, Database } from './database.ts';

/** The time for which a process alone does what only one may do. */
export interface Term {
  /** Aborted when it is over against the holder's will: another process may lead by now. */
  readonly lost: AbortSignal;
  end(): Promise<void>;
}

const ASK_INTERVAL_MS = 300;

/**
 * Waits until this process leads, over all processes on the database; undefined when `signal` ends that.
 *
 * By a lock of a connection's session: a dead process loses it at once, a stalled one keeps it. The leases of
 * projections are the other way round, as what a stalled holder still writes is fenced off by its token. What
 * a stalled process has sent to a provider cannot be fenced off, so nobody may take its place.
 */
export async function lead(
  database: Database,
  office: string,
  signal: AbortSignal,
  logger: Logger,
): Promise<Term | undefined> {
  while (!signal.aborted) {
    const connection = await database.connect().catch((error: unknown) => {
      logger.debug({ err: error, office }, 'no connection to lead by; it is tried again');
      return undefined;
    });
    const term = connection && (await termBy(connection, office, signal));
    if (term !== undefined) return term;
    await pause(signal);
  }
  return undefined;
}

/** Undefined when the connection was lost, or `signal` ends the waiting. */
async function termBy(
  connection: Connection,
  office: string,
  signal: AbortSignal,
): Promise<Term | undefined> {
  const lost = new AbortController();
  connection.onLost(() => lost.abort());
  try {
    while (!signal.aborted && !lost.signal.aborted) {
      if (await isLeading(connection, office)) {
        return { lost: lost.signal, end: () => connection.close() };
      }
      await pause(signal);
    }
  } catch {
    // Of the connection: the next one is asked.
  }
  await connection.close().catch(() => undefined);
  return undefined;
}

async function isLeading(connection: Connection, office: string): Promise<boolean> {
  const [row] = await connection.query<{ is_leading: boolean }>({
    text: 'select pg_try_advisory_lock(7003, hashtext($1 /* office */)) as is_leading',
    values: [office],
  });
  return row?.is_leading === true;
}

async function pause(signal: AbortSignal): Promise<void> {
  await delay(ASK_INTERVAL_MS, undefined, { signal }).catch(() => undefined);
}
