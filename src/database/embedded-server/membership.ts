import { realpath } from 'node:fs/promises';
import pg from 'pg';
import { EMBEDDED_SERVER_USE, LOCKS } from '../locks.ts';
import { SUPERUSER } from './cluster.ts';
import { codeOf, EmbeddedServerError } from './errors.ts';
import { stopPostmaster } from './postmaster.ts';
import { isRunning } from './processes.ts';
import type { ClusterPaths } from './cluster-paths.ts';
import { sleep } from '../../shared/sleep.ts';
import { errorMessage } from '../../shared/errors.ts';

/** One service per data directory, any number of tools. */
export type Role = 'service' | 'tool';

/** One who uses the server, for as long as this connection lives. */
export interface Member {
  readonly client: pg.Client;
  readonly role: Role;
  readonly port: number;
  /** Resolves when the connection is gone, whoever ended it. */
  readonly lost: Promise<void>;
}

export type Joining =
  | { readonly kind: 'joined'; readonly member: Member }
  /** Another process has the role `service`. */
  | { readonly kind: 'taken'; readonly holderPid: number | undefined }
  /** The server is stopping or starting. */
  | { readonly kind: 'unavailable'; readonly reason: string };

/** @throws EmbeddedServerError when the server does not accept our password. */
export async function join(paths: ClusterPaths, port: number, role: Role): Promise<Joining> {
  let member: Member | undefined;
  try {
    member = await connectMember(paths, port, role);
    if (!(await isOurs(paths, member.client)))
      return unavailable(member, `what answers at port ${port} is not this cluster`);
    // Before the service's lock: from here on nobody stops the server beneath us.
    if (!(await tryShared(member.client))) return unavailable(member, 'it is just being stopped');
    if (role === 'tool') return { kind: 'joined', member };

    const claim = await claimService(member.client);
    if (claim.kind === 'granted') return { kind: 'joined', member };
    // The holder may have closed by now, and then we are the last one.
    await leave(paths, member);
    return { kind: 'taken', holderPid: claim.holderPid };
  } catch (error) {
    if (error instanceof EmbeddedServerError) throw error;
    return unavailable(member, errorMessage(error));
  }
}

/**
 * Leaves, and stops the server when nobody else is in. False when the connection was gone before
 * that could be asked.
 */
export async function leave(paths: ClusterPaths, member: Member): Promise<boolean> {
  const { client, role } = member;
  const classId = LOCKS.embeddedServer;
  const { users, service } = EMBEDDED_SERVER_USE;
  try {
    if (role === 'service')
      await client.query('select pg_advisory_unlock($1, $2)', [classId, service]);
    // Released first, then tried exclusively: of two who leave at once, one at least finds nobody.
    await client.query('select pg_advisory_unlock_shared($1, $2)', [classId, users]);
    const last = await client.query<{ got: boolean }>(
      'select pg_try_advisory_lock($1, $2) as got',
      [classId, users],
    );
    // The exclusive lock is kept until the end: an opener that comes now sees it, and waits.
    if (last.rows[0]?.got === true) await stopPostmaster(paths);
    return true;
  } catch {
    return false;
  } finally {
    await client.end().catch(() => undefined);
  }
}

export function urlOf(paths: ClusterPaths, port: number): string {
  // Said aloud: PGSSLMODE in the environment would otherwise be obeyed.
  return `postgres://${SUPERUSER}:${paths.password}@127.0.0.1:${port}/${DATABASE}?sslmode=disable`;
}

async function unavailable(member: Member | undefined, reason: string): Promise<Joining> {
  await member?.client.end().catch(() => undefined);
  return { kind: 'unavailable', reason };
}

async function connectMember(paths: ClusterPaths, port: number, role: Role): Promise<Member> {
  try {
    return await connect(paths, port, role, DATABASE);
  } catch (error) {
    if (codeOf(error) !== DATABASE_MISSING) throw error;
  }
  const maker = await connect(paths, port, role, 'postgres');
  try {
    await maker.client.query(`create database ${DATABASE}`);
  } catch (error) {
    // Another opener was faster: seen before it tried, or by the catalogue's index.
    if (!DATABASE_EXISTS.has(codeOf(error) ?? '')) throw error;
  } finally {
    await maker.client.end();
  }
  return connect(paths, port, role, DATABASE);
}

