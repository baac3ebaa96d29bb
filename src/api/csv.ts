import { isUtf8 } from 'node:buffer';
import { Readable } from 'node:stream';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { parse } from 'csv-parse';
import { stringify } from 'csv-stringify/sync';
import { z } from 'zod';
import { LedgerError, type FieldError } from '../shared/errors.ts';
import type { Json, JsonObject } from '../shared/json.ts';
import { isScientific, SCIENTIFIC_RULE } from '../shared/scientific-notation.ts';
import { STRUCTURE_LIMITS } from './admission/limits.ts';
import { refuseCostlyCsv } from './admission/structure.ts';
import { unknownName } from './validation.ts';

export const CSV = 'text/csv';
/** What a table may be sent as; browsers and spreadsheets use all of these. */
export const CSV_TYPES: readonly string[] = [CSV, 'application/csv', 'application/vnd.ms-excel'];

/** What the columns of a table may be called, without regard to case, `_`, `-` and blanks. */
export interface TableColumns {
  readonly needed: readonly string[];
  readonly optional: readonly string[];
}

/** Other names that columns have elsewhere. */
const ALIASES: Readonly<Record<string, string>> = { iccid: 'sim_card_id' };

/**
 * The rows of a table as they would be sent in JSON: objects by the names of the header row,
 * without what is empty. Blank rows are skipped. A row with a cell beyond the named columns stays a
 * list of its cells, which `rowSchema` refuses, so that it is refused alone.
 * @throws LedgerError `malformed-csv`; `validation-failed` for columns that are missing, unknown or
 * there twice, or
 *   too many rows
 */
export async function parseTable(
  body: Buffer,
  columns: TableColumns,
  maxRows: number,
): Promise<Json[]> {
  const [header = [], ...rows] = await parseCells(body, maxRows + 2);
  const names = columnNames(header, columns);
  if (rows.length > maxRows) {
    refuse([{ path: 'body', message: `must not have more than ${maxRows} rows` }]);
  }
  return rows.map((row) => {
    const cells = row.map((cell) => cell.trim());
    if (cells.some((cell, index) => cell !== '' && names[index] === undefined)) return cells;
    const filled = cells.flatMap((cell, index) => (cell === '' ? [] : [[names[index], cell]]));
    return Object.fromEntries(filled) as JsonObject;
  });
}

/** What `schema` makes of a row, if no cell of it has lost its digits. */
export function rowSchema<Body>(schema: z.ZodType<Body>): z.ZodType<Body> {
  const cell = z.string().refine((text) => !isScientific(text), SCIENTIFIC_RULE);
  const row: z.ZodType = z.record(z.string(), cell, 'has more cells than there are columns');
  return row.pipe(schema);
}

/**
 * Items as a table, with a header row; null is an empty cell. A cell that a spreadsheet would run
 * as a formula gets an apostrophe before it. Every cell with a line break is quoted: a lone LF or
 * CR ends a row for most readers, too.
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

/** As RFC 4180 has it, but lines may end in any way, and cells may be separated by semicolons. */
async function parseCells(body: Buffer, maxLines: number): Promise<string[][]> {
  if (!isUtf8(body)) throw new LedgerError('malformed-csv', 'The body is not valid UTF-8.');
  await refuseCostlyCsv(body);
  const rows: string[][] = [];
  try {
    const parser = parse({
      bom: true,
      delimiter: delimiterOf(body),
      record_delimiter: ['\r\n', '\n', '\r'],
      relax_column_count: true,
      skip_empty_lines: true,
      skip_records_with_empty_values: true,
      trim: true,
      to: maxLines,
      max_record_size: STRUCTURE_LIMITS.recordBytes,
    });
    const records: AsyncIterable<string[]> = Readable.from(slicesOf(body)).pipe(parser);
    for await (const row of records) rows.push(row);
    return rows;
  } catch (error) {
    const reason = error instanceof Error ? error.message : 'it cannot be parsed';
    throw new LedgerError('malformed-csv', `The body is not valid CSV: ${reason}.`);
  }
}

const SLICE_BYTES = 64 * 1024;

/** Other requests have their turn between the slices: a table of 16 MiB takes a second to parse. */
async function* slicesOf(body: Buffer): AsyncIterable<Buffer> {
  for (let start = 0; start < body.length; start += SLICE_BYTES) {
    if (start > 0) await nextTurn();
    yield body.subarray(start, start + SLICE_BYTES);
  }
}

const MAX_HEADER_BYTES = 64 * 1024;

/**
 * Spreadsheets separate cells by semicolons where a comma is in numbers. No name of a column has
 * either.
 */
function delimiterOf(body: Buffer): string {
  const beginning = body.subarray(0, MAX_HEADER_BYTES).toString('utf8');
  const [header = ''] = /^.*\p{L}.*$/mu.exec(beginning) ?? [];
  return header.split(';').length > header.split(',').length ? ';' : ',';
}

/** The names of the columns in the order of the header; undefined for one without a name. */
function columnNames(
  header: readonly string[],
  { needed, optional }: TableColumns,
): (string | undefined)[] {
  const known = [...needed, ...optional];
  const byPlainName = new Map(known.map((name) => [plainName(name), name]));
  const names = header.map((cell) => {
    const plain = plainName(cell);
    return byPlainName.get(plain) ?? ALIASES[plain];
  });
  const unknown = header.filter((cell, index) => {
    const name = names[index];
    return plainName(cell) !== '' && (name === undefined || !known.includes(name));
  });
  const missing = needed.filter((name) => !names.includes(name));
  const twice = names.filter((name, index) => name && names.indexOf(name) !== index);
  refuse([
    ...unknown.map((cell) => unknownName('body', [cell.trim()], known)),
    ...missing.map((name) => field(name, 'is missing: the first row names the columns')),
    ...twice.map((name) => field(name ?? '', 'is there twice')),
  ]);
  return names;
}

function field(name: string, message: string): FieldError {
  return { path: `body.${name}`, message };
}

function plainName(cell: string): string {
  return cell.toLowerCase().replaceAll(/[\s_-]/g, '');
}

/** @throws LedgerError `validation-failed` if there are any */
function refuse(fields: readonly FieldError[]): void {
  const [first] = fields;
  if (first === undefined) return;
  const [, name = ''] = /^body\.(.*)$/.exec(first.path) ?? [];
  const subject = name === '' ? 'The table' : `Column '${name}'`;
  throw new LedgerError('validation-failed', `${subject} ${first.message}.`, { fields });
}
