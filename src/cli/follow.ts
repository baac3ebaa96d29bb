import { setTimeout as delay } from 'node:timers/promises';
import { styleText } from 'node:util';
import type { Command } from 'commander';
import { errorMessage } from '../shared/errors.ts';
import { ExitCode, onAskedToEnd, UsageError } from './ending.ts';
import { followEvents, FollowRefusedError, type FollowedEvent } from './followed-events.ts';
import { print, shortened, visible } from './output.ts';

export function addFollowCommand(program: Command): void {
  program
    .command('follow')
    .description('print the events of a project as they come, with the key in FLEETLEDGER_KEY')
    .option('--url <url>', 'of the service', 'http://127.0.0.1:8080')
    .option('--types <list>', 'types of events, for example SensorPatched,FirmwareReported')
    .option('--device <id>', 'events about this device, and about what is linked to it')
    .option('--after <position>', 'a position, a time or a date; otherwise events from now on')
    .option('--json', 'one JSON object a line')
    .action(follow);
}

interface FollowOptions {
  readonly url: string;
  readonly types?: string;
  readonly device?: string;
  readonly after?: string;
  readonly json?: true;
}

const MIN_RETRY_MS = 250;
const MAX_RETRY_MS = 5_000;

async function follow({ url, types, device, after, json }: FollowOptions): Promise<void> {
  const key = process.env['FLEETLEDGER_KEY'] ?? '';
  if (key === '') {
    throw new UsageError('Set FLEETLEDGER_KEY to the key of a member, a device or an admin.');
  }
  const address = addressOf(url, key, { types, device_id: device, after });
  const asked = new AbortController();
  onAskedToEnd(() => asked.abort(), ExitCode.interrupted);
  const { signal } = asked;
  const format = json === true ? JSON.stringify : lineOf;
  let lastEventId: string | undefined;
  let retryMs = MIN_RETRY_MS;
  while (!signal.aborted) {
    try {
      for await (const message of followEvents({ address, key, lastEventId, signal })) {
        retryMs = message.retryMs ?? MIN_RETRY_MS;
        lastEventId = message.id ?? lastEventId;
        if (message.event === undefined) continue;
        if (!(await print(`${format(message.event)}\n`))) return;
      }
    } catch (error) {
      if (error instanceof FollowRefusedError) throw error;
      if (!signal.aborted) process.stderr.write(`Connection lost: ${errorMessage(error)}\n`);
      retryMs = Math.min(retryMs * 2, MAX_RETRY_MS);
    }
    // Resumes after the last event, in whichever process answers then.
    await delay(retryMs, undefined, { signal }).catch(() => undefined);
  }
}

function addressOf(
  url: string,
  key: string,
  query: Readonly<Record<string, string | undefined>>,
): URL {
  // The key of an admin belongs to no project.
  const path = key.startsWith('fl_adm_') ? '/api/v1/admin/events' : '/api/v1/events';
  if (!URL.canParse(path, url)) throw new UsageError(`'${url}' is not a URL: give --url http://…`);
  const address = new URL(path, url);
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined) address.searchParams.set(name, value);
  }
  return address;
}

const COLORS = {
  tenancy: 'blue',
  deveui: 'magenta',
  firmware: 'yellow',
  state: 'green',
  usage: 'cyan',
} as const;

/** Time, type, subject and data on one line; in colours, and within the width, of a terminal. */
function lineOf({ recorded_at: recordedAt, type, domain, subject, data }: FollowedEvent): string {
  const isTerminal = process.stdout.isTTY;
  const columns = [recordedAt, type.padEnd(16), visible(subject)];
  const text = visible(JSON.stringify(data));
  const width = process.stdout.columns - columns.join('  ').length - 2;
  const shown = isTerminal && width > 0 ? shortened(text, width) : text;
  if (!isTerminal || process.env['NO_COLOR']) return [...columns, shown].join('  ');
  const color = COLORS[domain as keyof typeof COLORS] ?? 'white';
  const [time = '', name = '', about = ''] = columns;
  return [styleText('dim', time), styleText(color, name), styleText('bold', about), shown].join(
    '  ',
  );
}