async function connect(
  paths: ClusterPaths,
  port: number,
  role: Role,
  database: string,
): Promise<Member> {
  const client = new pg.Client({
    host: '127.0.0.1',
    port,
    user: SUPERUSER,
    password: paths.password,
    database,
    ssl: false,
    application_name: `${HOLDER_PREFIX}${process.pid} (${role})`,
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
  });
  // Without a listener a dropped connection would end the process; `lost` tells whoever cares.
  client.on('error', () => undefined);
  const lost = new Promise<void>((resolve) => client.once('end', () => resolve()));
  try {
    await client.connect();
  } catch (error) {
    await client.end().catch(() => undefined);
    if (!WRONG_PASSWORD.has(codeOf(error) ?? '')) throw error;
    throw new EmbeddedServerError(
      `the password in ${paths.passwordFile} is not that of ${paths.clusterDir}: restore ` +
        'both from the same backup',
      { cause: error },
    );
  }
  return { client, role, port, lost };
}

/**
 * Our password proves it (SCRAM: the server shows that it knows it too), except for a copy of the
 * whole data directory that runs elsewhere.
 */
async function isOurs(paths: ClusterPaths, client: pg.Client): Promise<boolean> {
  const answer = await client.query<{ folder: string }>(
    `select current_setting('data_directory') as folder`,
  );
  const folder = answer.rows[0]?.folder ?? '';
  return (await realpath(folder).catch(() => folder)) === (await realpath(paths.clusterDir));
}

async function tryShared(client: pg.Client): Promise<boolean> {
  const classId = LOCKS.embeddedServer;
  const { users } = EMBEDDED_SERVER_USE;
  const answer = await client.query<{ got: boolean }>(
    'select pg_try_advisory_lock_shared($1, $2) as got',
    [classId, users],
  );
  return answer.rows[0]?.got === true;
}

type Claim =
  | { readonly kind: 'granted' }
  | { readonly kind: 'refused'; readonly holderPid: number | undefined };

async function claimService(client: pg.Client): Promise<Claim> {
  const classId = LOCKS.embeddedServer;
  const { service } = EMBEDDED_SERVER_USE;
  const deadlineMs = performance.now() + DEAD_HOLDER_PATIENCE_MS;
  for (;;) {
    const answer = await client.query<{ got: boolean }>(
      'select pg_try_advisory_lock($1, $2) as got',
      [classId, service],
    );
    if (answer.rows[0]?.got === true) return { kind: 'granted' };
    const holderPid = await serviceHolder(client);
    // A holder that is dead keeps the lock until its backend notices.
    const alive = holderPid !== undefined && (await isRunning(holderPid));
    if (alive || performance.now() > deadlineMs) return { kind: 'refused', holderPid };
    await sleep(POLL_MS);
  }
}

async function serviceHolder(client: pg.Client): Promise<number | undefined> {
  const classId = LOCKS.embeddedServer;
  const { service } = EMBEDDED_SERVER_USE;
  const answer = await client.query<{ name: string }>(
    `select a.application_name as name
       from pg_locks l
       join pg_stat_activity a on a.pid = l.pid and a.datid = l.database
      where l.locktype = 'advisory' and l.objsubid = 2 and l.granted
        and l.classid = $1 and l.objid = $2 and a.datname = current_database()`,
    [classId, service],
  );
  const name = answer.rows[0]?.name ?? '';
  return name.startsWith(HOLDER_PREFIX)
    ? Number.parseInt(name.slice(HOLDER_PREFIX.length))
    : undefined;
}

const DATABASE = 'fleetledger';
const HOLDER_PREFIX = 'fleetledger pid ';
const DATABASE_MISSING = '3D000';
const DATABASE_EXISTS = new Set(['42P04', '23505']);
const WRONG_PASSWORD = new Set(['28P01', '28000']);
const CONNECT_TIMEOUT_MS = 5000;
const DEAD_HOLDER_PATIENCE_MS = 3000;
const POLL_MS = 25;
