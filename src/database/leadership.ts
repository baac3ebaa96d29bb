import type { Logger } from '../shared/logger.ts';
import type { Connection, Database } from './database.ts';
import { sql } from './sql.ts';
import { LOCKS } from './locks.ts';
import { sleep } from '../shared/sleep.ts';

/** The time during which this process alone does what only one process may do. */
export interface Term {
  /** Aborted when the term ends unexpectedly: another process may lead by now. */
  readonly lost: AbortSignal;
  end(): Promise<void>;
}

const ASK_INTERVAL_MS = 300;
/** How soon a leader notices that it lost the lock: the server can fail over silently. */
const CHECK_INTERVAL_MS = 1_000;
const CHECK_TIMEOUT_MS = 2_000;

/**
 * Waits until this process leads all processes on the database; undefined when `signal` ends the
 * wait.
 *
 * Leadership is a lock of a connection's session: a dead process loses it at once, and a stalled
 * one keeps it. With the leases of projections it is the other way round, since the token of a
 * lease fences off what a stalled holder still writes. Requests that a stalled process has sent to
 * a provider cannot be fenced off, so no other process may take its place. The server's keep-alive
 * finds a dead host within half a minute.
 */
export async function lead(
  database: Database,
  office: string,
  signal: AbortSignal,
  logger: Logger,
): Promise<Term | undefined> {
  while (!signal.aborted) {
    const connection = await database.connect().catch((error: unknown) => {
      logger.debug({ err: error, office }, 'cannot connect for the election of a leader: retrying');
      return undefined;
    });
    const term = connection && (await termBy(connection, office, signal));
    if (term !== undefined) return term;
    await pause(signal);
  }
  return undefined;
}

/** Undefined when the connection was lost, or `signal` ended the wait. */
async function termBy(
  connection: Connection,
  office: string,
  signal: AbortSignal,
): Promise<Term | undefined> {
  const lost = new AbortController();
  connection.onLost(() => lost.abort());
  try {
    await keepAlive(connection);
    while (!signal.aborted && !lost.signal.aborted) {
      if (await isLeading(connection, office)) {
        const checking = check(connection, lost);
        return {
          lost: lost.signal,
          async end() {
            clearInterval(checking);
            await connection.close();
          },
        };
      }
      await pause(signal);
    }
  } catch {
    // The connection failed: the next one is asked.
  }
  await connection.close().catch(() => undefined);
  return undefined;
}

async function keepAlive(connection: Connection): Promise<void> {
  await connection.query(sql`
    select
      set_config('tcp_keepalives_idle', '10', false),
      set_config('tcp_keepalives_interval', '5', false),
      set_config('tcp_keepalives_count', '3', false),
      set_config('idle_session_timeout', '0', false)`);
}

function check(connection: Connection, lost: AbortController): NodeJS.Timeout {
  return setInterval(() => {
    connection.query(sql`select 1`, { timeoutMs: CHECK_TIMEOUT_MS }).catch(() => lost.abort());
  }, CHECK_INTERVAL_MS);
}

/** A standby has locks of its own, apart from those of its primary: they do not make a leader. */
async function isLeading(connection: Connection, office: string): Promise<boolean> {
  const [row] = await connection.query<{ isLeading: boolean }>(sql`
    select
      case
        when pg_is_in_recovery() then false
        else pg_try_advisory_lock(${LOCKS.leadership}, hashtext(${office}))
      end as "isLeading"`);
  return row?.isLeading === true;
}

async function pause(signal: AbortSignal): Promise<void> {
  await sleep(ASK_INTERVAL_MS, signal);
}
