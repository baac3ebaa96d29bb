import type { Database } from '../../../database/database.ts';
import { LOCKS } from '../../../database/locks.ts';
import { sql } from '../../../database/sql.ts';
import type { Projection } from '../projection.ts';
import { withinLimit } from '../running/time-limit.ts';
import { setForTransaction } from '../session-settings.ts';
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
  const [generation] = await tx.query<Generation>(sql`
    insert into engine.generations as g
      (projection, version, generation, log_id, status, is_indexed, schema_name)
    select
      ${projection.name}::text,
      ${projection.version}::integer,
      next.generation,
      ${logId},
      ${status},
      ${isIndexed},
      'read_' || ${projection.name}::text || '_g' || next.generation
    from (
      -- A number is never given twice, so a schema never has the name of an earlier one.
      select 1 + coalesce(max(given.generation), 0) as generation
      from (
        select generation from engine.generations where projection = ${projection.name}
        union all
        select generation from engine.replays where projection = ${projection.name}
      ) given
    ) next
    returning ${GENERATION_COLUMNS}`);
  if (generation === undefined) throw new Error('an insert returned no row');
  await tx.query(sql`create schema ${sql.raw(generation.schema)}`);
  await setForTransaction(tx, { search_path: generation.schema });
  await createCheckpoint(tx);
  await tx.query(sql.raw(projection.tables));
  if (isIndexed && projection.indexes !== '') await tx.query(sql.raw(projection.indexes));
  return generation;
}

/** Making an index on a year's history takes long. */
const INDEXING_TIMEOUT_MS = 3_600_000;
/** Other replays wait for this one. */
const INDEXING_LOCK_TIMEOUT_MS = 5_000;

/**
 * Makes the indexes that were left out for the bulk, once. Interrupted, it is done again. It may
 * take long, so it locks nothing that others wait for but the tables of this generation.
 * @throws TooSlowError
 */
export async function makeIndexes(
  database: Pick<Database, 'transaction'>,
  { schema, projection: name, generation }: Generation,
  projection: Projection,
): Promise<void> {
  await database.transaction(async (tx) => {
    // A holder of the lease that was stalled may still make them.
    await setForTransaction(tx, { lock_timeout: INDEXING_LOCK_TIMEOUT_MS });
    await tx.query(sql`
      select pg_advisory_xact_lock(${LOCKS.indexes}::integer, hashtext(${schema}))`);
    const [row] = await tx.query<{ isIndexed: boolean }>(sql`
      select is_indexed as "isIndexed"
      from engine.generations
      where projection = ${name}
        and generation = ${generation}`);
    if (row?.isIndexed !== false) return;
    if (projection.indexes !== '') {
      await setForTransaction(tx, {
        search_path: schema,
        statement_timeout: INDEXING_TIMEOUT_MS,
      });
      await withinLimit(tx, INDEXING_TIMEOUT_MS, (limited) =>
        limited.query(sql.raw(projection.indexes)),
      );
    }
    await tx.query(sql`
      update engine.generations
      set is_indexed = true
      where projection = ${name}
        and generation = ${generation}`);
  });
}

/**
 * A query that reads the tables is not waited for, since all later ones would queue behind this
 * lock. Whoever drops them tries again later instead.
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
  const removed = await tx.query(sql`
    delete from engine.generations
    where projection = ${projection}
      and generation = ${generation}
      and status = any(${TRANSITIONS[transition].generation.from}::text[])
    returning generation`);
  if (removed.length === 0) return;
  await tx.query(sql`
    delete from engine.leases
    where projection = ${projection}
      and generation = ${generation}`);
  await setForTransaction(tx, { lock_timeout: DROPPING_LOCK_TIMEOUT_MS });
  await tx.query(sql`drop schema if exists ${sql.raw(schema)} cascade`);
}
