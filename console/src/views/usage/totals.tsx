import { useInfiniteQuery, type UseInfiniteQueryResult } from '@tanstack/react-query';
import { Link } from '@tanstack/react-router';
import { useMemo } from 'react';
import { asOf } from '../../api/as-of.ts';
import { bodyOf, projectApi } from '../../api/client.ts';
import type { Pages } from '../../api/reads.ts';
import { Empty } from '../../parts/states.tsx';
import { PagedTable, type Column } from '../../parts/table.tsx';
import { formatBytes, formatNumber, Snippet } from '../../parts/text.tsx';
import { useMoment, type Moment } from '../../time/moment.ts';
import { OverTime } from './over-time.tsx';
import type { Range } from './range.ts';

interface Total {
  /** Null: of SIM cards that belong to no organization. */
  readonly id: string | null;
  readonly holder?: string | null;
  readonly bytes: number | string;
}

interface TotalsPage {
  readonly items: readonly Total[];
  readonly total: number;
}

const PAGE_SIZE = 100;

/** How much each organization, or SIM card, used in the days. */
export function Totals({ range }: { range: Range }) {
  const pages = useTotals(range);
  const most = Math.max(1, ...pages.items.map(({ bytes }) => Number(bytes)));
  const heaviest = pages.items
    .toSorted((one, other) => Number(other.bytes) - Number(one.bytes))
    .flatMap(({ id }) => id ?? []);
  return (
    <>
      <OverTime range={range} ids={heaviest} />
      <PagedTable
        label={range.by === 'org' ? 'Organizations' : 'SIM cards'}
        pages={pages}
        columns={columnsFor(range, most)}
        keyOf={({ id }) => id ?? ''}
        empty={<NoUsage />}
      />
    </>
  );
}

function useTotals(range: Range): Pages<Total> {
  const at = useMoment();
  const query: UseInfiniteQueryResult<{ pages: TotalsPage[] }> = useInfiniteQuery({
    queryKey: ['project', 'totals', range.by, range.from, range.to, range.zone, at],
    queryFn: ({ pageParam }) => readTotals(range, pageParam, at),
    initialPageParam: 1,
    getNextPageParam: ({ total }: TotalsPage, all) =>
      all.length * PAGE_SIZE < total ? all.length + 1 : undefined,
  });
  const read = query.data?.pages;
  const items = useMemo(() => read?.flatMap((page) => page.items) ?? [], [read]);
  return {
    items,
    error: query.error,
    isLoading: query.isPending,
    hasMore: query.hasNextPage,
    isLoadingMore: query.isFetchingNextPage,
    loadMore: () => void (query.isFetching || query.fetchNextPage()),
  };
}

async function readTotals(
  { by, from, to, zone }: Range,
  page: number,
  at: Moment,
): Promise<TotalsPage> {
  const query = { page, size: PAGE_SIZE, start: from, end: to, time_zone: zone };
  if (by === 'org') {
    const { items, total } = await bodyOf(
      projectApi.GET('/usage/organizations', {
        params: { query: { ...query, ...asOf('/usage/organizations', at) } },
      }),
    );
    return {
      total,
      items: items.map((row) => ({ id: row.org_id, bytes: row['bytes-used-total'] })),
    };
  }
  const { items, total } = await bodyOf(
    projectApi.GET('/usage/simcards', {
      params: { query: { ...query, ...asOf('/usage/simcards', at) } },
    }),
  );
  return {
    total,
    items: items.map((row) => ({
      id: row.sim_card_id,
      holder: row.org_id,
      bytes: row['bytes-used-total'],
    })),
  };
}

function columnsFor({ by }: Range, most: number): readonly Column<Total>[] {
  return [
    {
      title: by === 'org' ? 'Organization' : 'SIM card',
      width: 'minmax(160px, 1.5fr)',
      cell: ({ id }) =>
        id === null ? (
          <span className="soft">no organization</span>
        ) : (
          <Link to="/usage" search={(search) => ({ ...search, by, id })} className="cut" title={id}>
            {id}
          </Link>
        ),
    },
    ...(by === 'sim'
      ? [{ title: 'Held by', cell: ({ holder }: Total) => holder ?? 'no organization' }]
      : []),
    { title: 'Used', isNumber: true, cell: ({ bytes }) => formatBytes(bytes) },
    { title: 'Bytes', isNumber: true, cell: ({ bytes }) => formatNumber(bytes) },
    {
      title: 'Share of the most',
      width: 'minmax(140px, 2fr)',
      cell: ({ bytes }) => (
        <span className="meter grow" aria-hidden="true">
          <span style={{ '--share': Number(bytes) / most } as object} />
        </span>
      ),
    },
  ];
}

function NoUsage() {
  const url = new URL('../api/v1/usage', document.baseURI).href;
  return (
    <Empty title="Nothing was used in these days">
      <p>Choose other days, or send records, from Kafka or over HTTP:</p>
      <Snippet
        text={`curl -X POST ${url} -H "Authorization: Bearer $KEY" \\\n  -H 'Content-Type: application/json' -d '{"id":"1","sim-card-id":"89440001","bytes-used":1024,"date":"${new Date().toISOString()}"}'`}
      />
    </Empty>
  );
}
