import type { Queryable } from '../../../database/database.ts';
import type { Generation } from '../generations/generations.ts';

/** An event that a projection cannot apply: the projection stands still until an admin has decided. */
export interface Stop {
  readonly eventId: string;
  readonly position: string;
  readonly message: string;
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
