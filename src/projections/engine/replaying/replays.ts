import type { Database, Queryable } from '../../../database/database.ts';
import { sql, type Sql } from '../../../database/sql.ts';
import type { Position } from '../../../event-store/port.ts';
import { LedgerError } from '../../../shared/errors.ts';
import type { Json } from '../../../shared/json.ts';
import { lockCheckpointOf, readCheckpoint, type Checkpoint } from '../generations/checkpoint.ts';
import { createGeneration } from '../generations/generation-tables.ts';
import {
  ABANDONED_AFTER,
  changeStatus,
  GENERATION_COLUMNS,
  isMissingTable,
  type Generation,
} from '../generations/generations.ts';
import {
  ProjectionLock,
  TRANSITIONS,
  type ReplayEnding,
  type ReplayStatus,
} from '../generations/state-machine.ts';
import type { Projection } from '../projection.ts';

/** A rebuild puts its generation in the live one's place; a verification compares the two. */
export type ReplayKind = 'rebuild' | 'verification';

/** The log replayed into a generation beside the live one. */
export interface Replay {
  readonly replayId: string;
  readonly kind: ReplayKind;
  readonly projection: string;
  readonly version: number;
  readonly generation: number;
  readonly startedAt: Date;
  readonly progress: ReplayProgress;
}

export type ReplayProgress =
  | {
      readonly status: 'running';
      /** Undefined where its tables are gone since it is being ended just now. */
      readonly position: Position | undefined;
      readonly eventsPerSecond: number;
      readonly positionsPerSecond: number;
    }
  | {
      readonly status: Exclude<ReplayStatus, 'running'>;
      readonly endedAt: Date;
      /** The average from its start to its end. */
      readonly eventsPerSecond: number;
      readonly position: Position | undefined;
      readonly target: Position | undefined;
      /** How many rows a completed verification compared. */
      readonly rowCount: bigint | undefined;
      /** How many differ; the first of them are in `differing`. */
      readonly differingCount: bigint | undefined;
      readonly differing: readonly DifferingRow[];
      readonly error: string | undefined;
    };

/** A row that differs from what the replay made of it; null stands for a row that is missing. */
export interface DifferingRow {
  readonly table: string;
  readonly key: Json;
  readonly live: Json;
  readonly replayed: Json;
}

/** What is recorded of the end of a replay, beside the position of its checkpoint. */
export interface ReplayResult {
  readonly target?: Position;
  readonly rowCount?: bigint;
  readonly differingCount?: bigint;
  readonly differing?: readonly DifferingRow[];
  readonly error?: string;
}

export interface ReplayRequest {
  readonly replayId: string;
  readonly kind: ReplayKind;
  readonly actor: string;
}

const REQUESTS = { rebuild: 'requestRebuild', verification: 'requestVerification' } as const;

/**
 * Makes the generation and records the replay, which a process that runs projections carries out.
 * The same id again is the same replay.
 * @throws LedgerError `projection-busy` while another of this projection is running.
 */
export async function requestReplay(
  database: Database,
  projection: Projection,
  logId: string,
  request: ReplayRequest,
): Promise<Replay> {
  const { replayId } = request;
  return database.transaction(async (tx) => {
    const lock = await ProjectionLock.take(tx, projection.name);
    const [known] = await selectReplays(tx, sql`r.replay_id = ${replayId}`);
    if (known !== undefined) return known;
    const running = await runningReplayOf(tx, projection);
    if (running !== undefined) {
      throw new LedgerError(
        'projection-busy',
        `The ${running.kind} ${running.replayId} of '${projection.name}' is running: ` +
          'wait until it ends, or cancel it.',
        { conflicting: { kind: running.kind, id: running.replayId } },
      );
    }
    return insertReplay(lock, projection, logId, request);
  });
}

