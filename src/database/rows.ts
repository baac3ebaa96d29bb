import { sql, Sql, type Table } from './sql.ts';

type Values = {
  readonly text: string;
  readonly uuid: string;
  readonly integer: number;
  readonly bigint: bigint | number;
  readonly boolean: boolean;
  /** A time as text is one that PostgreSQL reads: RFC 3339, `infinity`. */
  readonly timestamptz: Date | string;
  readonly json: object;
};

/** The type of a column, and its value in a row. */
type Column<Row> = {
  readonly [Type in keyof Values]: readonly [Type, (row: Row) => Values[Type] | null | undefined];
}[keyof Values];

/** Columns by their names. */
export type Columns<Row> = Readonly<Record<string, Column<Row>>>;

/**
 * Rows as a table of that name in a statement: one array for each column, however many rows.
 *
 *     update batches b
 *     set revision = change.revision
 *     from ${rowsAs('change', { batch_id: ['text', (c) => c.batchId], … }, changes)}
 *     where b.batch_id = change.batch_id
 */
export function rowsAs<Row>(name: string, columns: Columns<Row>, rows: readonly Row[]): Sql {
  const arrays = Object.values(columns).map((column) => arrayOf(column, rows));
  const names = Object.keys(columns).join(', ');
  return sql`unnest(${sql.join(arrays)}) as ${sql.raw(`${name} (${names})`)}`;
}

/** Inserts a row of a table for each of the rows; `on conflict` and `returning` may follow. */
export function insertRows<Row>(table: Table, columns: Columns<Row>, rows: readonly Row[]): Sql {
  const names = sql.raw(Object.keys(columns).join(', '));
  return sql`
    insert into ${table} (${names})
    select *
    from ${rowsAs('inserted', columns, rows)}`;
}

/** JSON escapes this character, so none is in its text. */
const SEPARATOR = '\u001E';

/**
 * An array as PostgreSQL reads it fastest. An array of JSON would be escaped, at twice its size;
 * what needs no quotes is joined here, as the driver looks for quotes in each element.
 */
function arrayOf<Row>(column: Column<Row>, rows: readonly Row[]): Sql {
  switch (column[0]) {
    case 'text': {
      const [, valueOf] = column;
      return sql`${rows.map((row) => valueOf(row))}::text[]`;
    }
    case 'json': {
      const [, valueOf] = column;
      const texts = rows.map((row) => jsonText(valueOf(row)));
      return sql`string_to_array(${texts.join(SEPARATOR)}, E'\\x1e', '')::json[]`;
    }
    case 'timestamptz': {
      const [, valueOf] = column;
      return array(column[0], rows, (row) => timeText(valueOf(row)));
    }
    case 'uuid':
    case 'integer':
    case 'bigint':
    case 'boolean': {
      const [, valueOf] = column;
      return array(column[0], rows, (row) => valueOf(row));
    }
  }
}

function array<Row>(
  type: keyof Values,
  rows: readonly Row[],
  valueOf: (row: Row) => string | number | bigint | boolean | null | undefined,
): Sql {
  const elements = rows.map((row) => String(valueOf(row) ?? 'null'));
  return new Sql(['', `::${type}[]`], [`{${elements.join(',')}}`]);
}

function jsonText(value: object | null | undefined): string {
  return value === null || value === undefined ? '' : JSON.stringify(value);
}

function timeText(value: Date | string | null | undefined): string | undefined {
  if (value instanceof Date) return value.toISOString();
  return value === null || value === undefined ? undefined : `"${value}"`;
}
