import { randomBytes } from 'node:crypto';
import {
  chown,
  link,
  lstat,
  mkdtemp,
  open,
  readFile,
  readdir,
  rename,
  rm,
  stat,
  writeFile,
} from 'node:fs/promises';
import path from 'node:path';
import type { ClusterLock } from './cluster-lock.ts';
import { belongsToAnother, codeOf, EmbeddedServerError } from './errors.ts';
import { serverEnvironment } from './postmaster.ts';
import { giveTo, spawnAs } from './service-user.ts';
import type { ClusterPaths } from './cluster-paths.ts';

export const SUPERUSER = 'fleetledger';

/**
 * A whole cluster at `clusterDir`, or none: it is made beside and renamed into place, so a kill at
 * any moment leaves a folder that the next start removes.
 */
export async function ensureCluster(paths: ClusterPaths, lock: ClusterLock): Promise<void> {
  await removeLeftovers(paths, lock);
  if (await clusterExists(paths)) return takeOver(paths);

  const fresh = await mkdtemp(path.join(paths.dataDir, FRESH_PREFIX));
  await giveTo(paths.user, fresh);
  paths.logger.info({ clusterDir: paths.clusterDir }, 'creating the embedded PostgreSQL cluster');
  await initdb(paths, fresh, lock);
  try {
    await rename(fresh, paths.clusterDir);
  } catch (error) {
    await rm(fresh, { recursive: true, force: true });
    // Only without a lock: another opener was faster, and its cluster is as good.
    if (!['ENOTEMPTY', 'EEXIST'].includes(codeOf(error) ?? '')) throw error;
  }
  await syncFolder(paths.dataDir);
}

/**
 * The superuser's password, made at the first call. Durable before there is a cluster that knows
 * it.
 * @throws EmbeddedServerError when there is a cluster and its password is lost or not ours to read.
 */
export async function readPassword(
  paths: Pick<ClusterPaths, 'passwordFile' | 'clusterDir' | 'dataDir' | 'user'>,
): Promise<string> {
  for (;;) {
    // Asked first: a cluster that is there now had its password before.
    const needed = await clusterExists(paths);
    try {
      return (await readFile(paths.passwordFile, 'utf8')).trim();
    } catch (error) {
      if (codeOf(error) === 'EACCES') throw belongsToAnother(paths.passwordFile, error);
      if (codeOf(error) !== 'ENOENT') throw error;
    }
    if (needed)
      throw new EmbeddedServerError(
        `${paths.passwordFile} is missing, and ${paths.clusterDir} cannot be opened without ` +
          'it: restore both from the same backup',
      );
    const fresh = `${paths.passwordFile}.${randomBytes(6).toString('hex')}`;
    const file = await open(fresh, 'wx', 0o600);
    await file.writeFile(`${randomBytes(24).toString('base64url')}\n`);
    await file.sync();
    await file.close();
    await giveToOwner(paths, fresh);
    // A link, not a rename: of two first starts one makes the password and both read it.
    await link(fresh, paths.passwordFile).catch((error: unknown) => {
      // Gone: the other one has removed it as a leftover.
      if (!['EEXIST', 'ENOENT'].includes(codeOf(error) ?? '')) throw error;
    });
    await rm(fresh, { force: true });
    await syncFolder(paths.dataDir);
  }
}

/**
 * Gives the password file to whoever owns the data directory. Not to the user that the server runs
 * as: `nobody`, say, is shared by other services, and needs the password only while the cluster is
 * made.
 */
async function giveToOwner(
  paths: Pick<ClusterPaths, 'dataDir' | 'user'>,
  file: string,
): Promise<void> {
  if (paths.user.kind === 'same') return;
  const { uid, gid } = await stat(paths.dataDir);
  await chown(file, uid, gid);
}

async function initdb(paths: ClusterPaths, folder: string, lock: ClusterLock): Promise<void> {
  // Removed as a leftover when this process is killed.
  const passwordFile = `${paths.passwordFile}.${randomBytes(6).toString('hex')}`;
  try {
    await writeFile(passwordFile, `${paths.password}\n`, { mode: 0o600, flag: 'wx' });
    await giveTo(paths.user, passwordFile);
    await runInitdb(paths, { folder, passwordFile }, lock);
  } finally {
    await rm(passwordFile, { force: true });
  }
}

