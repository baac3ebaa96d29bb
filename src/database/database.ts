import pg from 'pg';
import { isTransient, LedgerError } from '../shared/errors.ts';
import type { Json } from '../shared/json.ts';
import type { Logger } from '../shared/logger.ts';
import { render, Sql, type Statement } from './sql.ts';

/** What can run statements: the pool (each on a connection of its own choice) or a connection. */
export interface Queryable {
  query<Row extends object>(statement: Sql | Statement, options?: QueryOptions): Promise<Row[]>;
}

export interface QueryOptions {
  /** How long the answer may take before the server counts as silent, if not as long as usual. */
  readonly timeoutMs?: number;
}

/** One connection of the caller's own, outside the pool, until it is closed or lost. */
export interface Connection extends Queryable {
  transaction<T>(work: (tx: Queryable) => Promise<T>): Promise<T>;
  onNotification(listener: (channel: string, payload: string) => void): void;
  /** Called once when the connection is lost; not when it is closed. */
  onLost(listener: (error: Error) => void): void;
  close(): Promise<void>;
}

export interface Database extends Queryable {
  readonly url: string;
  /** Runs `work` in one transaction, which is rolled back when it throws. */
  transaction<T>(work: (tx: Queryable) => Promise<T>): Promise<T>;
  connect(options?: ConnectOptions): Promise<Connection>;
  close(): Promise<void>;
}

export interface ConnectOptions {
  /** Sends statements before their predecessors are answered. One that fails stops no other. */
  readonly isPipelined?: boolean;
}

export interface DatabaseOptions {
  readonly url: string;
  readonly logger: Logger;
  readonly maxConnections?: number;
  readonly applicationName?: string;
  /** A statement that takes longer is cancelled in the server; 0: none is. */
  readonly statementTimeoutMs?: number;
  /**
   * A statement without an answer for so long means that the server, or the way to it, went silent.
   */
  readonly queryTimeoutMs?: number;
}

const QUERY_TIMEOUT_MS = 30_000;

/**
 * What every session is set to after it connects. The log's promises rest on isolation and commit,
 * so they must not depend on the defaults of a server, a database or a role: the appender sees what
 * its predecessor committed in READ COMMITTED only, and what was answered must be on disk. A
 * process that stalls in a transaction gives its locks back. Limits of a role on statements and on
 * waiting for a lock are lifted: clients give up by `queryTimeoutMs`, and rebuilds need longer than
 * a role may allow. Reads have a limit of ours, since the server would keep running one whose
 * client has given up.
 *
 * Rejected: the startup parameter `options`. PgBouncer refuses it, and an `options` in the URL
 * replaces it without a word.
 */
function sessionSettings(statementTimeoutMs: number): { readonly text: string } {
  return {
    text: `
      select
        set_config('TimeZone', 'UTC', false),
        set_config('DateStyle', 'ISO', false),
        set_config('default_transaction_isolation', 'read committed', false),
        set_config('synchronous_commit', 'on', false),
        set_config('idle_in_transaction_session_timeout', '10000', false),
        set_config('statement_timeout', '${statementTimeoutMs}', false),
        set_config('lock_timeout', '0', false),
        -- PostgreSQL 17 has it, and 15 refuses a name that it does not know.
        (select set_config(name, '0', false) from pg_settings where name = 'transaction_timeout')`,
  };
}

/**
 * A PostgreSQL database. Every method throws LedgerError `store-unavailable` for what may succeed
 * later, with the driver's error as its cause, and the driver's own error for everything else.
 *
 * Values come back as: `bigint` for int8, `Date` for timestamptz, the parsed value for json.
 */
