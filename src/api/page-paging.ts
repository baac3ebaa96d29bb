import { z } from 'zod';
import type { Fresh } from '../projections/engine/read-model.ts';
import type { JsonObject } from '../shared/json.ts';
import type { Answer } from './route.ts';

const PAGE_RULE = 'must be a whole number from 1';
const SIZE_RULE = 'must be a whole number from 1 to 100';

/** The query of endpoints that are paged by number. */
export const pageQuery = z.object({
  page: z.coerce
    .number({ error: PAGE_RULE })
    .int(PAGE_RULE)
    .min(1, PAGE_RULE)
    .default(1)
    .meta({ description: 'Which page, from 1', example: 1 }),
  size: z.coerce
    .number({ error: SIZE_RULE })
    .int(SIZE_RULE)
    .min(1, SIZE_RULE)
    .max(100, SIZE_RULE)
    .default(50)
    .meta({ description: 'How many items a page has', example: 50 }),
});

export function numberedPage<Item extends z.ZodType>(
  item: Item,
): z.ZodObject<{ items: z.ZodArray<Item>; total: z.ZodInt; page: z.ZodInt; size: z.ZodInt }> {
  return z.object({ items: z.array(item), total: z.int(), page: z.int(), size: z.int() });
}

/** A page with how many items there are on all; one beyond the last has none. */
export function answerPage<Row>(
  { page, size }: z.infer<typeof pageQuery>,
  { value, position }: Fresh<{ readonly items: readonly Row[]; readonly total: number }>,
  item: (row: Row) => JsonObject,
): Answer {
  return {
    status: 200,
    body: { items: value.items.map(item), total: value.total, page, size },
    position,
  };
}
