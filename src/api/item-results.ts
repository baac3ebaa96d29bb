import type { Position } from '../projections/engine/read-model.ts';
import type { ErrorCode } from '../shared/errors.ts';
import type { JsonObject } from '../shared/json.ts';
import type { ShownKey } from '../commands/requests.ts';
import { asLedgerError, statusOf } from './problem.ts';
import type { Answer } from './route.ts';

export const MAX_ITEMS = 10_000;
export const ITEMS_LIMIT_BYTES = 16 * 1024 * 1024;
/** Items that are handled at a time: they are appended together, so more gain little. */
export const ITEM_CONCURRENCY = 500;

/** What became of one item of many. */
export interface ItemOutcome {
  /** With its `status`, as if it had been sent alone. */
  readonly result: JsonObject;
  readonly position?: Position | undefined;
  /** A key to show in the result, as `key`. */
  readonly shownKey?: Omit<ShownKey, 'path'>;
}

/** The results of many items, in their order; one bad item stops no other. */
export async function answerEach<Item>(
  items: readonly Item[],
  handle: (item: Item, index: number) => Promise<ItemOutcome>,
): Promise<Answer> {
  const results: JsonObject[] = [];
  const shownKeys: ShownKey[] = [];
  let newest: Position | undefined;
  for (let start = 0; start < items.length; start += ITEM_CONCURRENCY) {
    const chunk = items.slice(start, start + ITEM_CONCURRENCY);
    const outcomes = await Promise.all(chunk.map((item, index) => handle(item, start + index)));
    for (const { result, position, shownKey } of outcomes) {
      if (shownKey !== undefined) {
        shownKeys.push({ ...shownKey, path: ['results', String(results.length), 'key'] });
      }
      results.push(result);
      if (position !== undefined && (newest === undefined || position > newest)) newest = position;
    }
  }
  return {
    status: 200,
    body: { results },
    isPassing: !results.every(isFinal),
    shownKeys,
    ...(newest !== undefined && { position: newest }),
  };
}

/** Whether it would be the same next time. */
export function isFinal({ status }: JsonObject): boolean {
  return Number(status) < 500;
}

/** What a refused item has in its result. */
export function refusalOf(error: unknown): { status: number; code: ErrorCode } {
  const { code } = asLedgerError(error);
  return { status: statusOf[code], code };
}
