import type { ApiRequest } from './route.ts';

/**
 * The time that an answer is of: now, or the time that `as_of` gave; for a position, the time of
 * its event. Nothing is known of the future: a time in it stands for now.
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
  if (asOfTime === undefined) return (await positions.timeOf(asOf)) ?? now;
  return asOfTime < now ? asOfTime : now;
}
