import { Option, type Command } from 'commander';
import { formatApiKey, mintKey, type MintedKey } from '../commands/tenancy/api-keys.ts';
import { deviceDecider } from '../commands/tenancy/device-decider.ts';
import {
  deviceStream,
  installationDecider,
  installationStream,
  projectDecider,
  projectStream,
} from '../commands/tenancy/project-decider.ts';
import { systemClock } from '../shared/clock.ts';
import { randomEntropy } from '../shared/ids.ts';
import { projectId } from './arguments.ts';
import { UsageError } from './ending.ts';
import { context, withLedger } from './with-ledger.ts';

export function addKeysCommand(program: Command): void {
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
