import type { Database } from '../../../database/database.ts';
import { sql } from '../../../database/sql.ts';
import type { Projection } from '../projection.ts';
import { dropGeneration } from './generation-tables.ts';
import { ABANDONED_AFTER, GENERATION_COLUMNS, type Generation } from './generations.ts';
import { ProjectionLock, TRANSITIONS, type Removal } from './state-machine.ts';

/**
 * Drops what a swap has replaced and what ended replays have left, and the versions that no process
 * has used for long, when this one has taken their place. What a query reads just now stays for
 * later.
 * @throws what is transient
 */
export async function dropUnused(database: Database, projection: Projection): Promise<void> {
  for (const { transition, ...generation } of await unusedGenerations(database, projection)) {
    await database.transaction(async (tx) => {
      const lock = await ProjectionLock.take(tx, projection.name);
      await dropGeneration(lock, generation, transition);
    });
  }
}

interface Unused extends Generation {
  readonly transition: Removal;
}

async function unusedGenerations(
  database: Database,
  { name, version }: Projection,
): Promise<Unused[]> {
  const drop: Removal = 'drop';
  const dropUnusedVersion: Removal = 'dropUnusedVersion';
  const { from } = TRANSITIONS.drop.generation;
  return database.query<Unused>(sql`
    select
      ${GENERATION_COLUMNS},
      case
        when g.status = any(${from}::text[]) then ${drop}::text
        else ${dropUnusedVersion}::text
      end as transition
    from engine.generations g
    where g.projection = ${name}
      and (
        g.status = any(${from}::text[])
        or (
          g.status = 'live'
          and g.version <> ${version}
          and g.used_at < now() - ${ABANDONED_AFTER}::interval
          and exists (
            select from engine.generations own
            where own.projection = g.projection
              and own.version = ${version}
              and own.status = 'live'
          )
        )
      )`);
}
