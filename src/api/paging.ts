import { z } from 'zod';
import type { Fresh, Position } from '../projections/engine/read-model.ts';
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

/** A list that clients walk through page by page. */
interface Walk<Row, At extends Place> {
  /** Keeps a cursor from being used in another list. */
  readonly name: string;
  readonly place: z.ZodType<At>;
  /** So many of the rows after a place; from the beginning without one. */
  readonly rows: (limit: number, place: At | undefined) => Promise<Fresh<readonly Row[]>>;
  readonly item: (row: Row) => JsonObject;
  /** Where the walk goes on after a row. `asOf`: the position of the walk's first page. */
  readonly placeOf: (last: Row, asOf: Position) => At;
}

/** Where a walk goes on; `asOf` keeps it at the position of its first page. */
interface Place {
  readonly after?: string | Position;
  readonly before?: Position;
  readonly reportedAt?: Date;
  readonly asOf?: Position;
}

export const positionText = z
  .string()
  .regex(/^\d{1,18}$/)
  .transform((text) => BigInt(text) as Position);

export const placeAfterId = z.object({ after: z.string() });
export const placeAfterIdAsOf = placeAfterId.extend({ asOf: positionText.exactOptional() });
export const placeAfterPosition = z.object({ after: positionText });
export const placeAfterPositionAsOf = placeAfterPosition.extend({
  asOf: positionText.exactOptional(),
});
export const placeBeforePosition = z.object({ before: positionText });

/**
 * One page of a walk, and where it goes on.
 * @throws LedgerError `validation-failed` when the cursor is not one of this walk.
 */
export async function walkPage<Row, At extends Place>(
  { query, path }: { readonly query: z.infer<typeof cursorQuery>; readonly path: string },
  { name, place: placeSchema, rows, item, placeOf }: Walk<Row, At>,
): Promise<Answer> {
  const place =
    query.cursor === undefined ? undefined : decodeCursor(name, query.cursor, placeSchema);
  // One row more than asked for tells whether there is a next page.
  const { value, position } = await rows(query.limit + 1, place);
  const items = withinSize(value.slice(0, query.limit).map(item));
  const last = value.length > items.length ? value[items.length - 1] : undefined;
  const next =
    last === undefined ? undefined : encodeCursor(name, placeOf(last, place?.asOf ?? position));
  return {
    status: 200,
    body: { items, next: next ?? null },
    headers: nextLink(path, next),
    position,
  };
}

/** Opaque to clients. */
function encodeCursor(walk: string, place: Place): string {
  const text = JSON.stringify({ walk, ...place }, (_key, value: unknown) =>
    typeof value === 'bigint' ? value.toString() : value,
  );
  return Buffer.from(text).toString('base64url');
}

function decodeCursor<At>(walk: string, cursor: string, place: z.ZodType<At>): At {
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

/** What the items of one page may take, in bytes of JSON: the state of one sensor may be large. */
const MAX_PAGE_BYTES = 4 * 1024 * 1024;

/** As many of the items as one page may take, and one at least. */
function withinSize(items: JsonObject[]): JsonObject[] {
  let sizeBytes = 0;
  const end = items.findIndex((item, index) => {
    sizeBytes += Buffer.byteLength(JSON.stringify(item));
    return index > 0 && sizeBytes > MAX_PAGE_BYTES;
  });
  return end === -1 ? items : items.slice(0, end);
}

/** `Link: <…>; rel="next"` (RFC 8288): this request's own address with the cursor of the next page. */
function nextLink(path: string, next: string | undefined): Record<string, string> {
  if (next === undefined) return {};
  const url = new URL(path, 'http://localhost');
  url.searchParams.set('cursor', next);
  return { Link: `<${url.pathname}${url.search}>; rel="next"` };
}
