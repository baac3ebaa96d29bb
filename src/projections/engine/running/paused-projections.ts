import type { Queryable } from '../../../database/database.ts';

/** Pauses are of a projection in all its versions, and outlive processes and generations. */
export async function isPaused(database: Queryable, projection: string): Promise<boolean> {
  const [row] = await database.query({
    name: 'is-paused',
    text: 'select from engine.pauses where projection = $1 /* projection */',
    values: [projection],
  });
  return row !== undefined;
}

export async function setPaused(
  database: Queryable,
  projection: string,
  actor: string,
): Promise<void> {
  await database.query({
    text: `
      insert into engine.pauses (projection, actor)
      values ($1 /* projection */, $2 /* actor */)
      on conflict (projection) do nothing`,
    values: [projection, actor],
  });
}

export async function clearPaused(database: Queryable, projection: string): Promise<void> {
  await database.query({
    text: 'delete from engine.pauses where projection = $1 /* projection */',
    values: [projection],
  });
}
