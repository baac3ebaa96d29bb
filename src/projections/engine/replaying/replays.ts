import type { Database, Queryable } from '../../../database/database.ts';
import type { Position } from '../../../event-store/port.ts';
import { LedgerError } from '../../../shared/errors.ts';
import type { Json } from '../../../shared/json.ts';
import {
  ABANDONED_AFTER,
  changeStatus,
  createGeneration,
  generationOf,
  lockGenerations,
  type Generation,
} from '../generations/generations.ts';
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
      /** Of its last report; undefined before the first. */
      readonly position: Position | undefined;
      readonly eventsPerSecond: number;
      readonly positionsPerSecond: number;
    }
  | {
      readonly status: 'completed' | 'cancelled' | 'failed';
      readonly endedAt: Date;
      /** From its start to its end, on average. */
      readonly eventsPerSecond: number;
      readonly position: Position | undefined;
      readonly target: Position | undefined;
      /** Of a completed verification. */
      readonly rowCount: bigint | undefined;
      /** How many differ; of these the first are in `differing`. */
      readonly differingCount: bigint | undefined;
      readonly differing: readonly DifferingRow[];
      readonly error: string | undefined;
    };

/** A row that is not what the replay made of it; null: it is not there at all. */
export interface DifferingRow {
  readonly table: string;
  readonly key: Json;
  readonly live: Json;
  readonly replayed: Json;
}

