import { z } from 'zod';
import type { Positions } from '../event-store/positions.ts';
import type { Position } from '../event-store/port.ts';
import type { Versioned } from '../projections/engine/reading/read-models.ts';
import { LedgerError } from '../shared/errors.ts';
import type { JsonObject } from '../shared/json.ts';
import { parseJsonText } from './body.ts';
import { wholeNumberText } from './fields.ts';
import type { Answer } from './route.ts';

/** The query of endpoints that are paged by cursor. */
export const cursorQuery = z.object({
  limit: wholeNumberText(1, 500).default(50).meta({ description: 'Items per page' }),
  cursor: z
    .string()
    .optional()
    .meta({
      description: 'The value of `next` in the page before, unchanged',
      override: { type: 'string', pattern: '^[A-Za-z0-9_-]+$' },
    }),
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
  /**
   * Whether the walk stays at the position of its first page, so that rows which are removed
   * meanwhile are still seen.
   */
  readonly isPinned?: boolean;
  /** At most `limit` rows after a place, or from the beginning, as of a position or now. */
  readonly rows: (
    limit: number,
    place: At | undefined,
    asOf: Position | undefined,
  ) => Promise<Versioned<readonly Row[]>>;
  readonly item: (row: Row) => JsonObject;
  /** The place of a row, where the walk resumes. */
  readonly placeOf: (last: Row) => At;
}

interface Place {
  readonly after?: string | Position;
  readonly before?: Position;
  readonly reportedAt?: Date;
}

export const positionText = z
  .string()
  .regex(/^\d{1,18}$/)
  .transform((text) => BigInt(text) as Position);

export const placeAfterId = z.object({ after: z.string() });
export const placeAfterPosition = z.object({ after: positionText });
export const placeBeforePosition = z.object({ before: positionText });
/** A cursor keeps the position that its walk is as of. */
const walkAsOf = z.object({ asOf: positionText.optional() });

/** What a walk needs of its request. */
interface WalkRequest {
  readonly query: z.infer<typeof cursorQuery>;
  readonly path: string;
  readonly asOf: Position | undefined;
  readonly positions: Pick<Positions, 'logId' | 'requireReached'>;
}

/**
 * One page of a walk, and where the next one resumes.
 * @throws LedgerError `validation-failed` when the cursor is not one of this walk in this log;
 *   `position-of-another-log` when it names a position beyond the end of the log
 */
export async function walkPage<Row, At extends Place>(
  { query, path, asOf: given, positions }: WalkRequest,
  { name, place: placeSchema, isPinned = false, rows, item, placeOf }: Walk<Row, At>,
): Promise<Answer> {
  const { place, asOf: kept } = await walkPlace({ query, positions }, name, placeSchema);
  // A time in the future is a later position at each request: the walk stays where it began.
  const asOf = kept ?? given;
  // One row more than asked for tells whether there is a next page.
  const { value, position } = await rows(query.limit + 1, place, asOf);
  const items = withinSize(value.slice(0, query.limit).map(item));
  const last = value.length > items.length ? value[items.length - 1] : undefined;
  const next = last && { ...placeOf(last), asOf: asOf ?? (isPinned ? position : undefined) };
  return pageAnswer({ path, positions }, name, { items, next, position: asOf ?? position });
}

/**
 * The place that a request's cursor names; undefined without one. @throws LedgerError as `walkPage`
 */
export async function placeInWalk<At extends Place>(
  request: Pick<WalkRequest, 'query' | 'positions'>,
  name: string,
  placeSchema: z.ZodType<At>,
): Promise<At | undefined> {
  return (await walkPlace(request, name, placeSchema)).place;
}

async function walkPlace<At extends Place>(
  { query, positions }: Pick<WalkRequest, 'query' | 'positions'>,
  name: string,
  placeSchema: z.ZodType<At>,
): Promise<{ readonly place?: At; readonly asOf?: Position | undefined }> {
  if (query.cursor === undefined) return {};
  const walk = { walk: name, log: positions.logId };
  const decoded = decodeCursor(walk, query.cursor, placeSchema);
  for (const value of [decoded.asOf, ...Object.values(decoded.place)]) {
    if (typeof value === 'bigint') await positions.requireReached(value as Position);
  }
  return decoded;
}

/** The page of a walk, and where the next one begins. */
export function pageAnswer(
  { path, positions }: Pick<WalkRequest, 'path' | 'positions'>,
  name: string,
  page: {
    readonly items: JsonObject[];
    readonly next: (Place & { readonly asOf?: Position | undefined }) | undefined;
    readonly position: Position;
  },
): Answer {
  const { items, position } = page;
  const walk = { walk: name, log: positions.logId };
  const next = page.next === undefined ? undefined : encodeCursor(walk, page.next);
  return {
    status: 200,
    body: { items, next: next ?? null },
    headers: nextLink(path, next),
    position,
  };
}

/** The list that a cursor belongs to, and the log whose positions it holds. */
interface CursorOf {
  readonly walk: string;
  readonly log: string;
}

/** Opaque to clients. */
function encodeCursor(of: CursorOf, place: Place): string {
  const text = JSON.stringify({ ...of, ...place }, (_key, value: unknown) =>
    typeof value === 'bigint' ? value.toString() : value,
  );
  return Buffer.from(text).toString('base64url');
}

function decodeCursor<At>(
  of: CursorOf,
  cursor: string,
  place: z.ZodType<At>,
): { readonly place: At; readonly asOf?: Position | undefined } {
  try {
    const decoded = parseJsonText(Buffer.from(cursor, 'base64url').toString('utf8'));
    z.object({ walk: z.literal(of.walk), log: z.literal(of.log) }).parse(decoded);
    return { place: place.parse(decoded), ...walkAsOf.parse(decoded) };
  } catch {
    throw new LedgerError(
      'validation-failed',
      'The cursor is not valid for this list: send next of the page before, unchanged.',
      {
        fields: [{ path: 'query.cursor', message: 'is not a cursor of this list' }],
      },
    );
  }
}

/** What the items of one page may take, in bytes of JSON: the state of one sensor may be large. */
const MAX_PAGE_BYTES = 4 * 1024 * 1024;

/** As many of the items as one page may take, and one at least. */
export function withinSize(items: JsonObject[]): JsonObject[] {
  let sizeBytes = 0;
  const end = items.findIndex((item, index) => {
    sizeBytes += Buffer.byteLength(JSON.stringify(item));
    return index > 0 && sizeBytes > MAX_PAGE_BYTES;
  });
  return end === -1 ? items : items.slice(0, end);
}

/**
 * `Link: <…>; rel="next"` (RFC 8288): this request's own address with the cursor of the next page.
 */
function nextLink(path: string, next: string | undefined): Record<string, string> {
  if (next === undefined) return {};
  const url = new URL(path, 'http://localhost');
  url.searchParams.set('cursor', next);
  return { Link: `<${url.pathname}${url.search}>; rel="next"` };
}
