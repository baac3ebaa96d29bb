import type { Database, Queryable } from '../../../database/database.ts';
import { sql, type Sql } from '../../../database/sql.ts';
import type { Position } from '../../../event-store/port.ts';
import { lockCheckpoint, readCheckpoint } from '../generations/checkpoint.ts';
import type { Generation } from '../generations/generations.ts';
import { setForSession, setForTransaction } from '../session-settings.ts';
import type { DifferingRow } from './replays.ts';
import { withinLimit } from '../running/time-limit.ts';

export interface Comparison {
  readonly position: Position;
  /** How many rows the live generation has. */
  readonly rowCount: bigint;
  readonly differingCount: bigint;
  /** The first that differ, table by table, in the order of their keys. */
  readonly differing: readonly DifferingRow[];
}

const MAX_DIFFERING = 500;
/** The largest row that is shown, in characters of its text; a larger one is only named. */
const MAX_ROW_SIZE = 16 * 1024;
const LOCK_TIMEOUT_MS = 2_000;
/** Comparing a year's history takes long. */
const COMPARISON_TIMEOUT_MS = 3_600_000;

/**
 * Compares the rows of two generations as of one position. The live checkpoint is locked while
 * `catchUp` brings the shadow there and a snapshot is taken of both; the live one then moves again
 * while the snapshot is compared.
 * @throws TooSlowError
 */
export async function compareGenerations(
  database: Database,
  live: Generation,
  shadow: Generation,
  catchUp: (until: Position) => Promise<void>,
): Promise<Comparison> {
  const connection = await database.connect();
  try {
    await setForSession(connection, {
      idle_in_transaction_session_timeout: COMPARISON_TIMEOUT_MS,
      statement_timeout: COMPARISON_TIMEOUT_MS,
    });
    await connection.query(sql`begin isolation level repeatable read read only`);
    const position = await database.transaction(async (holding) => {
      await setForTransaction(holding, { lock_timeout: LOCK_TIMEOUT_MS });
      const { position } = await lockCheckpoint(holding, live.schema);
      await catchUp(position);
      // The first statement takes the snapshot.
      await readCheckpoint(connection, live.schema);
      return position;
    });
    const found = await withinLimit(connection, COMPARISON_TIMEOUT_MS, (limited) =>
      compareTables(limited, live.schema, shadow.schema),
    );
    const result = { position, ...found };
    await connection.query(sql`commit`);
    return result;
  } finally {
    await connection.close().catch(() => undefined);
  }
}

async function compareTables(
  snapshot: Queryable,
  live: string,
  shadow: string,
): Promise<Omit<Comparison, 'position'>> {
  let rowCount = 0n;
  let differingCount = 0n;
  const differing: DifferingRow[] = [];
  for (const { table, key } of await tablesOf(snapshot, live)) {
    const [liveTable, shadowTable] = [sql.raw(`${live}.${table}`), sql.raw(`${shadow}.${table}`)];
    const [counted] = await snapshot.query<{ rows: bigint }>(sql`
      select count(*) as rows from ${liveTable}`);
    rowCount += counted?.rows ?? 0n;
    const columns = key.map((column) => sql.raw(`coalesce(l.${column}, r.${column})`));
    const keyOfRow = key.map((column, index) => sql`${column}::text, ${columns[index]}`);
    const isSameKey = key.map((column) => sql.raw(`l.${column} = r.${column}`));
    // As text: `json` has no equality, and what is kept must be the same to the letter.
    const rows = await snapshot.query<DifferingRow & { differing_count: bigint }>(sql`
      select
        json_build_object(${sql.join(keyOfRow)}) as key,
        ${shown(sql.raw('l'))} as live,
        ${shown(sql.raw('r'))} as replayed,
        count(*) over () as differing_count
      from ${liveTable} l
      full join ${shadowTable} r on ${sql.join(isSameKey, ' and ')}
      where l::text is distinct from r::text
      order by ${sql.join(columns)}
      -- One row at least, for the count.
      limit ${Math.max(1, MAX_DIFFERING - differing.length)}`);
    differingCount += rows[0]?.differing_count ?? 0n;
    for (const { key: keyOfRow, live: liveRow, replayed } of rows) {
      if (differing.length === MAX_DIFFERING) break;
      differing.push({ table, key: keyOfRow, live: liveRow, replayed });
    }
  }
  return { rowCount, differingCount, differing };
}

function shown(row: Sql): Sql {
  return sql`
    case
      when length(${row}::text) > ${MAX_ROW_SIZE}
        then json_build_object('omitted', length(${row}::text) || ' characters')
      when ${row}::text is not null then to_json(${row})
    end`;
}

interface KeyedTable {
  readonly table: string;
  /** The columns of its primary key. */
  readonly key: readonly string[];
}

async function tablesOf(database: Queryable, schema: string): Promise<KeyedTable[]> {
  const rows = await database.query<{ table: string; key: string[] | null }>(sql`
    select
      c.relname::text as table,
      array_agg(a.attname::text order by array_position(i.indkey::smallint[], a.attnum))
        filter (where a.attname is not null) as key
    from pg_class c
    left join pg_index i on i.indrelid = c.oid and i.indisprimary
    -- The columns of the key, without those that the index only includes.
    left join pg_attribute a
      on a.attrelid = c.oid
      and a.attnum = any((i.indkey::smallint[])[0:i.indnkeyatts - 1])
    where c.relnamespace = ${schema}::regnamespace
      and c.relkind = 'r'
      and c.relname <> 'checkpoint'
    group by c.relname
    order by c.relname`);
  return rows.map(({ table, key }) => {
    // Rows that cannot be compared must not count as equal.
    if (key === null) throw new Error(`the table '${table}' has no primary key`);
    return { table, key };
  });
}
