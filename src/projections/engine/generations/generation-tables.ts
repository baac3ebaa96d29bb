import type { Database } from '../../../database/database.ts';
import { LOCKS } from '../../../database/locks.ts';
import type { Projection } from '../projection.ts';
import { withinLimit } from '../running/time-limit.ts';
import { createCheckpoint } from './checkpoint.ts';
import { GENERATION_COLUMNS, type Generation } from './generations.ts';
import { TRANSITIONS, type Creation, type ProjectionLock, type Removal } from './state-machine.ts';

/** Makes a new generation and its tables, with their indexes if it is live at once. */
export async function createGeneration(
  { tx }: ProjectionLock,
  projection: Projection,
  logId: string,
  transition: Creation,
): Promise<Generation> {
  const status = TRANSITIONS[transition].generation.to;
  const isIndexed = status === 'live';
  const [generation] = await tx.query<Generation>({
    text: `
      insert into engine.generations as g
        (projection, version, generation, log_id, status, is_indexed, schema_name)
      select
        $1::text,    /* projection */
        $2::integer, /* version */
        next.generation,
        $3::text,    /* log */
        $4::text,    /* status */
        $5::boolean, /* is indexed */
        'read_' || $1::text || '_g' || next.generation
      from (
        -- A number is never given twice, so a schema never has the name of an earlier one.
        select 1 + coalesce(max(generation), 0) as generation
        from (
          select generation from engine.generations where projection = $1::text
          union all
          select generation from engine.replays where projection = $1::text
        ) given
      ) next
      returning ${GENERATION_COLUMNS}`,
    values: [projection.name, projection.version, logId, status, isIndexed],
  });
  if (generation === undefined) throw new Error('an insert returned no row');
  await tx.query({ text: `create schema ${generation.schema}` });
  await tx.query({ text: `set local search_path to ${generation.schema}` });
  await createCheckpoint(tx);
  await tx.query({ text: projection.tables });
  if (isIndexed && projection.indexes !== '') await tx.query({ text: projection.indexes });
  return generation;
}

/** Making an index on a year's history takes long. */
const INDEXING_TIMEOUT_MS = 3_600_000;
/** Other replays wait for this one. */
const INDEXING_LOCK_TIMEOUT_MS = 5_000;

/**
 * Makes the indexes that were left out for the bulk, once. Interrupted, it is done again. It may take
 * long, so it locks nothing that others wait for but the tables of this generation.
 * @throws TooSlowError
 */
export async function makeIndexes(
  database: Pick<Database, 'transaction'>,
  { schema, projection: name, generation }: Generation,
  projection: Projection,
): Promise<void> {
  await database.transaction(async (tx) => {
    // A holder of the lease that was stalled may still make them.
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

/**
 * A query that reads the tables is not waited for, since all later ones would queue behind this lock.
 * Whoever drops them tries again later instead.
 */
const DROPPING_LOCK_TIMEOUT_MS = 10;

/**
 * Drops the tables of a generation, and all that is known of it.
 * @throws what is transient, in particular while a query reads the tables.
 */
export async function dropGeneration(
  { tx, projection }: ProjectionLock,
  { generation, schema }: Generation,
  transition: Removal,
): Promise<void> {
  const removed = await tx.query({
    text: `
      delete from engine.generations
      where projection = $1 /* projection */
        and generation = $2 /* generation */
        and status = any($3::text[]) /* from */
      returning generation`,
    values: [projection, generation, TRANSITIONS[transition].generation.from],
  });
  if (removed.length === 0) return;
  await tx.query({
    text: `
      delete from engine.leases
      where projection = $1 /* projection */
        and generation = $2 /* generation */`,
    values: [projection, generation],
  });
  await tx.query({ text: `set local lock_timeout to ${DROPPING_LOCK_TIMEOUT_MS}` });
  await tx.query({ text: `drop schema if exists ${schema} cascade` });
}
