import type { Queryable } from '../../../database/database.ts';
import { sql } from '../../../database/sql.ts';

/** A projection is paused in all its versions; that outlives processes and generations. */
export async function isPaused(database: Queryable, projection: string): Promise<boolean> {
  const [row] = await database.query(sql`
    select from engine.pauses where projection = ${projection}`);
  return row !== undefined;
}

export async function setPaused(
  database: Queryable,
  projection: string,
  actor: string,
): Promise<void> {
  await database.query(sql`
    insert into engine.pauses (projection, actor)
    values (${projection}, ${actor})
    on conflict (projection) do nothing`);
}

export async function clearPaused(database: Queryable, projection: string): Promise<void> {
  await database.query(sql`delete from engine.pauses where projection = ${projection}`);
}