async function runInitdb(
  paths: ClusterPaths,
  { folder, passwordFile }: { readonly folder: string; readonly passwordFile: string },
  lock: ClusterLock,
): Promise<void> {
  const child = await spawnAs(
    paths.user,
    paths.binaries.initdb,
    [
      `--pgdata=${folder}`,
      `--username=${SUPERUSER}`,
      `--pwfile=${passwordFile}`,
      '--auth=scram-sha-256',
      '--no-instructions',
      '--encoding=UTF8',
      // Sorts by code point whatever the system's C library is or becomes (an index never breaks
      // with its upgrade), and still knows upper and lower case outside ASCII.
      '--locale=C',
      '--locale-provider=builtin',
      '--builtin-locale=C.UTF-8',
    ],
    {
      stdio: ['ignore', 'pipe', 'pipe', lock.kind === 'held' ? lock.file.fd : 'ignore'],
      env: serverEnvironment(paths),
      cwd: path.parse(folder).root,
      detached: true,
      windowsHide: true,
    },
  );
  let output = '';
  child.stdout?.setEncoding('utf8').on('data', (text: string) => (output += text));
  child.stderr?.setEncoding('utf8').on('data', (text: string) => (output += text));
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve));
  if (code === 0) return;
  await rm(folder, { recursive: true, force: true });
  const [, namelessUid] = /could not look up effective user ID (\d+)/.exec(output) ?? [];
  if (namelessUid !== undefined) {
    throw new EmbeddedServerError(
      `PostgreSQL needs a name for the user ${namelessUid}, and /etc/passwd has none: add ` +
        `one (fleetledger:x:${namelessUid}:0::/:/bin/false), start as another user, or set ` +
        'DATABASE_URL',
    );
  }
  throw new EmbeddedServerError(
    `initdb could not make a cluster in ${paths.dataDir}: ` +
      output.trim().split('\n').slice(-3).join(' '),
  );
}

async function clusterExists(paths: Pick<ClusterPaths, 'clusterDir'>): Promise<boolean> {
  const names = await readdir(paths.clusterDir).catch((error: unknown): string[] => {
    if (codeOf(error) === 'ENOENT') return [];
    if (codeOf(error) === 'EACCES') throw belongsToAnother(paths.clusterDir, error);
    throw error;
  });
  // An empty folder gives way to the rename.
  if (names.length === 0) return false;
  if (names.includes('PG_VERSION')) return true;
  throw new EmbeddedServerError(
    `${paths.clusterDir} is neither empty nor a PostgreSQL cluster: move it elsewhere, or ` +
      'set DATA_DIR',
  );
}

/** Root runs the server as another user: what an earlier one owned becomes that user's. */
async function takeOver(paths: ClusterPaths): Promise<void> {
  const { uid } = await stat(paths.clusterDir);
  if (paths.user.kind === 'same') {
    if (process.getuid !== undefined && uid !== process.getuid())
      throw new EmbeddedServerError(
        `${paths.clusterDir} belongs to user ${uid}: run as that user, or give it to yours ` +
          '(chown -R)',
      );
    return;
  }
  await giveToOwner(paths, paths.passwordFile);
  if (uid === paths.user.uid) return;
  for (const entry of await readdir(paths.clusterDir, { recursive: true, withFileTypes: true }))
    if (!entry.isSymbolicLink()) await giveTo(paths.user, path.join(entry.parentPath, entry.name));
  // The folder last: its owner says that all of it was given.
  await chown(paths.clusterDir, paths.user.uid, paths.user.gid);
}

async function removeLeftovers(paths: ClusterPaths, lock: ClusterLock): Promise<void> {
  for (const name of await readdir(paths.dataDir)) {
    if (!LEFTOVER.test(name)) continue;
    const leftover = path.join(paths.dataDir, name);
    // Without a lock, another opener may be at work in it.
    if (lock.kind !== 'held' && !(await isOld(leftover))) continue;
    await rm(leftover, { recursive: true, force: true, maxRetries: 5 });
  }
}

async function isOld(file: string): Promise<boolean> {
  const found = await lstat(file).catch(() => undefined);
  return found !== undefined && Date.now() - found.mtimeMs > LEFTOVER_AGE_MS;
}

async function syncFolder(folder: string): Promise<void> {
  if (process.platform === 'win32') return;
  const handle = await open(folder, 'r');
  await handle.sync();
  await handle.close();
}

const FRESH_PREFIX = 'postgres.new-';
const LEFTOVER = /^postgres(\.new-|-password\.)/;
const LEFTOVER_AGE_MS = 3_600_000;
