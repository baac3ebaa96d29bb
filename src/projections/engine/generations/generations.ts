import type { Database, Queryable } from '../../../database/database.ts';
import { LOCKS } from '../../../database/locks.ts';
import { BEGINNING, type Position } from '../../../event-store/port.ts';
import type { Projection } from '../projection.ts';
import { withinLimit } from '../running/time-limit.ts';

export type GenerationStatus = 'building' | 'shadow' | 'live' | 'retired';

/** One set of tables of one projection, built from one log by one version of the code. */
export interface Generation {
  readonly projection: string;
  readonly version: number;
  readonly generation: number;
  readonly logId: string;
  readonly status: GenerationStatus;
  /** Of its tables, as of the status. */
  readonly schema: string;
}

/** An event that a projection cannot apply; it stands still until an admin has decided. */
export interface Stop {
  readonly eventId: string;
  readonly position: string;
  readonly message: string;
}

export interface Checkpoint {
  readonly position: Position;
  readonly updatedAt: Date;
  /** By the same clock. */
  readonly readAt: Date;
}

interface GenerationRow {
  readonly projection: string;
  readonly version: number;
  readonly generation: number;
  readonly log_id: string;
  readonly status: GenerationStatus;
}

/**
 * What changes which generations there are (their making, swap and end) happens under this lock, one
 * after the other for each projection, until the transaction ends.
 */
export async function lockGenerations(tx: Queryable, projection: string): Promise<void> {
  await tx.query({
    text: `select pg_advisory_xact_lock(${LOCKS.generations}, hashtext($1 /* projection */))`,
    values: [projection],
  });
}

/** The live generations of a projection, in all versions, the newest first. */
export async function liveGenerations(
  database: Queryable,
  projection: string,
): Promise<Generation[]> {
  const rows = await database.query<GenerationRow>({
    name: 'live-generations',
    text: `
      select projection, version, generation, log_id, status
      from engine.generations
      where projection = $1 /* projection */
        and status = 'live'
      order by generation desc`,
    values: [projection],
  });
  return rows.map(generationOf);
}

/** The live generation that this code can write: of its version, and built from this log. */
export async function ownLiveGeneration(
  database: Queryable,
  { name, version }: Projection,
  logId: string,
): Promise<Generation | undefined> {
  const live = await liveGenerations(database, name);
  return live.find((found) => found.version === version && found.logId === logId);
}

/** Makes the tables of a new generation, with their indexes if it is to be live at once. */
export async function createGeneration(
  tx: Queryable,
  projection: Projection,
  logId: string,
  status: Exclude<GenerationStatus, 'retired'>,
): Promise<Generation> {
  const [row] = await tx.query<GenerationRow>({
    text: `
      insert into engine.generations (projection, version, generation, log_id, status, is_indexed)
      select
        $1::text,    /* projection */
        $2::integer, /* version */
        1 + coalesce(max(generation), 0),
        $3::text,    /* log */
        $4::text,    /* status */
        $4::text = 'live'
      from (
        select generation from engine.generations where projection = $1::text
        union all
        select generation from engine.replays where projection = $1::text
      ) given
      returning projection, version, generation, log_id, status`,
    values: [projection.name, projection.version, logId, status],
  });
  if (row === undefined) throw new Error('an insert returned no row');
  const generation = generationOf(row);
  await tx.query({ text: `create schema ${generation.schema}` });
  await tx.query({ text: `set local search_path to ${generation.schema}` });
  await tx.query({
    text: `
      create table checkpoint (
        singleton  boolean     primary key default true check (singleton),
        position   bigint      not null,
        token      bigint      not null,
        updated_at timestamptz not null
      )`,
  });
  await tx.query({
    text: `
      insert into checkpoint (position, token, updated_at)
      values ($1 /* position */, 0, now())`,
    values: [BEGINNING],
  });
  await tx.query({ text: projection.tables });
  if (status === 'live' && projection.indexes !== '') await tx.query({ text: projection.indexes });
  return generation;
}

