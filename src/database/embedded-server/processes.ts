import { readFile, readdir, readlink } from 'node:fs/promises';
import { codeOf } from './errors.ts';

/** Whether a process runs on this machine. A dead one that nobody has waited for does not run. */
export async function isRunning(pid: number): Promise<boolean> {
  if (!signal(pid, 0)) return false;
  const status = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => undefined);
  // The state follows the name, which may hold anything, in parentheses.
  return status === undefined || !/^ [ZX]/.test(status.slice(status.lastIndexOf(')') + 1));
}

/** Whether a process works on this cluster. Pids are used again: the number alone says nothing. */
export async function worksOn(pid: number, clusterDir: string): Promise<boolean> {
  if (!(await isRunning(pid))) return false;
  if (process.platform !== 'linux') return true;
  try {
    // PostgreSQL stands in its data directory from its first step to its last.
    return (await readlink(`/proc/${pid}/cwd`)) === clusterDir;
  } catch (error) {
    return codeOf(error) === 'EACCES';
  }
}

/**
 * Ends the children of a postmaster that is dead (a backend in a long computation does not notice),
 * because the next one waits for them. Gives how many there were.
 */
export async function endOrphans(clusterDir: string): Promise<number> {
  let ended = 0;
  for (const entry of await readdir('/proc').catch(() => [])) {
    const pid = Number(entry);
    if (!Number.isInteger(pid) || !(await worksOn(pid, clusterDir))) continue;
    const title = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
    // A child, not a postmaster that another opener is just starting.
    if (title.startsWith('postgres: ') && signal(pid, 'SIGQUIT')) ended++;
  }
  return ended;
}

/** Whether there was a process to send it to. */
function signal(pid: number, name: NodeJS.Signals | 0): boolean {
  try {
    process.kill(pid, name);
    return true;
  } catch (error) {
    return codeOf(error) === 'EPERM';
  }
}
