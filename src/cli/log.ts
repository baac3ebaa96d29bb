import { InvalidArgumentError, type Command } from 'commander';
import { Positions } from '../event-store/positions.ts';
import { recordedBody } from '../event-store/recorded-json.ts';
import { LogReader, type LogFilter } from '../event-store/log-reader.ts';
import type { RecordedEvent } from '../event-store/port.ts';
import { LedgerError } from '../shared/errors.ts';
import { Interrupted, UsageError } from './ending.ts';
import { copyLogs } from './log-copy.ts';
import { print, shortened, visible } from './output.ts';
import { withLedger } from './with-ledger.ts';

export function addLogCommand(program: Command): void {
  program
    .command('log')
    .description('read the raw log, oldest first')
    // As above: `copy` has a --from of its own.
    .enablePositionalOptions()
    .option('--stream <name>', 'only this stream, by its full name')
    .option('--type <types>', 'only these event types, separated by commas', types)
    .option('--from <time or position>', 'first time, date or position, inclusive')
    .option('--to <time or position>', 'last time, date or position, inclusive')
    .option('--correlation <id>', 'only events with this correlation id')
    .option('--limit <n>', 'maximum number of events', count)
    .option('--json', 'print one JSON object per line, as GET /api/v1/admin/log has them')
    .action(readLog)
    .command('copy')
    .description('copy a log to another store; run it again to resume')
    .requiredOption('--from <url>', 'postgres://…, esdb://…, or embedded for the one in DATA_DIR')
    .requiredOption('--to <url>', 'the same; the log there must be empty')
    .option('--json', 'print the outcome as a JSON object')
    .action(copyLogs);
}

interface LogOptions {
  readonly stream?: string;
  readonly type?: readonly string[];
  readonly from?: string;
  readonly to?: string;
  readonly correlation?: string;
  readonly limit?: number;
  readonly json?: boolean;
}

/** In characters: a system call for each line would take longer than the reading. */
const CHUNK = 64 * 1024;
const MAX_DATA_LENGTH = 100;

async function readLog(options: LogOptions): Promise<void> {
  const { limit = Infinity, json = false } = options;
  await withLedger(async ({ store }, signal) => {
    const positions = new Positions(store);
    const log = new LogReader(store);
    const filter = await filterOf(options, log, positions);
    let read = 0;
    let lines = '';
    for await (const event of log.read(filter)) {
      if (signal.aborted) throw new Interrupted();
      lines += json ? JSON.stringify(recordedBody(event, positions)) : lineOf(event, positions);
      lines += '\n';
      if (lines.length >= CHUNK) {
        if (!(await print(lines))) return;
        lines = '';
      }
      read += 1;
      if (read >= limit) break;
    }
    await print(lines);
  });
}

async function filterOf(
  { stream, type, from, to, correlation }: LogOptions,
  log: LogReader,
  positions: Positions,
): Promise<LogFilter> {
  return {
    stream,
    types: type,
    correlationId: correlation,
    after: await placeOf('--from', from, positions.before(from)),
    // What comes while it is read would have no end.
    until: await (to === undefined
      ? log.head()
      : placeOf(
          '--to',
          to,
          positions.asOf(to).then(({ position }) => position),
        )),
  };
}

async function placeOf<Place>(
  option: string,
  text: string | undefined,
  place: Promise<Place>,
): Promise<Place> {
  try {
    return await place;
  } catch (error) {
    if (!(error instanceof LedgerError) || error.code !== 'validation-failed') throw error;
    throw new UsageError(
      `${option}: '${text}' is not a time (2026-03-01T12:00:00Z), a date (2026-03-01) or a ` +
        'position.',
    );
  }
}

function lineOf(event: RecordedEvent, positions: Positions): string {
  const { position, recordedAt, stream, revision, type, data } = event;
  const short = shortened(JSON.stringify(data), MAX_DATA_LENGTH);
  const place = `${positions.format(position)} ${recordedAt.toISOString()} ${stream}@${revision}`;
  return visible(`${place} ${type} ${short}`);
}

function types(text: string): string[] {
  const types = text.split(',').map((type) => type.trim());
  if (types.includes('')) throw new InvalidArgumentError('Give types of events: A,B.');
  return types;
}

function count(text: string): number {
  if (!/^[1-9]\d{0,14}$/.test(text)) throw new InvalidArgumentError('Give a number, 1 or more.');
  return Number(text);
}
