import { z } from 'zod';
import type { Position } from '../projections/engine/read-model.ts';
import { LedgerError } from '../shared/errors.ts';
import type { JsonObject } from '../shared/json.ts';
import { parseJsonText } from './body.ts';
import type { Answer } from './route.ts';

/** The query of endpoints that are paged by cursor. */
export const cursorQuery = z.object({
  limit: z.coerce
    .number({ error: 'must be a whole number from 1 to 500' })
    .int('must be a whole number from 1 to 500')
    .min(1, 'must be a whole number from 1 to 500')
    .max(500, 'must be a whole number from 1 to 500')
    .default(50)
    .meta({ description: 'How many items to give', example: 50 }),
  cursor: z
    .string()
    .optional()
    .meta({ description: 'Where to go on: `next` of the page before, unchanged' }),
});

export function cursorPage<Item extends z.ZodType>(
  item: Item,
): z.ZodObject<{ items: z.ZodArray<Item>; next: z.ZodNullable<z.ZodString> }> {
  return z.object({ items: z.array(item), next: z.string().nullable() });
}

const positionText = z.string().regex(/^\d{1,18}$/);

/** Places of walks by id and by position; `asOf` keeps a walk at the position of its first page. */
export const placeAfterId = z.object({ after: z.string(), asOf: positionText.optional() });
export const placeAfterPosition = z.object({ after: positionText, asOf: positionText.optional() });

/** Where a walk goes on. Opaque to clients: `walk` keeps a cursor from being used in another. */
export function encodeCursor(walk: string, place: JsonObject): string {
  return Buffer.from(JSON.stringify({ walk, ...place })).toString('base64url');
}

/** @throws LedgerError `validation-failed` */
export function decodeCursor<Place>(
  walk: string,
  cursor: string | undefined,
  place: z.ZodType<Place>,
): Place | undefined {
  if (cursor === undefined) return undefined;
  try {
    const decoded = parseJsonText(Buffer.from(cursor, 'base64url').toString('utf8'));
    z.object({ walk: z.literal(walk) }).parse(decoded);
    return place.parse(decoded);
  } catch {
    throw new LedgerError(
      'validation-failed',
      'Send the cursor as the page before gave it in next.',
      {
        fields: [{ path: 'query.cursor', message: 'is not a cursor of this list' }],
      },
    );
  }
}

/** A page of one more row than asked for tells whether there is a next one. */
export function splitPage<Row>(
  rows: readonly Row[],
  limit: number,
): { page: readonly Row[]; last: Row | undefined } {
  const page = rows.slice(0, limit);
  return { page, last: rows.length > limit ? page.at(-1) : undefined };
}

/** What the items of one page may take, in bytes of JSON: the state of one sensor may be large. */
const MAX_PAGE_BYTES = 4 * 1024 * 1024;

/** Like `splitPage`, of items that may be large: the page ends early, but holds one at least. */
export function splitLargePage<Row>(
  rows: readonly Row[],
  limit: number,
  itemOf: (row: Row) => JsonObject,
): { items: JsonObject[]; last: Row | undefined } {
  const items: JsonObject[] = [];
  let sizeBytes = 0;
  for (const row of rows.slice(0, limit)) {
    const item = itemOf(row);
    sizeBytes += Buffer.byteLength(JSON.stringify(item));
    if (items.length > 0 && sizeBytes > MAX_PAGE_BYTES) break;
    items.push(item);
  }
  return { items, last: splitPage(rows, items.length).last };
}

export function pageAnswer(
  items: JsonObject[],
  next: string | undefined,
  path: string,
  position: Position,
): Answer {
  return {
    status: 200,
    body: { items, next: next ?? null },
    headers: nextLink(path, next),
    position,
  };
}

/** `Link: <…>; rel="next"` (RFC 8288): this request's own address with the cursor of the next page. */
function nextLink(path: string, next: string | undefined): Record<string, string> {
  if (next === undefined) return {};
  const url = new URL(path, 'http://localhost');
  url.searchParams.set('cursor', next);
  return { Link: `<${url.pathname}${url.search}>; rel="next"` };
}
