import { Option, type Command } from 'commander';
import type { CommandContext } from '../commands/core/context.ts';
import { formatApiKey, mintKey } from '../commands/tenancy/api-keys.ts';
import type { KeyHolder } from '../commands/tenancy/commands.ts';
import { systemClock } from '../shared/clock.ts';
import { randomEntropy } from '../shared/ids.ts';
import { projectId } from './arguments.ts';
import { UsageError } from './ending.ts';
import { context, withLedger } from './with-ledger.ts';

export function addKeysCommand(program: Command): void {
  const keys = program
    .command('keys')
    .description('issue and revoke keys, with or without a running service');

  keys
    .command('issue')
    .description('issue a key and show it once')
    .option('--admin', 'a key of the installation')
    .option('--project <id>', 'the project of the member or device', projectId)
    .addOption(new Option('--member <id>', 'a key of a member').conflicts(['admin', 'device']))
    .addOption(new Option('--device <id>', 'a key of a device').conflicts(['admin', 'member']))
    .action(issueKey);

  keys
    .command('revoke <key-id>')
    .description('revoke a key; running services refuse it within a second')
    .option('--admin', 'the key belongs to the installation')
    .option('--project <id>', 'the project of the member or device', projectId)
    .option('--device <id>', 'the device that holds the key (default: a member holds it)')
    .action(revokeKey);
}

interface HolderOptions {
  readonly admin?: true;
  readonly project?: string;
  readonly member?: string;
  readonly device?: string;
}

async function issueKey(options: HolderOptions): Promise<void> {
  const holder = holderOf(options);
  if (holder === undefined) {
    throw new UsageError('Give --admin, or --project with --member or --device.');
  }
  await withLedger(async ({ commands }) => {
    const { apiKey, newKey } = mintKey(holder.kind, randomEntropy(), systemClock());
    await commands.tenancy.issueKey(holder, newKey, contextOf(options));
    process.stdout.write(`${formatApiKey(apiKey)}\n`);
  });
}

async function revokeKey(keyId: string, options: HolderOptions): Promise<void> {
  // The key of a member is in the stream of the project, whichever member it is.
  const holder = holderOf({ member: '', ...options });
  if (holder === undefined) {
    throw new UsageError('Give --admin, or --project, and --device for the key of a device.');
  }
  await withLedger(async ({ commands }) => {
    await commands.tenancy.revokeKey(holder, keyId, contextOf(options));
    process.stderr.write(`Key ${keyId} is revoked.\n`);
  });
}

function holderOf({ admin, project, member, device }: HolderOptions): KeyHolder | undefined {
  if (admin === true) return { kind: 'adm', id: 'installation' };
  if (project === undefined) return undefined;
  if (device !== undefined) return { kind: 'dev', id: device };
  return member === undefined ? undefined : { kind: 'mem', id: member };
}

function contextOf({ admin, project }: HolderOptions): CommandContext {
  return admin === true ? context() : context(project);
}
