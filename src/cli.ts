#!/usr/bin/env node
import { Command } from 'commander';
import { ExitCode, Interrupted, onAskedToEnd, UsageError } from './cli/ending.ts';
import { addKeysCommand } from './cli/keys.ts';
import { addLogCommand } from './cli/log.ts';
import { addProjectionsCommand } from './cli/projections.ts';
import { ConfigError, loadConfig } from './config.ts';
import { EmbeddedServerError } from './database/embedded-server/errors.ts';
import { CopyRefusedError } from './event-store/port.ts';
import { startService } from './main.ts';
import { LedgerError } from './shared/errors.ts';

const program = new Command('fleetledger')
  .description('One event-sourced ledger for an IoT fleet.')
  .showHelpAfterError()
  // What comes after a command is the command's, so that its own commands may have its options.
  .enablePositionalOptions()
  .exitOverride(({ exitCode }) => process.exit(exitCode === 0 ? ExitCode.done : ExitCode.usage));

program
  .command('serve')
  .description('run the service; its settings come from the environment and .env')
  .action(serve);

addProjectionsCommand(program);
addLogCommand(program);
addKeysCommand(program);

async function serve(): Promise<void> {
  // Listened for before the start, so that a signal in the midst of it leaves no server behind.
  const starting = startService(loadConfig());
  let isStopping = false;
  const stop = (exitCode: number): void => {
    if (isStopping) return;
    isStopping = true;
    starting
      .then((service) => service.stop())
      .then(
        () => process.exit(exitCode),
        (error: unknown) => fail(error),
      );
  };
  onAskedToEnd(() => stop(0), 130);
  const { running } = await starting;
  running.catch(() => stop(1));
}

/** One clear line for what the user can mend; everything for what only we can. */
function fail(error: unknown): never {
  if (error instanceof Interrupted) process.exit(ExitCode.interrupted);
  const isForUser =
    error instanceof ConfigError ||
    error instanceof UsageError ||
    error instanceof LedgerError ||
    error instanceof CopyRefusedError ||
    error instanceof EmbeddedServerError;
  const text =
    error instanceof Error
      ? isForUser || !error.stack
        ? error.message
        : error.stack
      : String(error);
  process.stderr.write(`${text}\n`);
  process.exit(error instanceof UsageError ? ExitCode.usage : ExitCode.failed);
}

process.on('unhandledRejection', fail);
process.on('uncaughtException', fail);

await program.parseAsync().catch(fail);
