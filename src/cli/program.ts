import { Command } from 'commander';
import { addDemoCommand } from './demo.ts';
import { ExitCode, Interrupted, UsageError } from './ending.ts';
import { addDevEuiBatchCommand } from './deveui-batch.ts';
import { addFollowCommand } from './follow.ts';
import { FollowRefusedError } from './followed-events.ts';
import { addKeysCommand } from './keys.ts';
import { addLogCommand } from './log.ts';
import { addProjectionsCommand } from './projections.ts';
import { addServeCommand } from './serve.ts';
import { addSimulateCommand, SimulatorStartError } from './simulate.ts';
import { UsageNotSentError } from './usage-over-http.ts';
import { ConfigError } from '../config.ts';
import { EmbeddedServerError } from '../database/embedded-server/errors.ts';
import { DatabaseRefusedError } from '../database/server-check.ts';
import { UnexpectedLogError } from '../event-store/eventstoredb/failures.ts';
import { CopyRefusedError } from '../event-store/port.ts';
import { LedgerError } from '../shared/errors.ts';

const program = new Command('fleetledger')
  .description('The ledger of an IoT fleet: events in, read models out.')
  .showHelpAfterError()
  // What comes after a command is the command's, so that its own commands may have its options.
  .enablePositionalOptions()
  .exitOverride(({ exitCode }) => process.exit(exitCode === 0 ? ExitCode.done : ExitCode.usage));

addServeCommand(program);
addDemoCommand(program);
addDevEuiBatchCommand(program);
addProjectionsCommand(program);
addLogCommand(program);
addKeysCommand(program);
addFollowCommand(program);
addSimulateCommand(program);

/** One clear line for an error that the user can fix, the stack trace for any other. */
function fail(error: unknown): never {
  if (error instanceof Interrupted) process.exit(ExitCode.interrupted);
  const isForUser =
    error instanceof ConfigError ||
    error instanceof UsageError ||
    error instanceof LedgerError ||
    error instanceof CopyRefusedError ||
    error instanceof SimulatorStartError ||
    error instanceof UsageNotSentError ||
    error instanceof FollowRefusedError ||
    error instanceof EmbeddedServerError ||
    error instanceof DatabaseRefusedError ||
    error instanceof UnexpectedLogError;
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
