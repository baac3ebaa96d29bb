import { access, constants, mkdir, realpath } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { Logger } from '../../shared/logger.ts';
import { findBinaries } from './binaries.ts';
import { tryLock } from './cluster-lock.ts';
import { ensureCluster, readPassword } from './cluster.ts';
import { DataDirectoryInUse, EmbeddedServerError } from './errors.ts';
import { join, leave, urlOf, type Member, type Role } from './membership.ts';
import { findPostmaster, startPostmaster } from './postmaster.ts';
import { endOrphans } from './processes.ts';
import { chooseServiceUser } from './service-user.ts';
import type { ClusterPaths } from './cluster-paths.ts';
import { sleep } from '../../shared/sleep.ts';

export interface EmbeddedServer {
  /** `postgres://…` of the database `fleetledger`; it stays the same until `close`. */
  readonly url: string;
  /** Ends every use of `url` first: the one that closes last stops the server. May be repeated. */
  close(): Promise<void>;
}

export interface EmbeddedServerOptions {
  /** Made when it is missing. The cluster is its folder `postgres`. */
  readonly dataDir: string;
  readonly logger: Logger;
  /** One `service` per data directory; any number of `tool`s beside it. */
  readonly role: Role;
  /** Where PostgreSQL's `bin`, `lib` and `share` are. Default: in the npm package. */
  readonly binariesDir?: string;
}

/**
 * A PostgreSQL server over `dataDir`: the one that runs there already (also one left behind by a
 * killed process), or a new one.
 * @throws DataDirectoryInUse when another process serves this data directory (role `service`).
 * @throws EmbeddedServerError when PostgreSQL cannot run here; the message says what to do.
 */
export async function openEmbeddedServer(options: EmbeddedServerOptions): Promise<EmbeddedServer> {
  const { logger, role } = options;
  const paths = await prepareCluster(options);
  const first = await enter(paths, { role });
  let state: State = hold(first);
  return { url: urlOf(paths, first.port), close };

  function hold(member: Member): State {
    void member.lost.then(() => {
      if (state.kind !== 'holding' || state.member !== member) return;
      logger.warn('the embedded PostgreSQL dropped the connection that holds its locks');
      state = regain();
    });
    return { kind: 'holding', member };
  }

  function regain(): State {
    const abort = new AbortController();
    const settled = enterAgain(abort.signal).then((member) => {
      if (member !== undefined && !abort.signal.aborted) state = hold(member);
      return member;
    });
    return { kind: 'regaining', abort, settled };
  }

  async function enterAgain(signal: AbortSignal): Promise<Member | undefined> {
    for (let pauseMs = 50; !signal.aborted; pauseMs = Math.min(pauseMs * 2, 5000)) {
      try {
        // The port stays, since the URL was handed out.
        const member = await enter(paths, { role, port: first.port, signal });
        logger.warn('the embedded PostgreSQL is available again, and its locks are held');
        return member;
      } catch (error) {
        if (!signal.aborted)
          logger.error({ err: error }, 'the embedded PostgreSQL is still unavailable');
      }
      await sleep(pauseMs, signal);
    }
    return undefined;
  }

  function close(): Promise<void> {
    if (state.kind !== 'closed') state = { kind: 'closed', done: end(state) };
    return state.done;
  }

  async function end(before: Exclude<State, { kind: 'closed' }>): Promise<void> {
    if (before.kind === 'regaining') before.abort.abort();
    const member = before.kind === 'holding' ? before.member : await before.settled;
    if (member !== undefined && (await leave(paths, member))) return;
    // The connection was gone first. Over a new one, so that the server does not stay behind.
    try {
      const signal = AbortSignal.timeout(CLOSE_PATIENCE_MS);
      await leave(paths, await enter(paths, { role: 'tool', signal }));
    } catch (error) {
      logger.warn(
        { err: error },
        'the embedded PostgreSQL may still run: the next start adopts it',
      );
    }
  }
}

type State =
  | { readonly kind: 'holding'; readonly member: Member }
  /** The connection was lost; `settled` gives the new one, or nothing when it was aborted first. */
  | {
      readonly kind: 'regaining';
      readonly abort: AbortController;
      readonly settled: Promise<Member | undefined>;
    }
  | { readonly kind: 'closed'; readonly done: Promise<void> };

interface Entry {
  readonly role: Role;
  /** Only this one will do. */
  readonly port?: number;
  readonly signal?: AbortSignal;
}

/** Opens the server, and begins again until it succeeds: a server may stop at any step. */
async function enter(paths: ClusterPaths, entry: Entry): Promise<Member> {
  const startedAtMs = performance.now();
  let told = false;
  let patience = { forMs: 0, sinceMs: startedAtMs };
  for (;;) {
    const elapsedMs = performance.now() - startedAtMs;
    let found = await findOrStart(paths, entry, elapsedMs);
    if (found.kind === 'server') {
      const joining = await join(paths, found.port, entry.role);
      if (joining.kind === 'joined') return joining.member;
      if (joining.kind === 'taken') throw new DataDirectoryInUse(paths.dataDir, joining.holderPid);
      const reason = found.seen ? joining.reason : heldElsewhere(paths);
      const patienceMs = found.seen ? HIDDEN_PATIENCE_MS : UNSEEN_PATIENCE_MS;
      found = { kind: 'wait', reason, patienceMs };
    }
    if (elapsedMs > SILENCE_MS && !told) {
      paths.logger.info({ reason: found.reason }, 'waiting for the embedded PostgreSQL');
      told = true;
    }
    // Counted anew when the status changes: a long recovery leaves time for what follows it.
    if (patience.forMs !== found.patienceMs)
      patience = { forMs: found.patienceMs, sinceMs: performance.now() };
    if (performance.now() - patience.sinceMs > patience.forMs)
      throw new EmbeddedServerError(`gave up waiting for PostgreSQL: ${found.reason}`);
    await delay(POLL_MS, undefined, entry.signal === undefined ? {} : { signal: entry.signal });
  }
}

