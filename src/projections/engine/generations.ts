import type { Database, Queryable } from '../../database/database.ts';
import { BEGINNING, type Position } from '../../event-store/port.ts';
import type { Json } from '../../shared/json.ts';
import { liveSchema, type Projection } from './projection.ts';

/** The tables of one projection that a runner writes. */
export interface Generation {
  readonly projection: string;
  readonly generation: number;
  readonly version: number;
  readonly schema: string;
}

/** An event that a projection cannot apply; it stands still until an admin has decided. */
export interface Stop {
  readonly eventId: string;
  readonly position: string;
  readonly message: string;
}

interface GenerationRow {
  readonly generation: number;
  readonly version: number;
  readonly log_id: string;
  readonly stopped: Json;
}

/**
 * The live generation, made when there is none. Processes that start at once meet at an advisory
 * lock, so one of them makes it.
 */
export async function ensureLiveGeneration(
  database: Database,
  projection: Projection,
  logId: string,
): Promise<Generation> {
  return database.transaction(async (tx) => {
    await tx.query({
      text: 'select pg_advisory_xact_lock(7002, hashtext($1 /* projection */))',
      values: [projection.name],
    });
    const [live] = await tx.query<GenerationRow>({
      text: `
        select generation, version, log_id, stopped
        from engine.generations
        where projection = $1 /* projection */
          and status = 'live'`,
      values: [projection.name],
    });
    if (live === undefined) return createLive(tx, projection, logId);
    if (live.log_id !== logId || live.version !== projection.version) {
      throw new Error(
        `the read model '${projection.name}' was built from log ${live.log_id} by version ` +
          `${live.version}; this process has log ${logId} and version ${projection.version}`,
      );
    }
    return generationOf(projection, live.generation);
  });
}

async function createLive(
  tx: Queryable,
  projection: Projection,
  logId: string,
): Promise<Generation> {
  const generation = generationOf(projection, 1);
  await createTables(tx, generation.schema, projection);
  await tx.query({ text: projection.indexes });
  await tx.query({
    text: `
      insert into engine.generations (projection, generation, version, log_id, status)
      values ($1 /* projection */, $2 /* generation */, $3 /* version */, $4 /* log */, 'live')`,
    values: [projection.name, generation.generation, projection.version, logId],
  });
  return generation;
}

async function createTables(tx: Queryable, schema: string, projection: Projection): Promise<void> {
  await tx.query({ text: `create schema ${schema}` });
  await tx.query({ text: `set local search_path to ${schema}` });
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
}

function generationOf(projection: Projection, generation: number): Generation {
  return {
    projection: projection.name,
    generation,
    version: projection.version,
    schema: liveSchema(projection.name),
  };
}

export async function readCheckpoint(database: Queryable, schema: string): Promise<Position> {
  const [row] = await database.query<{ position: bigint }>({
    text: `select position from ${schema}.checkpoint`,
  });
  return (row?.position ?? BEGINNING) as Position;
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
