import { Link } from '@tanstack/react-router';
import { adminApi } from '../../api/client.ts';
import type { components } from '../../api/openapi.d.ts';
import { usePages } from '../../api/reads.ts';
import { Empty } from '../../parts/states.tsx';
import { PagedTable, type Column } from '../../parts/table.tsx';
import { formatNumber, Status, Time } from '../../parts/text.tsx';

type Rebuild = components['schemas']['Rebuild'];

const READ_EVERY_MS = 2_000;

export function Rebuilds() {
  const pages = usePages(
    'admin',
    ['rebuilds'],
    (cursor, signal) => adminApi.GET('/admin/rebuilds', { params: { query: cursor }, signal }),
    { everyMs: READ_EVERY_MS },
  );
  return (
    <section className="stack" aria-label="Rebuilds">
      <h2>Rebuilds</h2>
      <PagedTable
        label="Rebuilds"
        pages={pages}
        columns={COLUMNS}
        keyOf={({ id }) => id}
        empty={
          <Empty title="Nothing was rebuilt yet">
            <p>
              A release that changes a read model rebuilds it automatically; here you can ask for
              it.
            </p>
          </Empty>
        }
      />
    </section>
  );
}

const COLUMNS: readonly Column<Rebuild>[] = [
  {
    title: 'Projection',
    cell: ({ id, projection }) => (
      <Link to="/operations/rebuilds/$id" params={{ id }}>
        {projection}
      </Link>
    ),
  },
  { title: 'Status', cell: ({ status }) => <Status value={status} /> },
  { title: 'Done', isNumber: true, cell: ({ percent }) => `${formatNumber(percent)} %` },
  {
    title: 'Rate',
    isNumber: true,
    cell: ({ events_per_second: rate }) => `${formatNumber(Math.round(rate))} events/s`,
  },
  { title: 'Started', width: 'minmax(180px, 1fr)', cell: (row) => <Time value={row.started_at} /> },
  {
    title: 'Ended',
    width: 'minmax(180px, 1fr)',
    cell: (row) => (row.ended_at === null ? '–' : <Time value={row.ended_at} />),
  },
];
