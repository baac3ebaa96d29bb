import type { Queryable } from '../../../database/database.ts';
import { sql } from '../../../database/sql.ts';
import { BEGINNING, type Position } from '../../../event-store/port.ts';

/** How far a generation is, and how fast it gets there, whichever process writes it. */
export interface Checkpoint {
  readonly position: Position;
  readonly updatedAt: Date;
  /** The present time by the clock of `updatedAt`. */
  readonly readAt: Date;
  /** Whether another generation has taken its place, or nobody needs it any more. */
  readonly isRetired: boolean;
  /** How many events were applied since the generation was made. */
  readonly events: bigint;
  /** Averages over the last seconds, which fall to 0 while nothing is applied. */
  readonly eventsPerSecond: number;
  readonly positionsPerSecond: number;
}

/**
 * The token in the checkpoint of a retired generation. No lease has it, so no writer can commit
 * there, and a query that takes it with its rows knows that it has to ask again.
 */
export const RETIRED_TOKEN = -1;

/** Makes the table in the schema of the search path, with its one row. */
export async function createCheckpoint(tx: Queryable): Promise<void> {
  await tx.query(sql`
    create table checkpoint (
      singleton        boolean          primary key default true check (singleton),
      position         bigint           not null,
      token            bigint           not null,
      updated_at       timestamptz      not null,
      events           bigint           not null default 0,
      recent_events    double precision not null default 0,
      recent_positions double precision not null default 0
    )`);
  await tx.query(sql`
    insert into checkpoint (position, token, updated_at)
    values (${BEGINNING}, 0, now())`);
}

/** Adds what a checkpoint lacks that the release before this one made (migration 8). */
export async function addProgressColumns(database: Queryable, schema: string): Promise<void> {
  await database.query(sql`select engine.add_progress_columns(${schema})`);
}

export async function readCheckpoint(database: Queryable, schema: string): Promise<Checkpoint> {
  const [row] = await database.query<Checkpoint>(sql`
    select
      position,
      updated_at as "updatedAt",
      clock_timestamp() as "readAt",
      token = ${RETIRED_TOKEN} as "isRetired",
      events,
      engine.faded(recent_events, updated_at) / 3 as "eventsPerSecond",
      engine.faded(recent_positions, updated_at) / 3 as "positionsPerSecond"
    from ${sql.raw(schema)}.checkpoint`);
  if (row === undefined) throw new Error(`the checkpoint of ${schema} holds no row`);
  return row;
}

/** Locks the checkpoint until the transaction ends: nobody can move it meanwhile. */
export async function lockCheckpoint(tx: Queryable, schema: string): Promise<Checkpoint> {
  await tx.query(sql`select from ${sql.raw(schema)}.checkpoint for update`);
  return readCheckpoint(tx, schema);
}

/** Locks the checkpoint as `lockCheckpoint`, if it is still this lease that writes it. */
export async function lockCheckpointOf(
  tx: Queryable,
  schema: string,
  leaseToken: bigint,
): Promise<boolean> {
  const held = await tx.query(sql`
    select from ${sql.raw(schema)}.checkpoint
    where token = ${leaseToken}
    for update`);
  return held.length > 0;
}

/** Whoever writes the generation finds at its next commit that it may not. */
export async function markRetired(tx: Queryable, schema: string): Promise<void> {
  await tx.query(sql`update ${sql.raw(schema)}.checkpoint set token = ${RETIRED_TOKEN}`);
}

/**
 * Moves the checkpoint on. It fences before any work is done, and locks the row for the
 * transaction.
 * @returns whether it stood at `from` and this lease wrote it last.
 */
export async function moveCheckpoint(
  tx: Queryable,
  { from, to, events }: { readonly from: Position; readonly to: Position; readonly events: number },
  leaseToken: bigint,
): Promise<boolean> {
  const moved = await tx.query(sql`
    update checkpoint
    set position = ${to},
        updated_at = clock_timestamp(),
        events = events + ${events}::integer,
        recent_events = engine.faded(recent_events, updated_at) + ${events}::integer,
        recent_positions = engine.faded(recent_positions, updated_at) + ${to - from}::bigint
    where position = ${from}
      and token = ${leaseToken}
    returning position`);
  return moved.length > 0;
}
