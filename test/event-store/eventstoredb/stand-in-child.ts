import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';

export interface StandInChild {
  readonly connectionString: string;
  end(): Promise<void>;
}

/**
 * A stand-in in a process of its own, so that its work is not that of whom it serves.
 * `showsAfterMs`: how long after it has decided on an append its events can be read, and it is
 * answered.
 */
export async function startStandInProcess(showsAfterMs = 0): Promise<StandInChild> {
  const program = new URL('stand-in-process.ts', import.meta.url).pathname;
  const args = ['--import', 'tsx', program, '--shows-after-ms', String(showsAfterMs)];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  const exited = once(child, 'exit');
  const lines = createInterface({ input: child.stdout });
  const [connectionString] = (await Promise.race([
    once(lines, 'line'),
    exited.then(() => Promise.reject(new Error('the stand-in ended before it was ready'))),
  ])) as [string];
  return {
    connectionString,
    async end() {
      child.kill('SIGTERM');
      await exited;
    },
  };
}
