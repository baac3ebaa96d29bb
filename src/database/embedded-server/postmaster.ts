import { open, readFile, rename, rm, stat, type FileHandle } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { ClusterLock } from './cluster-lock.ts';
import { codeOf } from './errors.ts';
import { worksOn } from './processes.ts';
import { giveTo, spawnAs } from './service-user.ts';
import type { ClusterPaths } from './cluster-paths.ts';
import { sleep } from '../../shared/sleep.ts';

/** What `postmaster.pid` says, and whether it is true. */
export type Postmaster =
  | {
      readonly kind: 'running';
      readonly pid: number;
      readonly port: number;
      readonly status: 'starting' | 'ready' | 'stopping';
    }
  /** It claims to be ready, but no such process is to be seen here. */
  | { readonly kind: 'unseen'; readonly port: number }
  | { readonly kind: 'none' };

export async function findPostmaster(clusterDir: string): Promise<Postmaster> {
  const file = await readFile(pidFile(clusterDir), 'utf8').catch((error: unknown) => {
    if (codeOf(error) === 'ENOENT') return '';
    throw error;
  });
  // pid, data directory, start time, port, socket folder, address, shared memory, status
  const [pid, , , port, , , , status = ''] = file.split('\n').map((line) => line.trim());
  if (pid === undefined || !/^\d+$/.test(pid)) return { kind: 'none' };
  const ready = status === 'ready' || status === 'standby';
  if (await worksOn(Number(pid), clusterDir))
    return {
      kind: 'running',
      pid: Number(pid),
      port: Number(port),
      status: ready ? 'ready' : status === 'stopping' ? 'stopping' : 'starting',
    };
  return ready ? { kind: 'unseen', port: Number(port) } : { kind: 'none' };
}

export type Start =
  | { readonly kind: 'started'; readonly port: number }
  | { readonly kind: 'failed'; readonly reason: string };

/**
 * Starts the server and waits until it takes connections, however long it recovers. It keeps the
 * port it had before when it can, so that addresses noted elsewhere keep working.
 */
export async function startPostmaster(
  paths: ClusterPaths,
  lock: ClusterLock,
  options: { readonly port?: number; readonly signal?: AbortSignal },
): Promise<Start> {
  // The lock says that no process of the cluster lives, which PostgreSQL itself could not know when
  // the pid in there has become somebody else's.
  if (lock.kind === 'held') await rm(pidFile(paths.clusterDir), { force: true });

  let port = options.port ?? (await lastPort(paths.clusterDir)) ?? (await freePort());
  let sharedBuffersMb = 256;
  for (let attempt = 1; ; attempt++) {
    const launch = await launchOnce(paths, lock, { port, sharedBuffersMb, signal: options.signal });
    if (launch.kind === 'ready') return { kind: 'started', port };
    if (PORT_TAKEN.test(launch.log) && options.port === undefined && attempt < 10)
      port = await freePort();
    else if (MEMORY_REFUSED.test(launch.log) && sharedBuffersMb > 8) sharedBuffersMb /= 2;
    else return { kind: 'failed', reason: `${launch.log.trim()} (${paths.logFile})` };
  }
}

/** Ends all connections, writes a checkpoint and stops; waits until it is gone. */
export async function stopPostmaster(paths: ClusterPaths): Promise<void> {
  const postmaster = await findPostmaster(paths.clusterDir);
  if (postmaster.kind !== 'running') return;
  const { pid } = postmaster;
  if (process.platform === 'win32')
    await spawnAs(
      paths.user,
      paths.binaries.pgCtl,
      ['stop', '-D', paths.clusterDir, '-m', 'fast', '--no-wait'],
      { stdio: 'ignore', env: serverEnvironment(paths), windowsHide: true },
    );
  else process.kill(pid, 'SIGINT');

  const deadlineMs = performance.now() + STOP_PATIENCE_MS;
  while (await worksOn(pid, paths.clusterDir)) {
    if (performance.now() > deadlineMs) {
      paths.logger.warn(
        { serverPid: pid },
        'the embedded PostgreSQL is still stopping, and will end',
      );
      return;
    }
    await sleep(POLL_MS);
  }
}

/** Nothing of ours but the way to programs and libraries: PGDATA and its like would be obeyed. */
export function serverEnvironment(paths: Pick<ClusterPaths, 'binaries'>): NodeJS.ProcessEnv {
  const { libraryPath } = paths.binaries;
  const searched = process.platform === 'darwin' ? 'DYLD_LIBRARY_PATH' : 'LD_LIBRARY_PATH';
  return {
    PATH: process.env['PATH'],
    SystemRoot: process.env['SystemRoot'],
    LC_ALL: 'C',
    TZ: 'UTC',
    ...(libraryPath === undefined ? {} : { [searched]: libraryPath }),
  };
}