export function openDatabase(options: DatabaseOptions): Database {
  const config = {
    connectionString: options.url,
    application_name: options.applicationName ?? 'fleetledger',
    connectionTimeoutMillis: 10_000,
    query_timeout: options.queryTimeoutMs ?? QUERY_TIMEOUT_MS,
    keepAlive: true,
    // The system's own delay is two hours; who only listens would notice nothing until then.
    keepAliveInitialDelayMillis: 10_000,
    types: { getTypeParser },
  };
  const pool = new pg.Pool({
    ...config,
    // oxlint-disable-next-line typescript/no-misused-promises -- the pool awaits it
    onConnect: (client) => setUpSession(client, options.statementTimeoutMs),
    max: options.maxConnections ?? 20,
    idleTimeoutMillis: 60_000,
  });
  // An idle connection that breaks is replaced by the pool; without a listener it ends the process.
  pool.on('error', (error) => options.logger.debug({ err: error }, 'idle connection lost'));

  return {
    url: options.url,
    query: (statement, options) => withClient(pool, (client) => run(client, statement, options)),
    transaction: (work) => withClient(pool, (client) => inTransaction(client, work)),
    async connect({ isPipelined = false } = {}) {
      const client = new pg.Client({ ...config, pipeline: isPipelined });
      const connection = ownConnection(client);
      await startSession(client);
      return connection;
    },
    close: () => pool.end(),
  };
}

async function withClient<T>(
  pool: pg.Pool,
  use: (client: pg.PoolClient) => Promise<T>,
): Promise<T> {
  const client = await connected(pool);
  let broken: Error | undefined;
  // The pool listens to idle connections only: without a listener the loss of this one ends the
  // process, also when a query has told of it already.
  const markBroken = (error: Error): void => {
    broken = error;
  };
  client.on('error', markBroken);
  try {
    return await use(client);
  } catch (error) {
    if (isDisconnected(error)) broken = error as Error;
    throw error;
  } finally {
    client.release(broken);
    client.off('error', markBroken);
  }
}

async function connected(pool: pg.Pool): Promise<pg.PoolClient> {
  try {
    return await pool.connect();
  } catch (error) {
    // The driver throws some errors at once, for example for a missing certificate.
    throw cannotConnect(error);
  }
}

/** @throws LedgerError `store-unavailable` */
export async function startSession(client: pg.Client): Promise<void> {
  try {
    await client.connect();
    await setUpSession(client);
  } catch (error) {
    // Not awaited: the caller need not wait until the socket is closed.
    client.end().catch(() => undefined);
    throw cannotConnect(error);
  }
}

async function setUpSession(client: pg.ClientBase, statementTimeoutMs = 0): Promise<void> {
  await client.query(sessionSettings(statementTimeoutMs));
}

function ownConnection(client: pg.Client): Connection {
  let closing = false;
  let lost: Error | undefined;
  const lostListeners: ((error: Error) => void)[] = [];
  const markLost = (error: Error): void => {
    if (closing || lost !== undefined) return;
    lost = error;
    for (const listener of lostListeners) listener(error);
  };
  client.on('error', markLost);
  client.on('end', () => markLost(new Error('the connection ended')));
  return {
    query: (statement, options) => run(client, statement, options),
    transaction: (work) => inTransaction(client, work),
    onNotification(listener) {
      client.on('notification', ({ channel, payload }) => listener(channel, payload ?? ''));
    },
    onLost(listener) {
      if (lost === undefined) lostListeners.push(listener);
      else listener(lost);
    },
    async close() {
      closing = true;
      await client.end();
    },
  };
}

async function inTransaction<T>(
  client: pg.ClientBase,
  work: (tx: Queryable) => Promise<T>,
): Promise<T> {
  const tx: Queryable = {
    query: (statement, options) => run(client, statement, options),
  };
  await tx.query({ text: 'begin' });
  try {
    const result = await work(tx);
    const { command } = await send(client, { text: 'commit' });
    // PostgreSQL ends a transaction in which a statement failed without an error at its commit.
    if (command !== 'COMMIT') {
      throw new Error('the transaction was rolled back: a statement in it had failed');
    }
    return result;
  } catch (error) {
    // On a broken connection the server rolls back anyway, and this error would hide the cause.
    await client.query('rollback').catch(() => undefined);
    throw error;
  }
}

async function run<Row extends object>(
  client: pg.ClientBase,
  statement: Sql | Statement,
  options?: QueryOptions,
): Promise<Row[]> {
  return (await send<Row>(client, statement, options)).rows;
}

