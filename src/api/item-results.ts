import { z } from 'zod';
import type { ItemOutcome, ShownItemKey } from '../commands/core/stored-results.ts';
import type { ShownKey } from '../commands/core/idempotent-requests.ts';
import type { Position } from '../event-store/port.ts';
import { LedgerError } from '../shared/errors.ts';
import { sha256 } from '../shared/ids.ts';
import type { JsonObject } from '../shared/json.ts';
import { asLedgerError, fieldErrorsOf, statusOf } from './problem.ts';
import type { Answer, ApiRequest, Line } from './route.ts';

/** What the result of a refused item has besides its status. */
export const itemRefusal = {
  code: z.string().optional(),
  detail: z
    .string()
    .optional()
    .meta({ description: 'Why it was refused, and what to send instead' }),
  errors: z.array(z.object({ path: z.string(), message: z.string() })).optional(),
};

export const MAX_ITEMS = 10_000;
export const ITEMS_LIMIT_BYTES = 16 * 1024 * 1024;
/** Items that are handled at a time: they are appended together, so more gain little. */
export const ITEM_CONCURRENCY = 500;

type AnyRequest = ApiRequest<unknown, unknown, unknown>;

/** How each item of a request is handled, as if it had been sent alone. */
export interface ItemHandling<Item> {
  /** What the result says of the item whatever becomes of it, such as its id. `index` from 0. */
  readonly named: (item: Item, index: number) => JsonObject;
  /**
   * Must begin its command before it waits for anything: commands on one stream run in their order.
   */
  readonly handle: (item: Item, index: number) => Promise<HandledItem>;
}

export interface HandledItem {
  /** With its `status`. */
  readonly result: JsonObject;
  readonly position: Position;
  /** A key to show in the result, as `key`. */
  readonly shownKey?: ShownItemKey;
}

/** The results of many items, in their order; one bad item stops no other. */
export async function answerEach<Item>(
  request: AnyRequest,
  items: readonly Item[],
  handling: ItemHandling<Item>,
): Promise<Answer> {
  const outcomes: ItemOutcome[] = [];
  for (let first = 0; first < items.length; first += ITEM_CONCURRENCY) {
    const part = items.slice(first, first + ITEM_CONCURRENCY);
    outcomes.push(...(await outcomesOf(request, part, { first, handling })));
  }
  const positions = outcomes.flatMap(({ position }) => (position === undefined ? [] : [position]));
  const newest = newestOf(positions);
  return {
    status: 200,
    body: { results: outcomes.map(({ result }) => result) },
    isKeptByItem: true,
    isTransient: !outcomes.every(({ isFinal }) => isFinal),
    shownKeys: outcomes.flatMap(({ shownKey }, index): ShownKey[] =>
      shownKey === undefined ? [] : [{ ...shownKey, path: ['results', String(index), 'key'] }],
    ),
    ...(newest !== undefined && { position: newest }),
  };
}

/** The results of the items that lines hold, part by part; one bad line stops no other. */
export async function* answerLines<Item>(
  request: AnyRequest,
  lines: AsyncIterable<Line>,
  { itemOf, ...handling }: ItemHandling<Item> & { readonly itemOf: (line: Line) => Item },
): AsyncGenerator<JsonObject, JsonObject> {
  const rest = lines[Symbol.asyncIterator]();
  let first = 0;
  for (;;) {
    const part = await nextLines(rest, await nextPartSize(request));
    if (part.length === 0) return {};
    const outcomes = await outcomesOf(request, part.map(itemOf), {
      first,
      handling,
      digest: digestOfLines(part),
    });
    first += part.length;
    for (const { result } of outcomes) yield result as JsonObject;
  }
}

async function nextPartSize({ group, results }: AnyRequest): Promise<number> {
  if (group.failure !== undefined) return ITEM_CONCURRENCY;
  try {
    return (await results.nextPartSize()) ?? ITEM_CONCURRENCY;
  } catch (error) {
    group.fail(error);
    return ITEM_CONCURRENCY;
  }
}

/** So many of the next lines, or as many as there are. */
export async function nextLines(lines: AsyncIterator<Line>, count: number): Promise<Line[]> {
  const taken: Line[] = [];
  while (taken.length < count) {
    const { value, done } = await lines.next();
    if (done === true) break;
    taken.push(value);
  }
  return taken;
}

export function digestOfLines(lines: readonly Line[]): string {
  return sha256(JSON.stringify(lines.map(({ number, text }) => [number, text])));
}

/**
 * The outcomes of the items of the next part. Once one has failed for no reason of its own, no
 * other begins: those that have not are answered with that failure, to be sent again.
 * @throws LedgerError `idempotency-key-reused`
 */
async function outcomesOf<Item>(
  request: AnyRequest,
  items: readonly Item[],
  part: { readonly first: number; readonly handling: ItemHandling<Item>; readonly digest?: string },
): Promise<readonly ItemOutcome[]> {
  const { group, results } = request;
  const { first, handling, digest } = part;
  const refused = (error: unknown, item: Item, place: number): ItemOutcome =>
    refusedOutcome(request, handling.named(item, first + place), error);
  if (group.failure === undefined) {
    try {
      const next = { count: items.length, ...(digest !== undefined && { digest }) };
      return await results.next(next, (places) =>
        Promise.all(
          places.map(async (place): Promise<ItemOutcome> => {
            const item = items[place] as Item;
            try {
              const handled = await handling.handle(item, first + place);
              const result = { ...handling.named(item, first + place), ...handled.result };
              return { ...handled, result, isFinal: true };
            } catch (error) {
              return refused(error, item, place);
            }
          }),
        ),
      );
    } catch (error) {
      if (error instanceof LedgerError && error.code === 'idempotency-key-reused') throw error;
      group.fail(error);
    }
  }
  const { failure } = group;
  return items.map((item, place) => refused(failure?.error, item, place));
}

function refusedOutcome(request: AnyRequest, named: JsonObject, error: unknown): ItemOutcome {
  const refusal = refusalOf(error);
  const isFinal = refusal.status < 500;
  if (!isFinal) request.reportError(error);
  return { result: { ...named, ...refusal }, isFinal };
}

/** What a refused item has in its result: what a single request would be refused with. */
function refusalOf(error: unknown): JsonObject & { status: number } {
  const ledgerError = asLedgerError(error);
  const { code, message } = ledgerError;
  const errors = fieldErrorsOf(ledgerError);
  return {
    status: statusOf[code],
    code,
    detail: clipped(message),
    ...(errors !== undefined && {
      errors: errors
        .slice(0, MAX_SHOWN_ERRORS)
        .map(({ path, message }) => ({ path: clipped(path), message: clipped(message) })),
    }),
  };
}

/** What the result of a refused item repeats of the item is short, since it is kept in an event. */
const MAX_SHOWN_ERRORS = 20;
const MAX_SHOWN_LENGTH = 512;

function clipped(text: string): string {
  return text.length <= MAX_SHOWN_LENGTH ? text : `${text.slice(0, MAX_SHOWN_LENGTH)}…`;
}

/**
 * The id that a result names its item by; null for what is no id, or much longer than any id may
 * be.
 */
export function shownId(value: unknown): string | null {
  return typeof value === 'string' && value.length <= MAX_SHOWN_LENGTH ? value : null;
}

export function newestOf(positions: readonly Position[]): Position | undefined {
  return positions.reduce<Position | undefined>(
    (newest, position) => (newest === undefined || position > newest ? position : newest),
    undefined,
  );
}