/** Records a replay where no other of this version is running. */
export async function insertReplay(
  lock: ProjectionLock,
  projection: Projection,
  logId: string,
  { replayId, kind, actor }: ReplayRequest,
): Promise<Replay> {
  const { tx } = lock;
  const { generation } = await createGeneration(lock, projection, logId, REQUESTS[kind]);
  const { to: status } = TRANSITIONS[REQUESTS[kind]].replay;
  await tx.query(sql`
    insert into engine.replays
      (replay_id, kind, projection, version, generation, status, actor)
    values (
      ${replayId},
      ${kind},
      ${projection.name},
      ${projection.version},
      ${generation},
      ${status},
      ${actor}
    )`);
  const [replay] = await selectReplays(tx, sql`r.replay_id = ${replayId}`);
  if (replay === undefined) throw new Error('a replay that was inserted is not there');
  return replay;
}

export async function findReplay(
  database: Queryable,
  kind: ReplayKind,
  replayId: string,
): Promise<Replay | undefined> {
  const [replay] = await selectReplays(
    database,
    sql`r.kind = ${kind} and r.replay_id = ${replayId}`,
  );
  return replay;
}

/** A page of the list begins after this replay. */
export interface ReplayPlace {
  readonly startedAt: Date;
  readonly replayId: string;
}

/** The replays of a kind, newest first. */
export function listReplays(
  database: Queryable,
  kind: ReplayKind,
  { after, limit }: { readonly after?: ReplayPlace | undefined; readonly limit: number },
): Promise<Replay[]> {
  const { startedAt, replayId } = after ?? {};
  return selectReplays(
    database,
    sql`
      r.kind = ${kind}
      and (
        ${startedAt}::timestamptz is null
        or (r.started_at, r.replay_id) < (${startedAt}::timestamptz, ${replayId}::uuid)
      )
      order by r.started_at desc, r.replay_id desc
      limit ${limit}`,
  );
}

export function runningReplays(database: Queryable): Promise<Replay[]> {
  return selectReplays(database, sql`r.status = 'running' order by r.started_at`);
}

/** The running replays of other releases that no process would carry out: see `markUsed`. */
export function abandonedReplays(
  database: Queryable,
  { name, version }: Pick<Projection, 'name' | 'version'>,
): Promise<Replay[]> {
  return selectReplays(
    database,
    sql`
      r.status = 'running'
      and r.projection = ${name}
      and r.version <> ${version}
      and not exists (
        select from engine.generations g
        where g.projection = r.projection
          and g.generation = r.generation
          and g.used_at >= now() - ${ABANDONED_AFTER}::interval
      )`,
  );
}

export async function runningReplayOf(
  database: Queryable,
  { name, version }: Pick<Projection, 'name' | 'version'>,
): Promise<Replay | undefined> {
  const [running] = await selectReplays(
    database,
    sql`r.status = 'running' and r.projection = ${name} and r.version = ${version}`,
  );
  return running;
}

/** The generation that a replay fills; undefined when the replay has ended. */
export async function generationOfReplay(
  database: Queryable,
  { projection, generation }: Pick<Replay, 'projection' | 'generation'>,
): Promise<Generation | undefined> {
  const [found] = await database.query<Generation>(sql`
    select ${GENERATION_COLUMNS}
    from engine.generations g
    where g.projection = ${projection}
      and g.generation = ${generation}
      and g.status in ('building', 'shadow')`);
  return found;
}

/**
 * Ends a running replay without a swap, and retires its generation.
 * @param leaseToken where it is given, the replay ends only if this lease still writes it.
 * @returns false when it had ended, or another lease writes it.
 */
export async function endReplay(
  database: Database,
  replay: Replay,
  transition: Exclude<ReplayEnding, 'swapIn'>,
  result: ReplayResult = {},
  leaseToken?: bigint,
): Promise<boolean> {
  return database.transaction(async (tx) => {
    const lock = await ProjectionLock.take(tx, replay.projection);
    const generation = await generationOfReplay(tx, replay);
    if (generation === undefined) {
      return leaseToken === undefined && markEnded(lock, replay, transition, undefined, result);
    }
    const { schema } = generation;
    if (leaseToken !== undefined && !(await lockCheckpointOf(tx, schema, leaseToken))) return false;
    const reached = await readCheckpoint(tx, schema);
    if (!(await markEnded(lock, replay, transition, reached, result))) return false;
    await changeStatus(lock, generation, transition);
    return true;
  });
}