async function send<Row extends object>(
  client: pg.ClientBase,
  statement: Sql | Statement,
  { timeoutMs }: QueryOptions = {},
): Promise<pg.QueryResult<Row>> {
  try {
    const rendered = statement instanceof Sql ? render(statement) : statement;
    return await client.query<Row>({
      ...rendered,
      values: rendered.values as unknown[],
      ...(timeoutMs !== undefined && { query_timeout: timeoutMs }),
    });
  } catch (error) {
    // The statement is still under way there, and what comes next would wait behind it. With one
    // under way `end` breaks the connection at once.
    if (isReadTimeout(error) && client instanceof pg.Client) void client.end();
    return rethrowAsUnavailable(error);
  }
}

/**
 * Whatever stands in the way of a connection, the next one may succeed: a password may be put
 * right.
 */
function cannotConnect(error: unknown): LedgerError {
  const detail = isConnectionFailure(error)
    ? 'The database is unavailable: try again in a moment.'
    : 'The database refuses the connection of this service: ask the operator to check ' +
      'DATABASE_URL.';
  return new LedgerError('store-unavailable', detail, { cause: error });
}

function rethrowAsUnavailable(error: unknown): never {
  if (isConnectionFailure(error)) {
    throw new LedgerError(
      'store-unavailable',
      'The database is unavailable: try again in a moment.',
      {
        cause: error,
      },
    );
  }
  if (isRefusedForNow(error)) {
    const detail = 'The database is busy: try again in a moment.';
    throw new LedgerError('store-unavailable', detail, { cause: error });
  }
  throw error;
}

/** Whether the connection is lost: after any other transient error it can still be used. */
export function isDisconnected(error: unknown): boolean {
  return error instanceof LedgerError && isTransient(error) && !isRefusal(error.cause);
}

/**
 * Whether the server refused a statement for now: SQLSTATE class 40 (rolled back, for example for a
 * deadlock), 55 (for example a lock that was not to be had in time) or 57 (an operator stepped in;
 * also a statement that was cancelled, for example by a time-out).
 */
function isRefusedForNow(error: unknown): boolean {
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  return /^(40|53|55|57)...$/.test(code);
}

function isRefusal(error: unknown): boolean {
  return isRefusedForNow(error) && !isConnectionFailure(error);
}

function isReadTimeout(error: unknown): boolean {
  return error instanceof Error && error.message === 'Query read timeout';
}

/**
 * Whether the server is unavailable, rather than the statement wrong: SQLSTATE class 08
 * (connection), 57P (shut down, crashed, starting), 53 (out of connections, memory or disk), 25006
 * (read only: a fail-over is under way), 25P03 (idle for too long in a transaction), a socket's
 * error, no answer in time, or the driver's own words for a connection that ended under a query.
 */
function isConnectionFailure(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  if (isReadTimeout(error)) return true;
  const code = 'code' in error && typeof error.code === 'string' ? error.code : '';
  if (/^(08...|53...|57P0[1-5]|25006|25P03)$/.test(code)) return true;
  if (/^(ECONN\w+|EPIPE|ETIMEDOUT|EHOSTUNREACH|ENETUNREACH|ENOTFOUND|EAI_AGAIN)$/.test(code))
    return true;
  return /^(Connection terminated|Client has encountered a connection error|timeout exceeded when trying to connect|timeout expired|Client was closed|Cannot use a pool after)/.test(
    error.message,
  );
}

const INT8 = 20;
const JSON_TYPE = 114;
const JSONB = 3802;
const TIMESTAMPTZ = 1184;

function getTypeParser(oid: number, format?: 'text' | 'binary'): (text: string) => unknown {
  switch (oid) {
    case INT8:
      return BigInt;
    case JSON_TYPE:
    case JSONB:
      return (text): Json => JSON.parse(text) as Json;
    case TIMESTAMPTZ:
      // `2026-01-31 12:34:56.789+00`: the session's time zone is UTC, so the offset is always +00.
      return (text) => new Date(`${text.slice(0, 10)}T${text.slice(11, -3)}Z`);
    default:
      // oxlint-disable-next-line typescript/no-unsafe-enum-assignment -- it has built-in types only
      return pg.types.getTypeParser(oid, format ?? 'text');
  }
}
