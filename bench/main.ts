import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { build } from './build.ts';
import { hostOf, openEventStoreServer, STAND_IN } from './event-store-server.ts';
import { describeMachine } from './machine.ts';
import { parseOptions, USAGE, type Options } from './options.ts';
import type { EventStoreSetting, Report, Row, Setting } from './row.ts';
import { appendRow } from './rows/append.ts';
import { asOfRow } from './rows/as-of.ts';
import { eventStoreDBAppendRow } from './rows/eventstoredb-append.ts';
import { eventStoreDBBacklogRow, eventStoreDBRebuildRow } from './rows/eventstoredb-backlog.ts';
import { followersRow } from './rows/followers.ts';
import { httpFirmwareRow, httpPatchRow } from './rows/http-requests.ts';
import { kafkaIngestRow } from './rows/kafka-ingest.ts';
import { longStreamRow } from './rows/long-stream.ts';
import { projectionBacklogRow } from './rows/projection-backlog.ts';
import { devicesRow } from './rows/devices.ts';
import { provisioningRow } from './rows/provisioning.ts';
import { rebuildBesideRow } from './rows/rebuild-beside.ts';
import { rebuildRow } from './rows/rebuild.ts';
import { usageRow } from './rows/usage.ts';
import { eventStoreDBVisibilityRow, visibilityRow } from './rows/visibility.ts';
import { worstStallRow } from './rows/worst-stall.ts';
import { startServer } from './server.ts';
import { table } from './table.ts';

const ROWS: readonly Row[] = [
  appendRow,
  httpPatchRow,
  httpFirmwareRow,
  longStreamRow,
  visibilityRow,
  projectionBacklogRow,
  rebuildRow,
  rebuildBesideRow,
  provisioningRow,
  devicesRow,
  asOfRow,
  kafkaIngestRow,
  usageRow,
  followersRow,
  worstStallRow,
];
/** Those that read first: what the others leave on a server is read over. */
const EVENT_STORE_ROWS: readonly Row<EventStoreSetting>[] = [
  eventStoreDBBacklogRow,
  eventStoreDBRebuildRow,
  eventStoreDBVisibilityRow,
  eventStoreDBAppendRow,
];
const RESULTS = path.join(import.meta.dirname, 'results');

const eventStoreUrl = process.env['EVENTSTORE_URL'] || undefined;
// Child processes inherit what is left, and the service would take it for its own.
delete process.env['EVENTSTORE_URL'];
const options = readOptions();
const startedAt = new Date();
// First what fails when the sources are not whole, then what has to be stopped.
const ours = await build();
const server = await startServer().catch(async (error: unknown) => {
  await ours.remove();
  throw error;
});
let ending: Promise<unknown> | undefined;
process.once('SIGINT', () => {
  void end().finally(() => process.exit(130));
});

const machine = describeMachine(
  server.postgresVersion,
  eventStoreUrl === undefined ? undefined : hostOf(eventStoreUrl),
);
const reports: Record<string, Report> = {};
try {
  const profileDir = options.isProfiled
    ? path.join(RESULTS, `${options.name}-profiles`)
    : undefined;
  const { rounds, isQuick } = options;
  const setting = { server, build: ours, rounds, isQuick, profileDir };
  for (const row of ROWS.filter(isChosen)) await measure(row, setting);
  if (eventStoreUrl !== undefined) {
    for (const row of EVENT_STORE_ROWS.filter(isChosen)) {
      const eventStore = await openEventStoreServer(eventStoreUrl);
      await measure(row, { ...setting, eventStore });
      await eventStore.close();
    }
  }
} finally {
  await end();
}
const seconds = Math.round((Date.now() - startedAt.getTime()) / 1_000);
const file = path.join(RESULTS, `${options.name}.json`);
await mkdir(RESULTS, { recursive: true });
await writeFile(
  file,
  `${JSON.stringify({ startedAt, seconds, options, machine, reports }, undefined, 2)}\n`,
);
print();

function readOptions(): Options {
  const names = ROWS.map(({ name }) => name);
  const eventStoreNames = EVENT_STORE_ROWS.map(({ name }) => name);
  try {
    const parsed = parseOptions(process.argv.slice(2), [...names, ...eventStoreNames]);
    const missing =
      eventStoreUrl === undefined && parsed.only?.find((name) => !names.includes(name));
    if (missing) throw new TypeError(`EVENTSTORE_URL must be set for --only ${missing}`);
    return parsed;
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n\n${USAGE}`);
    process.exit(2);
  }
}

function isChosen({ name }: { readonly name: string }): boolean {
  return options.only?.includes(name) !== false;
}

async function measure<In extends Setting>(row: Row<In>, setting: In): Promise<void> {
  process.stderr.write(`${row.name} …\n`);
  reports[row.name] = await row.measure(setting);
}

function end(): Promise<unknown> {
  return (ending ??= Promise.allSettled([server.close(), ours.remove()]));
}

function print(): void {
  const { cpus, cpuModel, memoryGib, node, postgres, commit } = machine;
  const all = Object.values(reports);
  process.stdout.write(
    [
      '',
      table(all.flatMap(({ lines }) => lines)),
      '',
      ...all.flatMap(({ notes }) => notes).map((note) => `- ${note}`),
      '',
      `Medians of ${options.rounds} rounds, contestants in turn; a ratio is the median of ` +
        `the rounds' own ratios.`,
      `${cpus} x ${cpuModel}, ${memoryGib} GiB, Node ${node}, PostgreSQL ${postgres}, commit ` +
        `${commit}, ${seconds} s.`,
      ...eventStoreRemarks(),
      ...(options.isQuick ? ['A quick run: these numbers mean nothing.'] : []),
      `All rounds: ${path.relative(process.cwd(), file)}`,
      '',
    ].join('\n'),
  );
}

function eventStoreRemarks(): string[] {
  if (eventStoreUrl === undefined) {
    return [
      'Left out: the rows on EventStoreDB. Set EVENTSTORE_URL to its connection string, or ' +
        `to ${STAND_IN}.`,
    ];
  }
  const isMeasured = EVENT_STORE_ROWS.some(({ name }) => name in reports);
  if (!isMeasured) return [];
  return eventStoreUrl === STAND_IN
    ? ['EventStoreDB was a stand-in, in memory: these figures say nothing of a real server.']
    : [`EventStoreDB at ${machine.eventStore}.`];
}
