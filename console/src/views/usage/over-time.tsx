import { useQueries } from '@tanstack/react-query';
import { lazy, Suspense, useMemo } from 'react';
import { Loading } from '../../parts/states.tsx';
import { formatBytes } from '../../parts/text.tsx';
import { useMoment } from '../../time/moment.ts';
import { bucketsQuery } from './read-buckets.ts';
import type { Range } from './range.ts';

const Chart = lazy(() =>
  import('../../parts/chart.tsx').then((module) => ({ default: module.Chart })),
);

/** More lines than these cannot be told apart. */
const MOST_LINES = 6;

/** Those who used the most, day by day, in one chart. */
export function OverTime({ range, ids }: { range: Range; ids: readonly string[] }) {
  const at = useMoment();
  const shown = ids.slice(0, MOST_LINES);
  const reads = useQueries({
    queries: shown.map((id) => bucketsQuery({ ...range, every: '1day' }, id, at)),
    combine: (results) => results.map(({ data }) => data),
  });
  const first = reads[0];
  const times = useMemo(() => first?.map(({ start }) => Date.parse(start) / 1_000) ?? [], [first]);
  const series = useMemo(
    () =>
      shown.map((id, index) => ({
        label: id,
        values: reads[index]?.map((bucket) => Number(bucket['bytes-used-total'])) ?? [],
      })),
    // The ids stand for the lines: the array is made anew with every render.
    // eslint-disable-next-line react/exhaustive-deps -- see above
    [reads, shown.join('\n')],
  );
  if (shown.length === 0) return null;
  const isComplete = series.every(({ values }) => values.length === times.length);
  return (
    <section className="card" aria-label="Chart">
      <h2>By day{ids.length > MOST_LINES && `, the ${MOST_LINES} that used the most`}</h2>
      {isComplete && times.length > 0 ? (
        <Suspense fallback={<Loading lines={8} />}>
          <Chart
            label={`Usage by day from ${range.from} to ${range.to}; the table below has the sums`}
            times={times}
            series={series}
            isBars={false}
            zone={range.zone}
            format={formatBytes}
          />
        </Suspense>
      ) : (
        <Loading lines={8} />
      )}
    </section>
  );
}
