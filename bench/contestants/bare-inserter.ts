import pg from 'pg';
import { openDatabase } from '../../src/database/database.ts';
import { migrate } from '../../src/database/migrations.ts';
import { newEventId } from '../../src/shared/ids.ts';
import { createLogger } from '../../src/shared/logger.ts';
import { APPEND_STREAMS, type AppendLoad } from './append-load.ts';
import { BENCH_PROJECT, sensorEvent, sensorId } from './sensor-event.ts';

/** Two ways to write a multi-row insert; which of them is faster depends on the machine. */
export type InsertForm = 'values' | 'unnest';

export interface BareInserter {
  /** Rows per second. */
  run(durationMs: number): Promise<number>;
  close(): Promise<void>;
}

/** The values of a row in the order of `COLUMNS`, without its position. */
export type RowOf = (index: number) => readonly string[];

/** Those of the load that is appended. */
export function sensorRows({ eventsPerAppend }: Pick<AppendLoad, 'eventsPerAppend'>): RowOf {
  return (index) => {
    const append = Math.floor(index / eventsPerAppend);
    const stream = append % APPEND_STREAMS;
    const event = sensorEvent(stream, index);
    const revision =
      Math.floor(append / APPEND_STREAMS) * eventsPerAppend + (index % eventsPerAppend);
    return [
      `sensor-${BENCH_PROJECT}.${sensorId(stream)}`,
      String(revision),
      newEventId(),
      event.type,
      JSON.stringify(event.data),
      JSON.stringify(event.metadata),
      event.data.receivedAt,
    ];
  };
}

const COLUMNS = 'position, stream, revision, event_id, type, data, metadata, recorded_at';
const TYPES = ['bigint', 'text', 'bigint', 'uuid', 'text', 'json', 'json', 'timestamptz'];
const SEPARATOR = '\u001e';

/**
 * The limit: the rows that we store, inserted by statements of a fixed number of rows, prepared, on
 * one connection, each durable before the next. No revisions are checked and nobody is told. The
 * table is made like the log's, with all its indexes and constraints.
 *
 * Only the statements are timed: the rows are made between them, as if by somebody else.
 */
export async function openBareInserter(
  url: string,
  form: InsertForm,
  rowsPerStatement: number,
  rowOf: RowOf,
): Promise<BareInserter> {
  const logger = createLogger('warn');
  const database = openDatabase({ url, logger });
  await migrate(database, logger);
  await database.query({ text: 'create table bare_events (like ledger.events including all)' });
  await database.close();
  const client = new pg.Client(url);
  await client.connect();
  let inserted = 0;

  function nextRow(): string[] {
    const row = rowOf(inserted);
    inserted += 1;
    return [String(inserted), ...row];
  }

  return {
    async run(durationMs) {
      let elapsedMs = 0;
      let rows = 0;
      while (elapsedMs < durationMs) {
        const statement = insertStatement(
          form,
          Array.from({ length: rowsPerStatement }, () => nextRow()),
        );
        const startedAtMs = performance.now();
        await client.query(statement);
        elapsedMs += performance.now() - startedAtMs;
        rows += rowsPerStatement;
      }
      return (rows * 1_000) / elapsedMs;
    },
    close: () => client.end(),
  };
}

function insertStatement(form: InsertForm, rows: readonly string[][]): pg.QueryConfig {
  if (form === 'values') {
    const tuples = rows.map(
      (row, index) =>
        `(${row.map((_, column) => `$${index * row.length + column + 1}`).join(', ')})`,
    );
    return {
      name: 'bare-insert-values',
      text: `insert into bare_events (${COLUMNS}) values ${tuples.join(', ')}`,
      values: rows.flat(),
    };
  }
  // Joined texts, as our own append has them: cheaper on both sides than quoting an array of texts.
  const isJoined = (type: string): boolean => type === 'text' || type === 'json';
  const parameters = TYPES.map((type, column) =>
    isJoined(type)
      ? `string_to_array($${column + 1}, E'\\x1e')${type === 'text' ? '' : `::${type}[]`}`
      : `$${column + 1}::${type}[]`,
  );
  return {
    name: 'bare-insert-unnest',
    text: `insert into bare_events (${COLUMNS}) select * from unnest(${parameters.join(', ')})`,
    values: TYPES.map((type, column) => {
      const values = rows.map((row) => row[column] ?? '');
      return isJoined(type) ? values.join(SEPARATOR) : `{${values.join(',')}}`;
    }),
  };
}
