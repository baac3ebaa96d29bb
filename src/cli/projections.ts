import type { Command } from 'commander';
import type { ProjectionAction } from '../commands/projections/commands.ts';
import {
  projectionBody,
  rebuildBody,
  verificationBody,
} from '../projections/engine/administration-json.ts';
import type { Ledger } from '../service/ledger.ts';
import type { ProjectionStatus } from '../projections/engine/administration.ts';
import { Positions } from '../event-store/positions.ts';
import type { Replay } from '../projections/engine/replaying/replays.ts';
import { ExitCode } from './ending.ts';
import { print, printJson, table, visible, type Column } from './output.ts';
import { replayToTheEnd, type ReplayOrder } from './replays.ts';
import { context, withLedger } from './with-ledger.ts';

export function addProjectionsCommand(program: Command): void {
  const projections = program
    .command('projections')
    .description('operate projections, with or without a running service');

  withJson(projections.command('list'))
    .description('list projections with their position, status and lag')
    .action(list);
  withJson(projections.command('rebuild <name>'))
    .description('rebuild a projection beside the live one, then replace it')
    .action(rebuild);
  withJson(projections.command('verify <name>'))
    .description('replay the log, compare row by row, and list the rows that differ')
    .option('--repair', 'rebuild it if rows differ')
    .action(verify);
  for (const [action, description] of ACTIONS) {
    withJson(projections.command(`${action} <name>`))
      .description(description)
      .action((name: string, options: OutputOptions) => act(action, name, options));
  }
}

const ACTIONS: readonly (readonly [ProjectionAction, string])[] = [
  ['pause', 'pause a projection until it is resumed'],
  ['resume', 'resume a paused projection'],
  ['retry', 'retry the event that a projection stopped at'],
  ['skip', 'skip the event that a projection stopped at, for good'],
];

function withJson(command: Command): Command {
  return command.option('--json', 'print what the HTTP API answers, one object per line');
}

interface OutputOptions {
  readonly json?: boolean;
}

async function list({ json }: OutputOptions): Promise<void> {
  await withLedger(async ({ administration, store }) => {
    const statuses = await administration.statuses();
    const positions = new Positions(store);
    if (json) await printJson({ items: statuses.map((one) => projectionBody(one, positions)) });
    else await print(table(columns(positions), statuses));
  });
}

async function rebuild(projection: string, { json = false }: OutputOptions): Promise<void> {
  await withLedger(async (ledger, signal) => {
    await ledger.administration.status(projection);
    ledger.engine.startReplays();
    await rebuildToTheEnd(ledger, { projection, signal, context: context() }, json);
  });
}

async function verify(
  projection: string,
  { json = false, repair = false }: OutputOptions & { readonly repair?: boolean },
): Promise<void> {
  await withLedger(async (ledger, signal) => {
    await ledger.administration.status(projection);
    ledger.engine.startReplays();
    const order = { projection, signal, context: context() };
    const replay = await replayToTheEnd(ledger, { ...order, kind: 'verification' });
    const positions = new Positions(ledger.store);
    if (json) await printJson(verificationBody(replay, positions));
    else await print(verificationText(replay, positions));
    const { progress } = replay;
    if (progress.status !== 'completed') process.exitCode = ExitCode.failed;
    else if (progress.differing.length === 0) return;
    else if (repair) await rebuildToTheEnd(ledger, order, json);
    else process.exitCode = ExitCode.failed;
  });
}

async function rebuildToTheEnd(
  ledger: Ledger,
  order: Omit<ReplayOrder, 'kind'>,
  json: boolean,
): Promise<void> {
  const replay = await replayToTheEnd(ledger, { ...order, kind: 'rebuild' });
  const positions = new Positions(ledger.store);
  if (json) await printJson(rebuildBody(replay, await ledger.administration.head(), positions));
  else await print(`${endOf(replay, positions)}.\n`);
  if (replay.progress.status !== 'completed') process.exitCode = ExitCode.failed;
}

/** Shows the projection as it then is. */
async function act(action: ProjectionAction, name: string, { json }: OutputOptions): Promise<void> {
  await withLedger(async ({ administration, projectionCommands, store }) => {
    await projectionCommands.act(action, name, context());
    const status = await administration.status(name);
    const positions = new Positions(store);
    if (json) await printJson(projectionBody(status, positions));
    else await print(table(columns(positions), [status]));
  });
}

function columns(positions: Positions): Column<ProjectionStatus>[] {
  return [
    { title: 'NAME', cell: ({ name }) => name },
    { title: 'VERSION', cell: ({ version }) => String(version), isNumber: true },
    { title: 'GENERATION', cell: ({ generation }) => String(generation), isNumber: true },
    { title: 'STATUS', cell: ({ status }) => status },
    { title: 'POSITION', cell: ({ position }) => positions.format(position) },
    { title: 'BEHIND', cell: ({ lagEvents }) => String(lagEvents), isNumber: true },
    {
      title: 'EVENTS/S',
      cell: ({ eventsPerSecond }) => eventsPerSecond.toFixed(1),
      isNumber: true,
    },
    { title: 'ERROR', cell: ({ lastError }) => errorText(lastError) },
  ];
}

function errorText(error: ProjectionStatus['lastError']): string {
  return error === undefined ? '' : `event ${error.eventId}: ${error.message}`;
}

function verificationText(replay: Replay, positions: Positions): string {
  const { progress } = replay;
  const end = endOf(replay, positions);
  if (progress.status !== 'completed') return `${end}.\n`;
  const { differing, rowCount = 0n, differingCount = 0n } = progress;
  const count = differingCount === 0n ? 'none' : String(differingCount);
  const rows = differing.flatMap(({ table, key, live, replayed }) => [
    `${table} ${JSON.stringify(key)}`,
    `  live     ${JSON.stringify(live)}`,
    `  replayed ${JSON.stringify(replayed)}`,
  ]);
  const found = `Of ${rowCount} rows, ${count} differ${differing.length === 0 ? '.' : ':'}`;
  const summary = `${end}. ${found}`;
  return [summary, ...rows].map((line) => `${visible(line)}\n`).join('');
}

function endOf(
  { kind, projection, replayId, startedAt, progress }: Replay,
  positions: Positions,
): string {
  const subject = `The ${kind} ${replayId} of '${projection}'`;
  if (progress.status === 'running') return `${subject} is running`;
  const { status, position, endedAt, error } = progress;
  const seconds = ((endedAt.getTime() - startedAt.getTime()) / 1_000).toFixed(1);
  const place = position === undefined ? '' : ` at position ${positions.format(position)}`;
  const reason = error === undefined ? '' : `: ${visible(error)}`;
  return status === 'completed'
    ? `${subject} completed${place}, in ${seconds} s`
    : `${subject} ${status === 'failed' ? 'failed' : 'was cancelled'}${place}${reason}`;
}