/** An index on a year's history takes its time. */
const INDEXING_TIMEOUT_MS = 3_600_000;
/** Other replays wait for this one. */
const INDEXING_LOCK_TIMEOUT_MS = 5_000;

/**
 * Makes what was left out for the bulk, once. Interrupted, it is done again. Nothing that others wait
 * for is held meanwhile but the tables themselves: it may take long.
 * @throws TooSlowError
 */
export async function makeIndexes(
  database: Pick<Database, 'transaction'>,
  { schema, projection: name, generation }: Generation,
  projection: Projection,
): Promise<void> {
  await database.transaction(async (tx) => {
    // A holder that was stalled may still be at it.
    await tx.query({ text: `set local lock_timeout to ${INDEXING_LOCK_TIMEOUT_MS}` });
    await tx.query({
      text: `select pg_advisory_xact_lock(${LOCKS.indexes}, hashtext($1 /* schema */))`,
      values: [schema],
    });
    const [row] = await tx.query<{ is_indexed: boolean }>({
      text: `
        select is_indexed
        from engine.generations
        where projection = $1 /* projection */
          and generation = $2 /* generation */`,
      values: [name, generation],
    });
    if (row?.is_indexed !== false) return;
    if (projection.indexes !== '') {
      await tx.query({ text: `set local search_path to ${schema}` });
      await tx.query({ text: `set local statement_timeout to ${INDEXING_TIMEOUT_MS}` });
      await withinLimit(tx, INDEXING_TIMEOUT_MS, (limited) =>
        limited.query({ text: projection.indexes }),
      );
    }
    await tx.query({
      text: `
        update engine.generations
        set is_indexed = true
        where projection = $1 /* projection */
          and generation = $2 /* generation */`,
      values: [name, generation],
    });
  });
}

/** Makes another status true of a generation, and gives it the schema that goes with that. */
export async function changeStatus(
  tx: Queryable,
  generation: Generation,
  status: GenerationStatus,
): Promise<Generation> {
  const changed = { ...generation, status, schema: schemaOf({ ...generation, status }) };
  await tx.query({
    text: `
      update engine.generations
      set status = $3 /* status */
      where projection = $1 /* projection */
        and generation = $2 /* generation */`,
    values: [generation.projection, generation.generation, status],
  });
  if (changed.schema !== generation.schema) {
    await tx.query({ text: `alter schema ${generation.schema} rename to ${changed.schema}` });
  }
  return changed;
}

/** Drops the tables of a generation, and all that is known of it. */
async function dropGeneration(tx: Queryable, generation: Generation): Promise<void> {
  await tx.query({ text: `drop schema if exists ${generation.schema} cascade` });
  for (const table of ['leases', 'generations']) {
    await tx.query({
      text: `
        delete from engine.${table}
        where projection = $1 /* projection */
          and generation = $2 /* generation */`,
      values: [generation.projection, generation.generation],
    });
  }
}

/** Who runs an older release may be coming back to it; after so long, nobody is. */
export const ABANDONED_AFTER = '10 minutes';

/** Whether some process writes it. */
export async function isHeld(
  database: Queryable,
  { projection, generation }: Generation,
): Promise<boolean> {
  const [row] = await database.query({
    name: 'is-held',
    text: `
      select from engine.leases
      where projection = $1 /* projection */
        and generation = $2 /* generation */
        and expires_at > clock_timestamp()`,
    values: [projection, generation],
  });
  return row !== undefined;
}

/**
 * Notes that a process answers from these, and that one runs these versions, whose replays it would
 * carry out: so no other release drops any of them.
 */
