import type { Queryable } from '../../database/database.ts';
import { sql } from '../../database/sql.ts';
import type { ReadStreamOptions, RecordedEvent } from '../port.ts';
import type { StreamName } from '../stream-name.ts';
import { RECORDED_COLUMNS, recordedEvent, type RecordedRow } from './recorded-row.ts';

const PAGE = 500;
const FIRST_PAGE = 50;

/** Reads a stream page by page, so that its length never has to fit in memory. */
export async function* readStream(
  database: Queryable,
  stream: StreamName,
  { from, direction = 'forwards', limit = Number.POSITIVE_INFINITY }: ReadStreamOptions,
): AsyncIterable<RecordedEvent> {
  const forwards = direction === 'forwards';
  let next = from ?? (forwards ? 0n : undefined);
  let left = limit;
  let page = FIRST_PAGE;
  while (left > 0) {
    const size = Math.min(page, left);
    const rows = await database.query<RecordedRow>(sql`
      select ${RECORDED_COLUMNS}
      from ledger.events e
      where e.stream = ${stream}
        and e.revision ${forwards ? sql`>=` : sql`<=`} coalesce(${next}, 9223372036854775807)
      order by e.revision ${forwards ? sql`asc` : sql`desc`}
      limit ${size}`);
    for (const row of rows) yield recordedEvent(row);
    const last = rows.at(-1);
    if (last === undefined || rows.length < size) return;
    left -= rows.length;
    next = forwards ? last.revision + 1n : last.revision - 1n;
    page = PAGE;
  }
}
