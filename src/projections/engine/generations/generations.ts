import type { Queryable } from '../../../database/database.ts';
import { rowsAs, type Columns } from '../../../database/rows.ts';
import { sql } from '../../../database/sql.ts';
import type { Projection } from '../projection.ts';
import { markRetired } from './checkpoint.ts';
import {
  TRANSITIONS,
  type GenerationStatus,
  type ProjectionLock,
  type StatusChange,
} from './state-machine.ts';

/** One set of tables of one projection, built from one log by one version of the code. */
export interface Generation {
  readonly projection: string;
  readonly version: number;
  readonly generation: number;
  readonly logId: string;
  readonly status: GenerationStatus;
  /** The schema of its tables. */
  readonly schema: string;
}

/**
 * The columns of `engine.generations g` by the names of `Generation`. Where no schema is written,
 * the release that made the generation called it by this rule, and may have renamed it in a swap.
 */
export const GENERATION_COLUMNS = sql`
  g.projection, g.version, g.generation, g.log_id as "logId", g.status,
  coalesce(
    g.schema_name,
    case g.status
      when 'live' then 'read_' || g.projection || '_v' || g.version
      else 'read_' || g.projection || '_g' || g.generation
    end
  ) as schema`;

/** The live generations of a projection, in all versions, the newest first. */
export async function liveGenerations(
  database: Queryable,
  projection: string,
): Promise<Generation[]> {
  return database.query<Generation>(sql`
    select ${GENERATION_COLUMNS}
    from engine.generations g
    where g.projection = ${projection}
      and g.status = 'live'
    order by g.generation desc`);
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

/**
 * Changes the status of a generation as the table of transitions says.
 * @throws Error when it has none of the statuses that the transition starts from.
 */
export async function changeStatus(
  { tx, projection }: ProjectionLock,
  { generation, schema }: Generation,
  transition: StatusChange,
): Promise<void> {
  const { from, to } = TRANSITIONS[transition].generation;
  const changed = await tx.query(sql`
    update engine.generations
    set status = ${to},
        schema_name = ${schema}
    where projection = ${projection}
      and generation = ${generation}
      and status = any(${from}::text[])
    returning generation`);
  if (changed.length === 0) {
    throw new Error(
      `${transition}: generation ${generation} of ${projection} is not ${from.join('/')}`,
    );
  }
  if (to === 'retired') await markRetired(tx, schema);
}

/** A generation that no process has used for so long belongs to a release that runs nowhere. */
export const ABANDONED_AFTER = '10 minutes';

/** Whether some process writes it. */
export async function isHeld(
  database: Queryable,
  { projection, generation }: Generation,
): Promise<boolean> {
  const [row] = await database.query(sql`
    select from engine.leases
    where projection = ${projection}
      and generation = ${generation}
      and expires_at > clock_timestamp()`);
  return row !== undefined;
}

/**
 * Records that this process reads these generations, and that it runs these versions, whose replays
 * it would carry out: so no other release drops any of them.
 */
export async function markUsed(
  database: Queryable,
  generations: readonly Generation[],
  projections: readonly Projection[],
): Promise<void> {
  const used: Columns<Generation> = {
    projection: ['text', ({ projection }) => projection],
    generation: ['integer', ({ generation }) => generation],
  };
  const own: Columns<Projection> = {
    projection: ['text', ({ name }) => name],
    version: ['integer', ({ version }) => version],
  };
  await database.query(sql`
    update engine.generations g
    set used_at = now()
    where exists (
      select
      from ${rowsAs('used', used, generations)}
      where g.projection = used.projection
        and g.generation = used.generation
    )
    or exists (
      select
      from ${rowsAs('own', own, projections)}
      where g.projection = own.projection
        and g.version = own.version
        and g.status in ('building', 'shadow')
    )`);
}

/** Whether a statement named a schema, table, column or function that does not exist (any more). */
export function isMissingTable(error: unknown): boolean {
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  return ['3F000', '42P01', '42703', '42883'].includes(code);
}
