import type { Command } from 'commander';
import { loadConfig } from '../config.ts';
import { startService, type RunningService } from '../service/service.ts';
import { onAskedToEnd } from './ending.ts';

export function addServeCommand(program: Command): void {
  program
    .command('serve')
    .description('run the service; settings come from the environment and .env')
    .action(() => runUntilAskedToEnd(startService(loadConfig())));
}

/**
 * Runs what is being started; drains and exits when asked to end, or when it can no longer work.
 */
export async function runUntilAskedToEnd(
  starting: Promise<Pick<RunningService, 'running' | 'stop'>>,
): Promise<void> {
  let isStopping = false;
  const stop = (exitCode: number): void => {
    if (isStopping) return;
    isStopping = true;
    // What goes wrong meanwhile ends the process as any other failure does.
    void starting.then((service) => service.stop()).then(() => process.exit(exitCode));
  };
  // Listened for before the start is over, so that a signal in the midst of it leaves no server
  // behind.
  onAskedToEnd(() => stop(0), 130);
  const { running } = await starting;
  running.catch(() => stop(1));
}
