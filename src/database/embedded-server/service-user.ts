import { spawn, type ChildProcess, type SpawnOptions } from 'node:child_process';
import { once } from 'node:events';
import { chown, readFile, realpath, stat } from 'node:fs/promises';
import path from 'node:path';
import { EmbeddedServerError } from './errors.ts';

/** As whom PostgreSQL runs: it refuses to be root. */
export type ServiceUser =
  | { readonly kind: 'same' }
  | { readonly kind: 'other'; readonly uid: number; readonly gid: number }
  /**
   * Cannot reach the files (they are below /root, say), so it may pass closed folders.
   */
  | { readonly kind: 'other-passing'; readonly uid: number; readonly gid: number };

/**
 * This process's own user, unless that is root: then the owner of `dataDir`, or `nobody` when that
 * is root too.
 * @throws EmbeddedServerError when that user cannot be made to reach all of `paths`.
 */
export async function chooseServiceUser(
  dataDir: string,
  paths: readonly string[],
): Promise<ServiceUser> {
  if (process.getuid?.() !== 0) return { kind: 'same' };
  const user = await ownerOrNobody(dataDir);
  const closed = await firstClosed(user, paths);
  if (closed === undefined) return { kind: 'other', ...user };

  const passing: ServiceUser = { kind: 'other-passing', ...user };
  if (await works(passing)) return passing;
  throw new EmbeddedServerError(
    `PostgreSQL does not run as root, and user ${user.uid} cannot pass ${closed}: start as ` +
      'another user, move DATA_DIR and the program out of it, or set DATABASE_URL',
  );
}

/** @throws EmbeddedServerError when the user cannot be changed. */
export async function spawnAs(
  user: ServiceUser,
  command: string,
  args: readonly string[],
  options: SpawnOptions,
): Promise<ChildProcess> {
  try {
    const child = start(user, command, args, options);
    await once(child, 'spawn');
    return child;
  } catch (error) {
    throw new EmbeddedServerError(
      user.kind === 'same'
        ? `${command} cannot be run here (on Alpine Linux, use an image with glibc): ` +
            'set DATABASE_URL'
        : `${command} cannot be run as user ${user.uid}, and PostgreSQL does not run as root: ` +
            'start as another user, or set DATABASE_URL',
      { cause: error },
    );
  }
}

/** Gives a file to the server's user. */
export async function giveTo(user: ServiceUser, file: string): Promise<void> {
  if (user.kind === 'same') return;
  try {
    await chown(file, user.uid, user.gid);
  } catch (error) {
    throw new EmbeddedServerError(
      `PostgreSQL does not run as root, and ${file} cannot be given to user ${user.uid}: ` +
        'start as another user, move DATA_DIR, or set DATABASE_URL',
      { cause: error },
    );
  }
}

function start(
  user: ServiceUser,
  command: string,
  args: readonly string[],
  options: SpawnOptions,
): ChildProcess {
  switch (user.kind) {
    case 'same':
      return spawn(command, args, options);
    case 'other':
      return spawn(command, args, { ...options, uid: user.uid, gid: user.gid });
    case 'other-passing':
      return spawn(
        'setpriv',
        [
          `--reuid=${user.uid}`,
          `--regid=${user.gid}`,
          '--clear-groups',
          '--inh-caps=+dac_override',
          '--ambient-caps=+dac_override',
          // PostgreSQL asks access(2) for its own binaries, which sets capabilities aside for
          // everyone but root, unless this bit is set.
          '--securebits=+no_setuid_fixup',
          '--',
          command,
          ...args,
        ],
        options,
      );
  }
}

async function works(user: ServiceUser): Promise<boolean> {
  try {
    const [code] = (await once(start(user, 'true', [], { stdio: 'ignore' }), 'exit')) as [number];
    return code === 0;
  } catch {
    return false;
  }
}

interface Ids {
  readonly uid: number;
  readonly gid: number;
}

async function ownerOrNobody(dataDir: string): Promise<Ids> {
  const users = await knownUsers();
  const owner = await stat(dataDir);
  if (owner.uid === 0) return users.find(({ name }) => name === 'nobody') ?? NOBODY;
  return users.find(({ uid }) => uid === owner.uid) ?? owner;
}

const NOBODY: Ids = { uid: 65534, gid: 65534 };

async function knownUsers(): Promise<(Ids & { name: string })[]> {
  const table = await readFile('/etc/passwd', 'utf8').catch(() => '');
  return table.split('\n').flatMap((line) => {
    const [name = '', , uid, gid] = line.split(':');
    return gid === undefined ? [] : [{ name, uid: Number(uid), gid: Number(gid) }];
  });
}

/** Judged by mode bits. An access list may say otherwise: then `other-passing` was not needed. */
async function firstClosed(user: Ids, paths: readonly string[]): Promise<string | undefined> {
  const seen = new Set<string>();
  for (const file of paths) {
    for (const step of stepsTo(await realpath(file).catch(() => path.dirname(file)))) {
      if (seen.has(step)) continue;
      seen.add(step);
      const entry = await stat(step);
      const shift = entry.uid === user.uid ? 6 : entry.gid === user.gid ? 3 : 0;
      const bits = entry.mode >> shift;
      const needed = entry.isDirectory() ? EXECUTE : READ;
      if ((bits & needed) === 0) return step;
    }
  }
  return undefined;
}

const READ = 4;
const EXECUTE = 1;

function stepsTo(file: string): string[] {
  const parent = path.dirname(file);
  return parent === file ? [file] : [...stepsTo(parent), file];
}
