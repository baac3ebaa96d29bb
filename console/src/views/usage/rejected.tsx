import { useState } from 'react';
import { asOf } from '../../api/as-of.ts';
import { projectApi } from '../../api/client.ts';
import type { components } from '../../api/openapi.d.ts';
import { usePages } from '../../api/reads.ts';
import { Dialog } from '../../parts/dialog.tsx';
import { Empty, NowOnly } from '../../parts/states.tsx';
import { PagedTable, type Column } from '../../parts/table.tsx';
import { Json, Status, Time } from '../../parts/text.tsx';
import { useMoment } from '../../time/moment.ts';

type RejectedUsage = components['schemas']['RejectedUsage'];

/** Records that were not counted, and why. */
export function Rejected() {
  const at = useMoment();
  const [shown, show] = useState<RejectedUsage>();
  const pages = usePages('project', ['rejected'], (cursor, signal) =>
    projectApi.GET('/usage/rejected', {
      params: { query: { limit: 200, ...cursor, ...asOf('/usage/rejected', at) } },
      signal,
    }),
  );
  return (
    <div className="stack">
      <NowOnly what="Rejected records are listed" path="/usage/rejected" />
      <PagedTable
        label="Rejected records"
        pages={pages}
        columns={columns(show)}
        keyOf={({ id }) => id}
        empty={
          <Empty title="No record was rejected">
            <p>Everything that came counts in the totals.</p>
          </Empty>
        }
      />
      {shown !== undefined && (
        <Dialog title="Rejected record" isWide onClose={() => show(undefined)}>
          <p>{shown.detail}</p>
          <h3>As it came{shown.record.isCut && ' (the beginning)'}</h3>
          <pre tabIndex={0}>{shown.record.content}</pre>
          <h3>Where it came from</h3>
          <Json value={shown.origin} />
        </Dialog>
      )}
    </div>
  );
}

function columns(show: (record: RejectedUsage) => void): readonly Column<RejectedUsage>[] {
  return [
    {
      title: 'Rejected',
      width: 'minmax(180px, 1fr)',
      cell: ({ rejected_at: rejectedAt }) => <Time value={rejectedAt} />,
    },
    { title: 'Reason', cell: ({ reason }) => <Status value="failed">{reason}</Status> },
    { title: 'Detail', width: 'minmax(220px, 3fr)', cell: ({ detail }) => detail },
    {
      title: 'Record',
      width: 'minmax(160px, 2fr)',
      cell: (record) => (
        <button
          type="button"
          className="button small quiet mono cut"
          title="Show the record"
          onClick={() => show(record)}
        >
          {record.record.content}
        </button>
      ),
    },
  ];
}
