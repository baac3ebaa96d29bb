import type { Queryable } from '../../../database/database.ts';
import { sql } from '../../../database/sql.ts';
import type { Generation } from '../generations/generations.ts';

/**
 * An event that a projection cannot apply. The projection is stopped until an admin decides.
 */
export interface Stop {
  readonly eventId: string;
  readonly position: string;
  readonly message: string;
}

export async function readStop(
  database: Queryable,
  { projection, generation }: Generation,
): Promise<Stop | undefined> {
  const [row] = await database.query<{ stopped: Stop | null }>(sql`
    select stopped
    from engine.generations
    where projection = ${projection}
      and generation = ${generation}`);
  return row?.stopped ?? undefined;
}

/** Whether the stop was written: only the holder of the lease may. */
export async function writeStop(
  database: Queryable,
  { projection, generation, schema }: Generation,
  stop: Stop,
  leaseToken: bigint,
): Promise<boolean> {
  const written = await database.query(sql`
    update engine.generations
    set stopped = ${JSON.stringify(stop)}
    where projection = ${projection}
      and generation = ${generation}
      and exists (
        select from ${sql.raw(schema)}.checkpoint
        where token = ${leaseToken}
        for update
      )
    returning generation`);
  return written.length > 0;
}

/** Lets the projection try again, unless it is stopped at another event by now. */
export async function clearStop(
  database: Queryable,
  { projection, generation }: Generation,
  { eventId }: Stop,
): Promise<void> {
  await database.query(sql`
    update engine.generations
    set stopped = null
    where projection = ${projection}
      and generation = ${generation}
      and stopped ->> 'eventId' = ${eventId}`);
}
