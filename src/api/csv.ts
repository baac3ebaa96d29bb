import { isUtf8 } from 'node:buffer';
import { parse } from 'csv-parse/sync';
import { stringify } from 'csv-stringify/sync';
import { LedgerError } from '../shared/errors.ts';
import type { Json, JsonObject } from '../shared/json.ts';

export const CSV = 'text/csv';

/** What the columns of a table may be called; others are passed over. */
export interface TableColumns {
  readonly needed: readonly string[];
  readonly optional: readonly string[];
}

/**
 * The rows of a table as the same would be sent in JSON: objects by the names of the header row, without
 * what is empty. A row with another number of cells than the header has stays a list of its cells, which
 * no schema takes: it is refused alone, like any other bad row.
 * @throws LedgerError `malformed-csv`; `validation-failed` for what its header lacks, or too many rows
 */
export function parseTable(body: Buffer, columns: TableColumns, maxRows: number): Json[] {
  const [header = [], ...rows] = parseCells(body, maxRows + 2);
  const names = header.map((name) => name.trim());
  refuseHeader(names, columns);
  if (rows.length > maxRows) throw invalid('body', `must not have more than ${maxRows} rows`);
  const known = [...columns.needed, ...columns.optional].flatMap((name) => {
    const index = names.indexOf(name);
    return index === -1 ? [] : [{ name, index }];
  });
  return rows.map((cells) => {
    if (cells.length !== names.length) return cells;
    const filled = known.filter(({ index }) => cells[index] !== '');
    return Object.fromEntries(filled.map(({ name, index }) => [name, cells[index] ?? '']));
  });
}

/**
 * Items as a table, with a header row; null is an empty cell. A cell that a spreadsheet would run as a formula gets an
 * apostrophe before it. Every cell with a line break is quoted: a lone LF or CR ends a row for most readers, too.
 */
export function tableOf(items: readonly JsonObject[], columns: readonly string[]): string {
  return stringify([...items], {
    header: true,
    columns: [...columns],
    record_delimiter: 'windows',
    escape_formulas: true,
    quoted_match: /[\r\n]/,
  });
}

/** As RFC 4180 has it; lines may end in any way, and blank ones are none. */
function parseCells(body: Buffer, maxLines: number): string[][] {
  if (!isUtf8(body)) throw new LedgerError('malformed-csv', 'The body is not valid UTF-8.');
  try {
    return parse(body, {
      bom: true,
      record_delimiter: ['\r\n', '\n', '\r'],
      relax_column_count: true,
      skip_empty_lines: true,
      to: maxLines,
    });
  } catch (error) {
    const reason = error instanceof Error ? error.message : 'it cannot be parsed';
    throw new LedgerError('malformed-csv', `The body is not valid CSV: ${reason}.`);
  }
}

function refuseHeader(names: readonly string[], { needed, optional }: TableColumns): void {
  const missing = needed.find((name) => !names.includes(name));
  if (missing !== undefined) {
    throw invalid(`body.${missing}`, 'must be a column: the first row names the columns');
  }
  const twice = [...needed, ...optional].find(
    (name) => names.indexOf(name) !== names.lastIndexOf(name),
  );
  if (twice !== undefined) throw invalid(`body.${twice}`, 'must be one column');
}

function invalid(path: string, message: string): LedgerError {
  return new LedgerError('validation-failed', `Mend ${path}: it ${message}.`, {
    fields: [{ path, message }],
  });
}
