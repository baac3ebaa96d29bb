import { useQuery } from '@tanstack/react-query';
import { lazy, Suspense, useMemo, useState } from 'react';
import { API_URL, ApiError, answered, authorization, problemOf } from '../../api/client.ts';
import { Empty, Loading, Problem, When } from '../../parts/states.tsx';
import { Table, type Column } from '../../parts/table.tsx';
import { formatBytes, formatNumber, Status } from '../../parts/text.tsx';
import { formatTime, useMoment, type Moment } from '../../time/moment.ts';
import { bucketQuery, clockChange, type Range } from './range.ts';
import { bucketsQuery, type Bucket } from './read-buckets.ts';

const Chart = lazy(() =>
  import('../../parts/chart.tsx').then((module) => ({ default: module.Chart })),
);

/** What one organization or SIM card used, bucket by bucket: as a chart, and as the same table. */
export function Buckets({ range, id }: { range: Range; id: string }) {
  const at = useMoment();
  const read = useQuery(bucketsQuery(range, id, at));
  return (
    <When read={read} lines={12}>
      {(buckets) =>
        buckets.length === 0 ? (
          <Empty title="No buckets">
            <p>The first day must not be after the last.</p>
          </Empty>
        ) : (
          <Shown range={range} id={id} buckets={buckets} />
        )
      }
    </When>
  );
}

interface ShownProps {
  readonly range: Range;
  readonly id: string;
  readonly buckets: readonly Bucket[];
}

function Shown({ range, id, buckets }: ShownProps) {
  const times = useMemo(() => buckets.map(({ start }) => Date.parse(start) / 1_000), [buckets]);
  const series = useMemo(
    () => [{ label: id, values: buckets.map((bucket) => Number(bucket['bytes-used-total'])) }],
    [buckets, id],
  );
  const sum = series[0]?.values.reduce((one, other) => one + other, 0) ?? 0;
  return (
    <>
      <section className="card stack" aria-label="Chart">
        <div className="card-head">
          <h2>
            <bdi>{id}</bdi> used {formatBytes(sum)}
          </h2>
          <Download range={range} id={id} />
        </div>
        <Suspense fallback={<Loading lines={8} />}>
          <Chart
            label={`Usage of ${id} from ${range.from} to ${range.to}; the table below says the same`}
            times={times}
            series={series}
            isBars
            zone={range.zone}
            format={formatBytes}
          />
        </Suspense>
      </section>
      <Table
        label="Usage by time"
        columns={columnsFor(range)}
        rows={buckets}
        keyOf={({ start }) => start}
      />
    </>
  );
}

function columnsFor({ zone, every }: Range): readonly Column<Bucket>[] {
  const isDaily = !every.includes('hour');
  return [
    {
      title: `Begins (${zone})`,
      width: 'minmax(240px, 2fr)',
      cell: ({ start }) => {
        const change = isDaily ? clockChange(start, zone) : undefined;
        return (
          <>
            <time dateTime={start}>{formatTime(start, zone)}</time>
            {change !== undefined && <Status value="behind">{change}</Status>}
          </>
        );
      },
    },
    { title: 'Used', isNumber: true, cell: (bucket) => formatBytes(bucket['bytes-used-total']) },
    { title: 'Bytes', isNumber: true, cell: (bucket) => formatNumber(bucket['bytes-used-total']) },
  ];
}

/** A link cannot send the key, so the browser fetches the file and saves it. */
function Download({ range, id }: { range: Range; id: string }) {
  const at = useMoment();
  const [error, setError] = useState<Error | null>(null);
  const download = async (): Promise<void> => {
    setError(null);
    try {
      await save(range, id, at);
    } catch (failure) {
      setError(failure as Error);
    }
  };
  return (
    <>
      <button type="button" className="button small" onClick={() => void download()}>
        Download CSV
      </button>
      {error !== null && <Problem error={error} />}
    </>
  );
}

async function save(range: Range, id: string, at: Moment): Promise<void> {
  const kind = range.by === 'org' ? 'organization' : 'simcard';
  const query = new URLSearchParams({
    ...bucketQuery(range),
    ...(at !== undefined && { as_of: at }),
  });
  const url = `${API_URL}/${kind}/${encodeURIComponent(id)}/usage?${query}`;
  const headers = { ...authorization('project'), Accept: 'text/csv' };
  const response = await answered(new Request(url, { headers }));
  if (!response.ok) throw new ApiError(response.status, await problemOf(response));
  const link = document.createElement('a');
  link.href = URL.createObjectURL(await response.blob());
  link.download = `usage-${id}-${range.from}-${range.to}.csv`;
  link.click();
  URL.revokeObjectURL(link.href);
}
