import type { z } from 'zod';
import type { Versioned } from '../../projections/engine/reading/read-models.ts';
import type { Counted, PageOf } from '../../projections/usage/queries.ts';
import { LedgerError } from '../../shared/errors.ts';
import type { JsonObject } from '../../shared/json.ts';
import { tableOf } from '../csv.ts';
import { answerPage, DEFAULT_SIZE, FIRST_PAGE, pageQuery } from '../page-paging.ts';
import type { Answer } from '../route.ts';

/** Both have no default here: a table (CSV) is whole unless a page of it is asked for. */
export const tablePageQuery = pageQuery.extend({
  page: pageQuery.shape.page
    .unwrap()
    .optional()
    .meta({ description: 'The number of the page, from 1 (default: 1)' }),
  size: pageQuery.shape.size
    .unwrap()
    .optional()
    .meta({ description: 'Items per page (default: 50; CSV has all)' }),
});

interface TableAnswer<Row> {
  readonly columns: readonly string[];
  readonly item: (row: Row) => JsonObject;
  readonly rows: (page: PageOf) => Promise<Versioned<Counted<Row>>>;
}

/** What a table may have, as it is made in memory. */
const MAX_TABLE_ROWS = 100_000;

/** A page of rows, as JSON or as a table. */
export async function answerTable<Row>(
  query: z.infer<typeof tablePageQuery>,
  isCsv: boolean,
  { columns, item, rows }: TableAnswer<Row>,
): Promise<Answer> {
  const isWhole = isCsv && query.page === undefined && query.size === undefined;
  const { page = FIRST_PAGE, size = DEFAULT_SIZE } = query;
  const found = await rows(
    isWhole ? { limit: MAX_TABLE_ROWS, offset: 0 } : { limit: size, offset: (page - 1) * size },
  );
  const headers = { Vary: 'Accept' };
  if (!isCsv) return { ...answerPage({ page, size }, found, item), headers };
  if (isWhole && found.value.total > MAX_TABLE_ROWS) throw tooManyRows(found.value.total);
  const csv = tableOf(found.value.items.map(item), columns);
  return { status: 200, csv, headers, position: found.position };
}

function tooManyRows(rows: number): LedgerError {
  return new LedgerError(
    'validation-failed',
    `The table would have ${rows} rows, more than ${MAX_TABLE_ROWS}: ask for pages of it.`,
  );
}
