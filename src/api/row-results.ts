import { z } from 'zod';
import type { ShownItemKey } from '../commands/core/stored-results.ts';
import type { Position } from '../event-store/port.ts';
import type { Json, JsonObject } from '../shared/json.ts';
import { refuseUnkeepable } from './body.ts';
import type { TableColumns } from './csv.ts';
import { answerEach, itemRefusal, MAX_ITEMS, shownId } from './item-results.ts';
import type { Answer, ApiRequest } from './route.ts';
import { validated } from './validation.ts';

interface RowsHandling<Body> {
  readonly schema: z.ZodType<Body>;
  /** The column that says what the row is about; it is given back. */
  readonly idName: string;
  /**
   * `index` from 0. What it starts, it must start before it waits: the order of the rows counts.
   */
  readonly handle: (body: Body, index: number) => Promise<HandledRow>;
}

interface HandledRow {
  readonly status: number;
  readonly position: Position;
  readonly shownKey?: ShownItemKey;
  /** What else its result says. */
  readonly more?: JsonObject;
}

/**
 * Handles the rows of a table, or the items of an array in its place; each is checked on its own.
 */
export function answerRows<Body>(
  request: ApiRequest<unknown, unknown, readonly unknown[]>,
  { schema, idName, handle }: RowsHandling<Body>,
): Promise<Answer> {
  return answerEach(request, request.body, {
    named: (row, index) => ({ row: index + 1, [idName]: textIn(row, idName) }),
    async handle(row, index) {
      refuseUnkeepable(row as Json);
      const { status, more, ...handled } = await handle(validated(schema, row, 'body'), index);
      return { ...handled, result: { ...more, status } };
    },
  });
}

/** What is answered. `more`: what a result may hold besides. */
export function rowResults(idName: string, more: z.ZodRawShape = {}): z.ZodObject {
  return z.object({
    results: z.array(
      z.object({
        row: z
          .int()
          .meta({ description: 'The number of the row, from 1; the header does not count' }),
        [idName]: z.string().nullable(),
        status: z
          .int()
          .meta({ description: 'The status that the item would have had in a request of its own' }),
        ...itemRefusal,
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
      description: `The columns of each row: ${names.join(', ')}`,
    });
}

function textIn(row: unknown, name: string): string | null {
  if (typeof row !== 'object' || row === null || !Object.hasOwn(row, name)) return null;
  return shownId((row as Record<string, unknown>)[name]);
}
