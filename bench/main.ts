import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { build } from './build.ts';
import { describeMachine } from './machine.ts';
import { parseOptions, USAGE, type Options } from './options.ts';
import type { Report, Row } from './row.ts';
import { appendRow } from './rows/append.ts';
import { httpPatchRow } from './rows/http-patch.ts';
import { longStreamRow } from './rows/long-stream.ts';
import { projectionBacklogRow } from './rows/projection-backlog.ts';
import { rebuildBesideRow } from './rows/rebuild-beside.ts';
import { rebuildRow } from './rows/rebuild.ts';
import { visibilityRow } from './rows/visibility.ts';
import { startServer } from './server.ts';
import { table } from './table.ts';

const ROWS: readonly Row[] = [
  appendRow,
  httpPatchRow,
  longStreamRow,
  visibilityRow,
  projectionBacklogRow,
  rebuildRow,
  rebuildBesideRow,
];
const RESULTS = path.join(import.meta.dirname, 'results');

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

const machine = describeMachine(server.postgresVersion);
const reports: Record<string, Report> = {};
try {
  const profileDir = options.isProfiled
    ? path.join(RESULTS, `${options.name}-profiles`)
    : undefined;
  for (const row of ROWS) {
    if (options.only?.includes(row.name) === false) continue;
    process.stderr.write(`${row.name} …\n`);
    const { rounds, isQuick } = options;
    reports[row.name] = await row.measure({ server, build: ours, rounds, isQuick, profileDir });
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
  try {
    return parseOptions(
      process.argv.slice(2),
      ROWS.map(({ name }) => name),
    );
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n\n${USAGE}`);
    process.exit(2);
  }
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
      `Medians of ${options.rounds} rounds, contestants in turn; a ratio is the median of the rounds' own ratios.`,
      `${cpus} x ${cpuModel}, ${memoryGib} GiB, Node ${node}, PostgreSQL ${postgres}, commit ${commit}, ${seconds} s.`,
      ...(options.isQuick ? ['A quick run: these numbers mean nothing.'] : []),
      `All rounds: ${path.relative(process.cwd(), file)}`,
      '',
    ].join('\n'),
  );
}