interface LaunchOptions {
  readonly port: number;
  readonly sharedBuffersMb: number;
  readonly signal: AbortSignal | undefined;
}

type Launch = { readonly kind: 'ready' } | { readonly kind: 'exited'; readonly log: string };

async function launchOnce(
  paths: ClusterPaths,
  lock: ClusterLock,
  options: LaunchOptions,
): Promise<Launch> {
  const log = await openLog(paths);
  try {
    const { size: logStart } = await log.stat();
    const child = await spawnAs(
      paths.user,
      paths.binaries.postgres,
      ['-D', paths.clusterDir, '-p', String(options.port), ...settings(options.sharedBuffersMb)],
      {
        stdio: ['ignore', log.fd, log.fd, lock.kind === 'held' ? lock.file.fd : 'ignore'],
        env: serverEnvironment(paths),
        cwd: path.parse(paths.clusterDir).root,
        // A session of its own: Ctrl-C at the terminal is for us, who drain and then stop it.
        detached: true,
        windowsHide: true,
      },
    );
    child.unref();
    let exited = false;
    child.once('exit', () => (exited = true));
    for (;;) {
      const postmaster = await findPostmaster(paths.clusterDir);
      if (postmaster.kind === 'running' && postmaster.pid === child.pid) {
        if (postmaster.status === 'ready') {
          paths.logger.info(
            { serverPid: child.pid, port: options.port },
            'started the embedded PostgreSQL',
          );
          return { kind: 'ready' };
        }
      }
      if (exited) return { kind: 'exited', log: await lastLines(paths.logFile, logStart) };
      await delay(
        POLL_MS,
        undefined,
        options.signal === undefined ? {} : { signal: options.signal },
      );
    }
  } finally {
    await log.close();
  }
}

function settings(sharedBuffersMb: number): string[] {
  const values: Record<string, string> = {
    listen_addresses: '127.0.0.1',
    // Their paths are limited to about 100 bytes, which a data directory may well exceed.
    unix_socket_directories: '',
    max_connections: '100',
    shared_buffers: `${sharedBuffersMb}MB`,
    // Said aloud, so that no file in the cluster turns them off: what is acknowledged is on disk.
    fsync: 'on',
    synchronous_commit: 'on',
    full_page_writes: 'on',
    wal_compression: 'on',
    max_wal_size: '2GB',
    checkpoint_timeout: '15min',
    timezone: 'UTC',
    log_timezone: 'UTC',
    lc_messages: 'C',
    log_line_prefix: '%m [%p] ',
    // Errors go to the client that made them. Here they would only grow the file: a conflict is
    // daily business of a log.
    log_min_messages: 'log',
    log_checkpoints: 'off',
  };
  // A backend notices the death of a process in the midst of a query, and lets its locks go.
  if (process.platform !== 'win32') values['client_connection_check_interval'] = '1s';
  return Object.entries(values).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
}

/** Appends; one earlier file is kept, for what led to a crash. */
async function openLog(paths: ClusterPaths): Promise<FileHandle> {
  const size = await stat(paths.logFile).then(
    (found) => found.size,
    () => 0,
  );
  if (size > LOG_LIMIT_BYTES) await rename(paths.logFile, `${paths.logFile}.1`);
  const log = await open(paths.logFile, 'a', 0o600);
  await giveTo(paths.user, paths.logFile);
  return log;
}

async function lastLines(logFile: string, startByte: number): Promise<string> {
  const written = (await readFile(logFile)).subarray(startByte).toString('utf8');
  return written.trim().split('\n').slice(-5).join('\n');
}

/** `postmaster.opts` keeps the command line of the last start. */
async function lastPort(clusterDir: string): Promise<number | undefined> {
  const line = await readFile(path.join(clusterDir, 'postmaster.opts'), 'utf8').catch(() => '');
  const port = /"-p" "(\d+)"/.exec(line)?.[1];
  return port === undefined ? undefined : Number(port);
}

/** Free a moment ago; if it is not any more, PostgreSQL says so. */
async function freePort(): Promise<number> {
  const probe = createServer();
  await new Promise<void>((resolve, reject) => {
    probe.once('error', reject).listen(0, '127.0.0.1', resolve);
  });
  const { port } = probe.address() as AddressInfo;
  await new Promise((resolve) => probe.close(resolve));
  return port;
}

function pidFile(clusterDir: string): string {
  return path.join(clusterDir, 'postmaster.pid');
}

const PORT_TAKEN = /could not bind|could not create any TCP\/IP sockets/;
const MEMORY_REFUSED = /could not map anonymous shared memory|could not create shared memory/;
const POLL_MS = 20;
const STOP_PATIENCE_MS = 60_000;
const LOG_LIMIT_BYTES = 8 * 1024 * 1024;
