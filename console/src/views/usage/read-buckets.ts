import { asOf } from '../../api/as-of.ts';
import { bodyOf, projectApi } from '../../api/client.ts';
import type { Moment } from '../../time/moment.ts';
import { bucketQuery, type Range } from './range.ts';

export interface Bucket {
  /** The instant at which it begins. */
  readonly start: string;
  readonly 'bytes-used-total': number | string;
}

const PAGE_SIZE = 100;

/** What one organization or SIM card used, as a query of the cache. */
export function bucketsQuery(range: Range, id: string, at: Moment) {
  return {
    queryKey: ['project', 'buckets', range.by, id, JSON.stringify(bucketQuery(range)), at],
    queryFn: () => readBuckets(range, id, at),
  };
}

/** Page after page, as a chart needs all of them. */
async function readBuckets(range: Range, id: string, at: Moment): Promise<readonly Bucket[]> {
  const buckets: Bucket[] = [];
  for (let page = 1; ; page += 1) {
    const query = { ...bucketQuery(range), page, size: PAGE_SIZE };
    const path = { id };
    const { items, total } = await bodyOf(
      range.by === 'org'
        ? projectApi.GET('/organization/{id}/usage', {
            params: { path, query: { ...query, ...asOf('/organization/{id}/usage', at) } },
          })
        : projectApi.GET('/simcard/{id}/usage', {
            params: { path, query: { ...query, ...asOf('/simcard/{id}/usage', at) } },
          }),
    );
    buckets.push(...items);
    if (buckets.length >= total || items.length === 0) return buckets;
  }
}
