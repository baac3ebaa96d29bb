import pg from 'pg';
import { LedgerError } from '../shared/errors.ts';
import type { Database } from './database.ts';

/**
 * The database cannot be used. The message is for whoever starts the process, and says what to do.
 */
export class DatabaseRefusedError extends Error {
  override readonly name = 'DatabaseRefusedError';
}

/**
 * The oldest version that has what is used: `nulls not distinct`, and statistics by `pg_stat_io`.
 */
const MIN_SERVER_VERSION = 150_000;

interface ServerRow {
  readonly version: number;
  readonly version_text: string;
  readonly encoding: string;
  readonly is_standby: boolean;
  readonly database: string;
}

/** @throws DatabaseRefusedError */
export async function checkServer(database: Database): Promise<void> {
  const row = await serverOf(database);
  if (row.version < MIN_SERVER_VERSION) {
    throw new DatabaseRefusedError(
      `PostgreSQL ${row.version_text} at ${addressOf(database.url)} is too old: version 15 ` +
        'or later is needed.',
    );
  }
  if (row.is_standby) {
    throw new DatabaseRefusedError(
      `The PostgreSQL at ${addressOf(database.url)} is a read-only standby. Set DATABASE_URL ` +
        'to its primary.',
    );
  }
  if (row.encoding !== 'UTF8') {
    const make = `CREATE DATABASE fleetledger ENCODING 'UTF8' TEMPLATE template0 LOCALE 'C'`;
    throw new DatabaseRefusedError(
      `The database ${row.database} at ${addressOf(database.url)} has the encoding ` +
        `${row.encoding}, which cannot hold every text: make one with the encoding UTF8 ` +
        `(${make}) and set DATABASE_URL to it.`,
    );
  }
}

async function serverOf(database: Database): Promise<ServerRow> {
  try {
    const [row] = await database.query<ServerRow>({
      text: `
        select
          current_setting('server_version_num')::integer as version,
          current_setting('server_version') as version_text,
          current_setting('server_encoding') as encoding,
          pg_is_in_recovery() as is_standby,
          current_database()::text as database`,
    });
    if (row === undefined) throw new Error('a select without a table gives one row');
    return row;
  } catch (error) {
    if (!(error instanceof LedgerError)) throw error;
    throw new DatabaseRefusedError(connectFailure(database.url, error.cause), { cause: error });
  }
}

/** Why there is no connection to the server at `url`, in one line without the password. */
function connectFailure(url: string, cause: unknown): string {
  const parts = partsOf(url);
  if (parts === undefined) return `DATABASE_URL cannot be used: ${reasonOf(cause)}.`;
  const { host, port, database, user } = parts;
  return (
    `Cannot connect to PostgreSQL at ${host}:${port} (database ${database}, user ${user}): ` +
    `${reasonOf(cause)}. Check that it runs there, and DATABASE_URL.`
  );
}

/** What the schema needs and its user may not: nothing was changed. */
export function rightsFailure(url: string, cause: Error): DatabaseRefusedError {
  const { database, user } = partsOf(url) ?? { database: '', user: '' };
  return new DatabaseRefusedError(
    `The user ${user} may not make the schemas of Fleetledger in the database ${database} ` +
      `(${cause.message}). As a superuser: GRANT CREATE ON DATABASE "${database}" TO "${user}".`,
    { cause },
  );
}

function addressOf(url: string): string {
  const { host = '', port = '' } = partsOf(url) ?? {};
  return `${host}:${port}`;
}

interface Parts {
  readonly host: string;
  readonly port: number;
  readonly database: string | undefined;
  readonly user: string | undefined;
}

/**
 * As the driver takes them, with its defaults; undefined when a file that the URL names cannot be
 * read.
 */
function partsOf(url: string): Parts | undefined {
  try {
    const { host, port, database, user } = new pg.Client({ connectionString: url });
    return { host, port, database, user };
  } catch {
    return undefined;
  }
}

const REASONS: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'connection refused',
  ECONNRESET: 'the connection was closed',
  ENOTFOUND: 'there is no host of this name',
  EAI_AGAIN: 'the name of the host could not be looked up',
  ETIMEDOUT: 'no answer in time',
  EHOSTUNREACH: 'the host is unreachable',
  ENETUNREACH: 'the network is unreachable',
};

function reasonOf(cause: unknown): string {
  if (!(cause instanceof Error)) return String(cause);
  const code = 'code' in cause && typeof cause.code === 'string' ? cause.code : undefined;
  const text = (code && REASONS[code]) ?? (cause.message.split('\n')[0] || cause.name);
  const reason = text.replace(/\.$/, '');
  return code === undefined ? reason : `${reason} (${code})`;
}
