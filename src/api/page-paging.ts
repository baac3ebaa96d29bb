import { z } from 'zod';
import type { Versioned } from '../projections/engine/reading/read-models.ts';
import type { JsonObject } from '../shared/json.ts';
import { wholeNumberText } from './fields.ts';
import type { Answer } from './route.ts';

export const FIRST_PAGE = 1;
export const DEFAULT_SIZE = 50;

const pageNumber = wholeNumberText(1, Number.MAX_SAFE_INTEGER);
const pageSize = wholeNumberText(1, 100);

/** The query of endpoints that are paged by number. */
export const pageQuery = z.object({
  page: pageNumber.default(FIRST_PAGE).meta({ description: 'The number of the page, from 1' }),
  size: pageSize.default(DEFAULT_SIZE).meta({ description: 'Items per page' }),
});

export function numberedPage<Item extends z.ZodType>(
  item: Item,
): z.ZodObject<{ items: z.ZodArray<Item>; total: z.ZodInt; page: z.ZodInt; size: z.ZodInt }> {
  return z.object({ items: z.array(item), total: z.int(), page: z.int(), size: z.int() });
}

/** A page with how many items there are on all; one beyond the last has none. */
export function answerPage<Row>(
  { page, size }: z.infer<typeof pageQuery>,
  { value, position }: Versioned<{ readonly items: readonly Row[]; readonly total: number }>,
  item: (row: Row) => JsonObject,
): Answer {
  return {
    status: 200,
    body: { items: value.items.map(item), total: value.total, page, size },
    position,
  };
}
