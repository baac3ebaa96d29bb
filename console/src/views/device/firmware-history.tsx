import { asOf } from '../../api/as-of.ts';
import { projectApi } from '../../api/client.ts';
import type { components } from '../../api/openapi.d.ts';
import { usePages } from '../../api/reads.ts';
import { Empty } from '../../parts/states.tsx';
import { PagedTable, type Column } from '../../parts/table.tsx';
import { Snippet, Status, Time } from '../../parts/text.tsx';
import { useMoment } from '../../time/moment.ts';

type Report = components['schemas']['FirmwareReport'];

const COLUMNS: readonly Column<Report>[] = [
  { title: 'Version', cell: ({ version }) => version },
  { title: 'Component', cell: ({ component }) => component },
  {
    title: 'By the clock of the device',
    width: 'minmax(200px, 1fr)',
    cell: ({ timestamp, clock }) => (
      <>
        <Time value={timestamp} />
        {clock === 'implausible' && <Status value="behind">implausible clock</Status>}
      </>
    ),
  },
  {
    title: 'Received',
    width: 'minmax(180px, 1fr)',
    cell: ({ received_at: receivedAt }) => <Time value={receivedAt} />,
  },
  { title: 'Hardware', cell: ({ hardware }) => hardware ?? '–' },
];

export function FirmwareHistory({ id }: { id: string }) {
  const at = useMoment();
  const pages = usePages('project', ['firmware-history', id], (cursor, signal) =>
    projectApi.GET('/devices/{id}/firmware', {
      params: {
        path: { id },
        query: { limit: 200, ...cursor, ...asOf('/devices/{id}/firmware', at) },
      },
      signal,
    }),
  );
  const url = new URL('../api/v1/firmware', document.baseURI).href;
  return (
    <PagedTable
      label="Firmware reports"
      pages={pages}
      columns={COLUMNS}
      keyOf={(report) => report.id}
      empty={
        <Empty title="No version was reported">
          <p>The device reports with its own key:</p>
          <Snippet
            text={`curl -X POST ${url} -H "Authorization: Bearer $DEVICE_KEY" \\\n  -H 'Content-Type: application/json' -d '{"version":"1.0.0","timestamp":${Math.floor(Date.now() / 1_000)}}'`}
          />
        </Empty>
      }
    />
  );
}