export interface ReplayEnd {
  readonly status: 'completed' | 'cancelled' | 'failed';
  readonly position?: Position;
  readonly target?: Position;
  /** How many were applied; otherwise as of the last report. */
  readonly events?: bigint;
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

/**
 * Makes the generation and notes the replay, for whichever process runs projections to carry out.
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
    await lockGenerations(tx, projection.name);
    const [known] = await selectReplays(tx, { where: 'r.replay_id = $1', values: [replayId] });
    if (known !== undefined) return known;
    const running = await runningReplayOf(tx, projection);
    if (running !== undefined) {
      throw new LedgerError(
        'projection-busy',
        `The ${running.kind} ${running.replayId} of '${projection.name}' is running: wait until it ends, or cancel it.`,
        { conflicting: { kind: running.kind, id: running.replayId } },
      );
    }
    return insertReplay(tx, projection, logId, request);
  });
}

/** In a transaction that holds the lock, with no other of this version running. */
export async function insertReplay(
  tx: Queryable,
  projection: Projection,
  logId: string,
  { replayId, kind, actor }: ReplayRequest,
): Promise<Replay> {
  const status = kind === 'rebuild' ? 'building' : 'shadow';
  const { generation } = await createGeneration(tx, projection, logId, status);
  await tx.query({
    text: `
      insert into engine.replays
        (replay_id, kind, projection, version, generation, status, actor)
      values (
        $1, /* id */
        $2, /* kind */
        $3, /* projection */
        $4, /* version */
        $5, /* generation */
        'running',
        $6  /* actor */
      )`,
    values: [replayId, kind, projection.name, projection.version, generation, actor],
  });
  const [replay] = await selectReplays(tx, { where: 'r.replay_id = $1', values: [replayId] });
  if (replay === undefined) throw new Error('a replay that was inserted is not there');
  return replay;
}

export async function findReplay(
  database: Queryable,
  kind: ReplayKind,
  replayId: string,
): Promise<Replay | undefined> {
  const [replay] = await selectReplays(database, {
    where: 'r.kind = $1 /* kind */ and r.replay_id = $2 /* id */',
    values: [kind, replayId],
  });
  return replay;
}

/** Where in the list a page ends: after this replay. */
export interface ReplayPlace {
  readonly startedAt: Date;
  readonly replayId: string;
}

/** Newest first. */
export function listReplays(
  database: Queryable,
  kind: ReplayKind,
  { after, limit }: { readonly after?: ReplayPlace | undefined; readonly limit: number },
): Promise<Replay[]> {
  return selectReplays(database, {
    where: `
      r.kind = $1 /* kind */
      and ($2::timestamptz is null or (r.started_at, r.replay_id) < ($2, $3::uuid)) /* after */
      order by r.started_at desc, r.replay_id desc
      limit $4 /* limit */`,
    values: [kind, after?.startedAt ?? null, after?.replayId ?? null, limit],
  });
}

export function runningReplays(database: Queryable): Promise<Replay[]> {
  return selectReplays(database, {
    where: `r.status = 'running' order by r.started_at`,
    values: [],
  });
}

/** The running replays of other releases that no process has kept up for long: see `markUsed`. */
export function abandonedReplays(
  database: Queryable,
  { name, version }: Pick<Projection, 'name' | 'version'>,
): Promise<Replay[]> {
  return selectReplays(database, {
    where: `
      r.status = 'running'
      and r.projection = $1 /* projection */
      and r.version <> $2 /* version */
      and not exists (
        select from engine.generations g
        where g.projection = r.projection
          and g.generation = r.generation
          and g.used_at >= now() - interval '${ABANDONED_AFTER}'
      )`,
    values: [name, version],
  });
}

export async function runningReplayOf(
  database: Queryable,
  { name, version }: Pick<Projection, 'name' | 'version'>,
): Promise<Replay | undefined> {
  const [running] = await selectReplays(database, {
    where: `r.status = 'running' and r.projection = $1 and r.version = $2`,
    values: [name, version],
  });
  return running;
}

/** The generation that a replay fills; undefined when it is gone. */
export async function generationOfReplay(
  database: Queryable,
  { projection, generation }: Replay,
): Promise<Generation | undefined> {
  const [row] = await database.query<Parameters<typeof generationOf>[0]>({
    text: `
      select projection, version, generation, log_id, status
      from engine.generations
      where projection = $1 /* projection */
        and generation = $2 /* generation */
        and status in ('building', 'shadow')`,
    values: [projection, generation],
  });
  return row && generationOf(row);
}

/**
 * Ends a replay that is running, and leaves its generation to be dropped. False when it had ended.
 * `leaseToken`: only if this is still the lease that it is written under.
 */
export async function endReplay(
  database: Database,
  replay: Replay,
  end: ReplayEnd,
  leaseToken?: bigint,
): Promise<boolean> {
  return database.transaction(async (tx) => {
    await lockGenerations(tx, replay.projection);
    const generation = await generationOfReplay(tx, replay);
    if (leaseToken !== undefined) {
      if (generation === undefined) return false;
      const [held] = await tx.query({
        text: `
          select token
          from ${generation.schema}.checkpoint
          where token = $1 /* lease */
          for update`,
        values: [leaseToken],
      });
      if (held === undefined) return false;
    }
    const isEnded = await markEnded(tx, replay, end);
    if (isEnded && generation !== undefined) {
      await changeStatus(tx, generation, 'retired');
      // Whoever is writing it finds at his next commit that it is not his any more.
      await tx.query({ text: `update ${generation.schema}.checkpoint set token = -1` });
    }
    return isEnded;
  });
}

/** In a transaction of the caller's. False when it had ended. */
export async function markEnded(tx: Queryable, replay: Replay, end: ReplayEnd): Promise<boolean> {
  const ended = await tx.query({
    text: `
      update engine.replays
      set status = $2,    /* status */
          ended_at = clock_timestamp(),
          position = coalesce($3, (
            select l.position
            from engine.leases l
            where l.projection = replays.projection
              and l.generation = replays.generation
          )),             /* position */
          target = $4,    /* target */
          row_count = $5, /* rows */
          differing = $6, /* differing */
          error = $7,     /* error */
          differing_count = $8, /* count of differing */
          events_per_second = coalesce(
            $9, /* events */
            (
              select l.events
              from engine.leases l
              where l.projection = replays.projection
                and l.generation = replays.generation
            ),
            0
          ) / greatest(extract(epoch from clock_timestamp() - started_at), 0.001)
      where replay_id = $1 /* id */
        and status = 'running'
      returning replay_id`,
    values: [
      replay.replayId,
      end.status,
      end.position ?? null,
      end.target ?? null,
      end.rowCount ?? null,
      end.differing === undefined ? null : JSON.stringify(end.differing),
      end.error ?? null,
      end.differingCount ?? null,
      end.events ?? null,
    ],
  });
  return ended.length > 0;
}

interface ReplayRow {
  readonly replay_id: string;
  readonly kind: ReplayKind;
  readonly projection: string;
  readonly version: number;
  readonly generation: number;
  readonly status: ReplayProgress['status'];
  readonly started_at: Date;
  readonly ended_at: Date | null;
  readonly position: bigint | null;
  readonly target: bigint | null;
  readonly row_count: bigint | null;
  readonly differing_count: bigint | null;
  readonly differing: readonly DifferingRow[] | null;
  readonly error: string | null;
  readonly lease_position: bigint | null;
  readonly average_events_per_second: number | null;
  readonly events_per_second: number;
  readonly positions_per_second: number;
}

async function selectReplays(
  database: Queryable,
  { where, values }: { readonly where: string; readonly values: readonly unknown[] },
): Promise<Replay[]> {
  const rows = await database.query<ReplayRow>({
    text: `
      select
        r.replay_id, r.kind, r.projection, r.version, r.generation, r.status, r.started_at,
        r.ended_at, r.position, r.target, r.row_count, r.differing_count, r.differing, r.error,
        r.events_per_second as average_events_per_second, l.position as lease_position,
        case when l.expires_at > clock_timestamp() then l.events_per_second else 0 end
          as events_per_second,
        case when l.expires_at > clock_timestamp() then l.positions_per_second else 0 end
          as positions_per_second
      from engine.replays r
      left join engine.leases l using (projection, generation)
      where ${where}`,
    values,
  });
  return rows.map((row) => ({
    replayId: row.replay_id,
    kind: row.kind,
    projection: row.projection,
    version: row.version,
    generation: row.generation,
    startedAt: row.started_at,
    progress: progressOf(row),
  }));
}

function progressOf(row: ReplayRow): ReplayProgress {
  if (row.status === 'running' || row.ended_at === null) {
    return {
      status: 'running',
      position: asPosition(row.lease_position),
      eventsPerSecond: row.events_per_second,
      positionsPerSecond: row.positions_per_second,
    };
  }
  return {
    status: row.status,
    endedAt: row.ended_at,
    eventsPerSecond: row.average_events_per_second ?? 0,
    position: asPosition(row.position),
    target: asPosition(row.target),
    rowCount: row.row_count ?? undefined,
    differingCount: row.differing_count ?? undefined,
    differing: row.differing ?? [],
    error: row.error ?? undefined,
  };
}

function asPosition(position: bigint | null): Position | undefined {
  return position === null ? undefined : (position as Position);
}