export async function markUsed(
  database: Queryable,
  generations: readonly Generation[],
  projections: readonly Projection[],
): Promise<void> {
  await database.query({
    name: 'mark-used',
    text: `
      update engine.generations g
      set used_at = now()
      where exists (
        select
        from unnest(
          $1::text[],   /* projections */
          $2::integer[] /* generations */
        ) as used (projection, generation)
        where g.projection = used.projection
          and g.generation = used.generation
      )
      or exists (
        select
        from unnest(
          $3::text[],   /* projections */
          $4::integer[] /* versions */
        ) as own (projection, version)
        where g.projection = own.projection
          and g.version = own.version
          and g.status in ('building', 'shadow')
      )`,
    values: [
      generations.map(({ projection }) => projection),
      generations.map(({ generation }) => generation),
      projections.map(({ name }) => name),
      projections.map(({ version }) => version),
    ],
  });
}

/**
 * Drops what a swap has replaced and what ended replays have left, and the versions that nobody has
 * answered from for long, when this one has taken their place.
 */
export async function dropUnused(database: Database, { name, version }: Projection): Promise<void> {
  await database.transaction(async (tx) => {
    await lockGenerations(tx, name);
    const rows = await tx.query<GenerationRow>({
      text: `
        select g.projection, g.version, g.generation, g.log_id, g.status
        from engine.generations g
        where g.projection = $1 /* projection */
          and (
            g.status = 'retired'
            or (
              g.status = 'live'
              and g.version <> $2 /* version */
              and exists (
                select from engine.generations own
                where own.projection = $1 and own.version = $2 and own.status = 'live'
              )
              and g.used_at < now() - interval '${ABANDONED_AFTER}'
            )
          )`,
      values: [name, version],
    });
    for (const row of rows) await dropGeneration(tx, generationOf(row));
  });
}

export async function readCheckpoint(database: Queryable, schema: string): Promise<Checkpoint> {
  const [row] = await database.query<{ position: bigint; updated_at: Date; read_at: Date }>({
    text: `select position, updated_at, clock_timestamp() as read_at from ${schema}.checkpoint`,
  });
  if (row === undefined) throw new Error(`the checkpoint of ${schema} holds no row`);
  return { position: row.position as Position, updatedAt: row.updated_at, readAt: row.read_at };
}

export async function readStop(
  database: Queryable,
  { projection, generation }: Generation,
): Promise<Stop | undefined> {
  const [row] = await database.query<{ stopped: Stop | null }>({
    text: `
      select stopped
      from engine.generations
      where projection = $1 /* projection */
        and generation = $2 /* generation */`,
    values: [projection, generation],
  });
  return row?.stopped ?? undefined;
}

/** Whether the stop was written: only the holder of the lease may. */
export async function writeStop(
  database: Queryable,
  { projection, generation, schema }: Generation,
  stop: Stop,
  leaseToken: bigint,
): Promise<boolean> {
  const written = await database.query({
    text: `
      update engine.generations
      set stopped = $3 /* stop */
      where projection = $1 /* projection */
        and generation = $2 /* generation */
        and exists (
          select from ${schema}.checkpoint
          where token = $4 /* lease */
          for update
        )
      returning generation`,
    values: [projection, generation, JSON.stringify(stop), leaseToken],
  });
  return written.length > 0;
}

/** Lets the projection try again, unless it stands at another event by now. */
export async function clearStop(
  database: Queryable,
  { projection, generation }: Generation,
  { eventId }: Stop,
): Promise<void> {
  await database.query({
    text: `
      update engine.generations
      set stopped = null
      where projection = $1 /* projection */
        and generation = $2 /* generation */
        and stopped ->> 'eventId' = $3 /* event */`,
    values: [projection, generation, eventId],
  });
}

export function generationOf(row: GenerationRow): Generation {
  const generation = {
    projection: row.projection,
    version: row.version,
    generation: row.generation,
    logId: row.log_id,
    status: row.status,
  };
  return { ...generation, schema: schemaOf(generation) };
}

/** The live one has the stable name; any other is known by its number. */
function schemaOf({ projection, version, generation, status }: Omit<Generation, 'schema'>): string {
  return status === 'live' ? `read_${projection}_v${version}` : `read_${projection}_g${generation}`;
}
