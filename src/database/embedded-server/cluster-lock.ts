import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { open, type FileHandle } from 'node:fs/promises';
import { belongsToAnother, codeOf } from './errors.ts';
import { giveTo } from './service-user.ts';
import type { ClusterPaths } from './cluster-paths.ts';

export type ClusterLock =
  /** No process of this cluster lives, and nobody else is starting one, until `file` is closed. */
  | { readonly kind: 'held'; readonly file: FileHandle }
  | { readonly kind: 'busy' }
  /** No flock on this system: PostgreSQL's own `postmaster.pid` must do. */
  | { readonly kind: 'unsupported' };

/**
 * The one lock of a cluster: whoever starts it takes it, and initdb and the server inherit the open
 * file. So the kernel lets it go when the last process of the cluster is dead, and not before.
 *
 * `postmaster.pid` alone will not do: a pid in it may be anybody's after a reboot, and means
 * nothing in another container, where a second server over the same files would destroy them. Node
 * has no flock(2), but the lock belongs to the open file, so a child may take it for us.
 */
export async function tryLock(
  paths: Pick<ClusterPaths, 'lockFile' | 'user'>,
): Promise<ClusterLock> {
  const file = await openLockFile(paths);
  try {
    const child = spawn('flock', ['--exclusive', '--nonblock', '3'], {
      stdio: ['ignore', 'ignore', 'ignore', file.fd],
    });
    const [code] = (await once(child, 'exit')) as [number | null];
    if (code === 0) return { kind: 'held', file };
    await file.close();
    return code === 1 ? { kind: 'busy' } : { kind: 'unsupported' };
  } catch (error) {
    await file.close();
    if (codeOf(error) === 'ENOENT') return { kind: 'unsupported' };
    throw error;
  }
}

async function openLockFile(paths: Pick<ClusterPaths, 'lockFile' | 'user'>): Promise<FileHandle> {
  try {
    const file = await open(paths.lockFile, 'a+', 0o600);
    await giveTo(paths.user, paths.lockFile);
    return file;
  } catch (error) {
    if (codeOf(error) !== 'EACCES') throw error;
    throw belongsToAnother(paths.lockFile, error);
  }
}
