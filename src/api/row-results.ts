import { z } from 'zod';
import type { ShownKey } from '../commands/requests.ts';
import type { Position } from '../projections/engine/read-model.ts';
import { LedgerError } from '../shared/errors.ts';
import type { Json } from '../shared/json.ts';
import { refuseUnkeepable } from './body.ts';
import type { TableColumns } from './csv.ts';
import { answerEach, MAX_ITEMS, refusalOf, type ItemOutcome } from './item-results.ts';
import type { Answer } from './route.ts';

interface RowsHandling<Body> {
  readonly schema: z.ZodType<Body>;
  /** The column that says what the row is about; it is given back. */
  readonly idName: string;
  /** `index` from 0. What it starts, it must start before it waits: the order of the rows counts. */
  readonly handle: (body: Body, index: number) => Promise<HandledRow>;
}

interface HandledRow {
  readonly status: number;
  readonly position: Position;
  readonly shownKey?: Omit<ShownKey, 'path'>;
}

/** Handles the rows of a table, or the items of an array in its place; each is checked on its own. */
export function answerRows<Body>(
  rows: readonly unknown[],
  { schema, idName, handle }: RowsHandling<Body>,
): Promise<Answer> {
  return answerEach(rows, async (row, index): Promise<ItemOutcome> => {
    const named = { row: index + 1, [idName]: textIn(row, idName) };
    try {
      const { status, ...outcome } = await handle(checked(schema, row), index);
      return { result: { ...named, status }, ...outcome };
    } catch (error) {
      return { result: { ...named, ...refusalOf(error) } };
    }
  });
}

/** What is answered. `more`: what a result may hold besides. */
export function rowResults(idName: string, more: z.ZodRawShape = {}): z.ZodObject {
  return z.object({
    results: z.array(
      z.object({
        row: z.int().meta({ description: 'From 1, the header not counted' }),
        [idName]: z.string().nullable(),
        status: z.int().meta({ description: 'As if it had been sent alone' }),
        code: z.string().optional(),
        ...more,
      }),
    ),
  });
}

/** The array that may be sent in place of a table with these columns. */
export function rowsBody({ needed, optional }: TableColumns): z.ZodType<unknown[]> {
  const names = [...needed, ...optional.map((name) => `${name}?`)];
  return z
    .array(z.unknown())
    .max(MAX_ITEMS)
    .meta({
      override: { items: { type: 'object', required: [...needed] } },
      description: `Each: ${names.join(', ')}`,
    });
}

function checked<Body>(schema: z.ZodType<Body>, row: unknown): Body {
  const parsed = schema.safeParse(row);
  if (!parsed.success) throw new LedgerError('validation-failed', 'The row breaks a rule.');
  refuseUnkeepable(row as Json);
  return parsed.data;
}

function textIn(row: unknown, name: string): string | null {
  if (typeof row !== 'object' || row === null || !Object.hasOwn(row, name)) return null;
  const value = (row as Record<string, unknown>)[name];
  return typeof value === 'string' ? value : null;
}
