import type { ApiRequest } from './route.ts';

/**
 * The time that an answer is of: now, or the time that `as_of` gave; for a position, the time of
 * its event.
 */
export async function momentOf({
  asOf,
  asOfTime,
  positions,
  now,
}: Pick<
  ApiRequest<unknown, unknown, unknown>,
  'asOf' | 'asOfTime' | 'positions' | 'now'
>): Promise<Date> {
  if (asOf === undefined) return now;
  return asOfTime ?? (await positions.timeOf(asOf)) ?? now;
}