type Found =
  /** Not `seen`: its process is not on this machine, or in another container, or dead. */
  | { readonly kind: 'server'; readonly port: number; readonly seen: boolean }
  | { readonly kind: 'wait'; readonly reason: string; readonly patienceMs: number };

async function findOrStart(paths: ClusterPaths, entry: Entry, elapsedMs: number): Promise<Found> {
  const lock = await tryLock(paths);
  try {
    const postmaster = await findPostmaster(paths.clusterDir);
    if (postmaster.kind === 'running') return foundRunning(postmaster, entry);
    if (lock.kind === 'busy') {
      if (elapsedMs > ORPHAN_PATIENCE_MS && (await endOrphans(paths.clusterDir)) > 0)
        paths.logger.warn('ended processes of a killed PostgreSQL');
      // A container with our network and its own processes: the server may well answer.
      if (postmaster.kind === 'unseen')
        return { kind: 'server', port: postmaster.port, seen: false };
      return { kind: 'wait', reason: heldElsewhere(paths), patienceMs: HIDDEN_PATIENCE_MS };
    }
    await ensureCluster(paths, lock);
    const start = await startPostmaster(paths, lock, entry);
    if (start.kind === 'started') return { kind: 'server', port: start.port, seen: true };
    // Without locks another opener may have been faster.
    const rival = await findPostmaster(paths.clusterDir);
    if (rival.kind === 'running') return foundRunning(rival, entry);
    throw new EmbeddedServerError(`PostgreSQL did not start: ${start.reason}`);
  } finally {
    // The server has inherited the lock by now; ours would only outlive it.
    if (lock.kind === 'held') await lock.file.close();
  }
}

function foundRunning(
  postmaster: { readonly port: number; readonly status: 'starting' | 'ready' | 'stopping' },
  entry: Entry,
): Found {
  const { port, status } = postmaster;
  if (status !== 'ready')
    return { kind: 'wait', reason: `it is still ${status}`, patienceMs: SEEN_PATIENCE_MS };
  if (entry.port !== undefined && entry.port !== port)
    throw new EmbeddedServerError(
      `another process has restarted PostgreSQL at port ${port}, and this one knows port ` +
        `${entry.port}; restart this one`,
    );
  return { kind: 'server', port, seen: true };
}

function heldElsewhere(paths: ClusterPaths): string {
  return (
    `a process that cannot be seen from here (in another container?) holds ${paths.lockFile}; ` +
    'stop it first'
  );
}

async function prepareCluster(options: EmbeddedServerOptions): Promise<ClusterPaths> {
  const dataDir = await makeDataDir(options.dataDir);
  const binaries = await findBinaries(
    options.binariesDir,
    path.join(dataDir, 'postgres-libraries'),
  );
  const user = await chooseServiceUser(dataDir, [...binaries.files, dataDir]);
  const clusterDir = path.join(dataDir, 'postgres');
  const paths = {
    dataDir,
    // It may be a link to another disk.
    clusterDir: await realpath(clusterDir).catch(() => clusterDir),
    passwordFile: path.join(dataDir, 'postgres-password'),
    lockFile: path.join(dataDir, 'postgres.lock'),
    logFile: path.join(dataDir, 'postgres.log'),
    binaries,
    user,
    logger: options.logger,
  };
  return { ...paths, password: await readPassword(paths) };
}

async function makeDataDir(dataDir: string): Promise<string> {
  try {
    await mkdir(dataDir, { recursive: true });
    await access(dataDir, constants.W_OK | constants.X_OK);
    return await realpath(dataDir);
  } catch (error) {
    throw new EmbeddedServerError(
      `${path.resolve(dataDir)} cannot be written: set DATA_DIR to a folder of this user, or ` +
        'set DATABASE_URL',
      { cause: error },
    );
  }
}

const POLL_MS = 25;
const SILENCE_MS = 2000;
/** A server that we see starting is recovering, one that is stopping writes its last checkpoint. */
const SEEN_PATIENCE_MS = 600_000;
/** Someone holds the lock and shows no server yet: initdb takes seconds, even on a slow disk. */
const HIDDEN_PATIENCE_MS = 60_000;
/** Someone holds the lock of a server that says it is ready, and is not to be seen from here. */
const UNSEEN_PATIENCE_MS = 10_000;
/** Most children of a killed postmaster end within a second or two. */
const ORPHAN_PATIENCE_MS = 2000;
const CLOSE_PATIENCE_MS = 5000;