/**
 * Changes the status of a replay as the table of transitions says.
 * @param reached the checkpoint of its generation, unless the generation is gone.
 * @returns false when it had ended.
 */
export async function markEnded(
  { tx }: ProjectionLock,
  { replayId }: Replay,
  transition: ReplayEnding,
  reached: Pick<Checkpoint, 'position' | 'events'> | undefined,
  { target, rowCount, differingCount, differing, error }: ReplayResult,
): Promise<boolean> {
  const { from, to } = TRANSITIONS[transition].replay;
  const ended = await tx.query(sql`
    update engine.replays
    set status = ${to},
        ended_at = clock_timestamp(),
        events_per_second = ${reached?.events ?? 0n}::bigint
          / greatest(extract(epoch from clock_timestamp() - started_at), 0.001),
        position = ${reached?.position},
        target = ${target},
        row_count = ${rowCount},
        differing_count = ${differingCount},
        differing = ${differing && JSON.stringify(differing)},
        error = ${error}
    where replay_id = ${replayId}
      and status = any(${from}::text[])
    returning replay_id`);
  return ended.length > 0;
}

interface ReplayRow {
  readonly replayId: string;
  readonly kind: ReplayKind;
  readonly projection: string;
  readonly version: number;
  readonly generation: number;
  readonly status: ReplayStatus;
  readonly startedAt: Date;
  readonly endedAt: Date | null;
  readonly position: Position | null;
  readonly target: Position | null;
  readonly rowCount: bigint | null;
  readonly differingCount: bigint | null;
  readonly differing: readonly DifferingRow[] | null;
  readonly error: string | null;
  readonly eventsPerSecond: number | null;
}

async function selectReplays(database: Queryable, condition: Sql): Promise<Replay[]> {
  const rows = await database.query<ReplayRow>(sql`
    select
      r.replay_id as "replayId", r.kind, r.projection, r.version, r.generation, r.status,
      r.started_at as "startedAt", r.ended_at as "endedAt", r.position, r.target,
      r.row_count as "rowCount", r.differing_count as "differingCount", r.differing, r.error,
      r.events_per_second as "eventsPerSecond"
    from engine.replays r
    where ${condition}`);
  const replays: Replay[] = [];
  for (const row of rows) {
    const { replayId, kind, projection, version, generation, startedAt } = row;
    const progress = endOf(row) ?? (await progressOf(database, row));
    replays.push({ replayId, kind, projection, version, generation, startedAt, progress });
  }
  return replays;
}

function endOf(row: ReplayRow): ReplayProgress | undefined {
  if (row.status === 'running' || row.endedAt === null) return undefined;
  return {
    status: row.status,
    endedAt: row.endedAt,
    eventsPerSecond: row.eventsPerSecond ?? 0,
    position: row.position ?? undefined,
    target: row.target ?? undefined,
    rowCount: row.rowCount ?? undefined,
    differingCount: row.differingCount ?? undefined,
    differing: row.differing ?? [],
    error: row.error ?? undefined,
  };
}

async function progressOf(database: Queryable, row: ReplayRow): Promise<ReplayProgress> {
  const generation = await generationOfReplay(database, row);
  const reached =
    generation &&
    (await readCheckpoint(database, generation.schema).catch((error: unknown) => {
      // The replay has ended and its tables were dropped since the statement before.
      if (isMissingTable(error)) return undefined;
      throw error;
    }));
  return {
    status: 'running',
    position: reached?.position,
    eventsPerSecond: reached?.eventsPerSecond ?? 0,
    positionsPerSecond: reached?.positionsPerSecond ?? 0,
  };
}
