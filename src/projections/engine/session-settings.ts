import type { Queryable } from '../../database/database.ts';
import { sql } from '../../database/sql.ts';

/** PostgreSQL's own names; times are in milliseconds. */
interface Settings {
  /** The schema in which statements look for tables that they name without one. */
  readonly search_path?: string;
  readonly statement_timeout?: number;
  readonly lock_timeout?: number;
  readonly idle_in_transaction_session_timeout?: number;
  /** `off`: a crash loses the last commits, each as a whole. */
  readonly synchronous_commit?: 'on' | 'off';
}

/** Sets them until the transaction ends. */
export async function setForTransaction(tx: Queryable, settings: Settings): Promise<void> {
  await set(tx, settings, true);
}

/** Sets them until the connection is closed. */
export async function setForSession(connection: Queryable, settings: Settings): Promise<void> {
  await set(connection, settings, false);
}

async function set(database: Queryable, settings: Settings, isLocal: boolean): Promise<void> {
  const calls = Object.entries(settings).map(
    ([name, value]) => sql`set_config(${name}, ${String(value)}, ${isLocal})`,
  );
  await database.query(sql`select ${sql.join(calls)}`);
}
