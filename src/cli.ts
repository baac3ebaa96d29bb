#!/usr/bin/env node
import { randomUUID } from 'node:crypto';
import { Command, InvalidArgumentError, Option } from 'commander';
import { projectIdField } from './api/fields.ts';
import type { CommandContext } from './commands/handler.ts';
import { formatApiKey, mintKey, type MintedKey } from './commands/keys.ts';
import {
  deviceDecider,
  deviceStream,
  INSTALLATION_PROJECT,
  installationDecider,
  installationStream,
  projectDecider,
  projectStream,
} from './commands/tenancy.ts';
import { ConfigError, loadConfig } from './config.ts';
import { EmbeddedServerError } from './database/embedded-server/errors.ts';
import { openLedger, startService, type Ledger } from './main.ts';
import { systemClock } from './shared/clock.ts';
import { LedgerError } from './shared/errors.ts';
import { randomEntropy } from './shared/ids.ts';

const program = new Command('fleetledger')
  .description('One event-sourced ledger for an IoT fleet.')
  .showHelpAfterError();

program
  .command('serve')
  .description('run the service; its settings come from the environment and .env')
  .action(serve);

const keys = program.command('keys').description('issue and revoke keys, also without a service');

keys
  .command('issue')
  .description('issue a key, and show it once')
  .option('--admin', 'a key of the installation')
  .option('--project <id>', 'the project of the member or device', projectId)
  .addOption(new Option('--member <id>', 'a key of a member').conflicts(['admin', 'device']))
  .addOption(new Option('--device <id>', 'a key of a device').conflicts(['admin', 'member']))
  .action(issueKey);

keys
  .command('revoke <key-id>')
  .description('revoke a key; running services refuse it within a second')
  .option('--admin', 'it is a key of the installation')
  .option('--project <id>', 'the project of the member or device', projectId)
  .option('--device <id>', 'the device that holds it; otherwise a member does')
  .action(revokeKey);

const ASKED_AGAIN_AFTER_MS = 1_000;

async function serve(): Promise<void> {
  // Listened for before the start, so that a signal in the midst of it leaves no server behind.
  const starting = startService(loadConfig());
  let askedAtMs: number | undefined;
  const stopOnSignal = (): void => {
    if (askedAtMs !== undefined) {
      // Whoever asks again does not want to wait; but Ctrl-C reaches us twice at once below npm,
      // from the terminal and from npm.
      if (performance.now() - askedAtMs > ASKED_AGAIN_AFTER_MS) process.exit(130);
      return;
    }
    stop(0);
  };
  const stop = (exitCode: number): void => {
    askedAtMs = performance.now();
    starting
      .then((service) => service.stop())
      .then(
        () => process.exit(exitCode),
        (error: unknown) => fail(error),
      );
  };
  process.on('SIGTERM', stopOnSignal);
  process.on('SIGINT', stopOnSignal);
  process.on('SIGHUP', stopOnSignal);
  const { running } = await starting;
  running.catch(() => {
    if (askedAtMs === undefined) stop(1);
  });
}

function projectId(text: string): string {
  const { data, error } = projectIdField.safeParse(text);
  if (data === undefined) throw new InvalidArgumentError(`It ${error?.issues[0]?.message}.`);
  return data;
}

interface HolderOptions {
  readonly admin?: true;
  readonly project?: string;
  readonly member?: string;
  readonly device?: string;
}

async function issueKey(options: HolderOptions): Promise<void> {
  await withLedger(async ({ handler }) => {
    const entropy = randomEntropy();
    const now = systemClock();
    let minted: MintedKey;
    if (options.admin === true) {
      minted = mintKey('adm', entropy, now);
      const command = { type: 'issue-key', key: minted.newKey } as const;
      await handler.execute(installationDecider, installationStream(), command, context());
    } else if (options.project !== undefined && options.member !== undefined) {
      minted = mintKey('mem', entropy, now);
      await handler.execute(
        projectDecider,
        projectStream(options.project),
        { type: 'issue-key', memberId: options.member, key: minted.newKey },
        context(options.project),
      );
    } else if (options.project !== undefined && options.device !== undefined) {
      minted = mintKey('dev', entropy, now);
      await handler.execute(
        deviceDecider,
        deviceStream(options.project, options.device),
        { type: 'issue-key', deviceId: options.device, key: minted.newKey },
        context(options.project),
      );
    } else {
      throw new UsageError('Say --admin, or --project with --member or --device.');
    }
    process.stdout.write(`${formatApiKey(minted.apiKey)}\n`);
  });
}

async function revokeKey(keyId: string, options: HolderOptions): Promise<void> {
  await withLedger(async ({ handler }) => {
    if (options.admin === true) {
      const command = { type: 'revoke-key', keyId } as const;
      await handler.execute(installationDecider, installationStream(), command, context());
    } else if (options.project === undefined) {
      throw new UsageError('Say --admin, or --project, and --device for the key of a device.');
    } else if (options.device === undefined) {
      const command = { type: 'revoke-key', keyId } as const;
      await handler.execute(
        projectDecider,
        projectStream(options.project),
        command,
        context(options.project),
      );
    } else {
      const { project, device } = options;
      const command = { type: 'revoke-key', deviceId: device, keyId } as const;
      await handler.execute(
        deviceDecider,
        deviceStream(project, device),
        command,
        context(project),
      );
    }
    process.stderr.write(`Key ${keyId} is revoked.\n`);
  });
}

function context(projectId = INSTALLATION_PROJECT): CommandContext {
  return { projectId, actor: 'system:cli', correlationId: randomUUID() };
}

async function withLedger(work: (ledger: Ledger) => Promise<void>): Promise<void> {
  const ledger = await openLedger(
    { ...loadConfig(), logLevel: process.env['LOG_LEVEL'] ?? 'warn' },
    'tool',
  );
  try {
    await work(ledger);
  } finally {
    await ledger.close();
  }
}

class UsageError extends Error {
  override readonly name = 'UsageError';
}

/** One clear line for what the user can mend; everything for what only we can. */
function fail(error: unknown): never {
  const isForUser =
    error instanceof ConfigError ||
    error instanceof UsageError ||
    error instanceof LedgerError ||
    error instanceof EmbeddedServerError;
  const text =
    error instanceof Error
      ? isForUser || !error.stack
        ? error.message
        : error.stack
      : String(error);
  process.stderr.write(`${text}\n`);
  process.exit(error instanceof UsageError ? 2 : 1);
}

process.on('unhandledRejection', fail);
process.on('uncaughtException', fail);

await program.parseAsync().catch(fail);
