import { Link, useParams } from '@tanstack/react-router';
import type { CSSProperties } from 'react';
import { asOf } from '../../api/as-of.ts';
import { projectApi } from '../../api/client.ts';
import type { components } from '../../api/openapi.d.ts';
import { usePages, useRead } from '../../api/reads.ts';
import { Empty, NowOnly, PageHead, When } from '../../parts/states.tsx';
import { PagedTable, type Column } from '../../parts/table.tsx';
import { formatNumber, Status, Time } from '../../parts/text.tsx';
import { useMoment } from '../../time/moment.ts';
import { BatchActions } from './batch-actions.tsx';

export type Batch = components['schemas']['Batch'];

const RUNNING_EVERY_MS = 1_000;

export function BatchView() {
  const { id = '' } = useParams({ strict: false });
  const at = useMoment();
  const read = useRead(
    'project',
    ['batch', id],
    (signal) =>
      projectApi.GET('/batches/{id}', {
        params: { path: { id } },
        signal,
      }),
    at === undefined ? { everyMs: RUNNING_EVERY_MS } : {},
  );
  return (
    <>
      <PageHead title={<span className="mono">{id}</span>} note="A batch of DevEUIs.">
        {read.data !== undefined && <BatchActions batch={read.data} />}
      </PageHead>
      <div className="stack">
        <NowOnly what="The batch is shown" path="/batches/{id}" />
        <When read={read}>{(batch) => <Counts batch={batch} />}</When>
        <Attempts id={id} />
        <p>
          <Link to="/provisioning">All batches</Link>
        </p>
      </div>
    </>
  );
}

const PARTS = [
  ['registered', 'registered', 1],
  ['conflicted', 'conflicted', 2],
  ['unconfirmed', 'unconfirmed', 4],
  ['in_flight', 'in flight', 3],
] as const;

/** Every attempt is one of these four: nothing is lost on the way. */
function Counts({ batch: { status, counts, reason } }: { batch: Batch }) {
  const done = counts.requested === 0 ? 1 : counts.registered / counts.requested;
  return (
    <section className="card stack" aria-label="Progress">
      <div className="row" role="status">
        <Status value={status} />
        <strong>
          {formatNumber(counts.registered)} of {formatNumber(counts.requested)} registered
        </strong>
        <span className="soft">{Math.floor(done * 100)} %</span>
      </div>
      {reason !== undefined && <p className="notice bad">{reason}</p>}
      <div className="meter parts" aria-hidden="true">
        {PARTS.map(([name, , series]) => (
          <span
            key={name}
            data-series={series}
            style={
              {
                '--share': counts.attempted === 0 ? 0 : counts[name] / counts.attempted,
              } as CSSProperties
            }
          />
        ))}
      </div>
      <p className="legend" data-testid="identity">
        <span>
          <strong>{formatNumber(counts.attempted)}</strong> attempted =
        </span>
        {PARTS.map(([name, title, series], index) => (
          <span key={name}>
            {index > 0 && '+ '}
            <i data-series={series} />
            <strong>{formatNumber(counts[name])}</strong> {title}
          </span>
        ))}
      </p>
    </section>
  );
}

interface Attempt {
  readonly deveui: string;
  readonly attempt: number;
  readonly outcome: string;
  readonly provider_status: number | null;
  readonly reason: string | null;
  readonly sent_at: string;
  readonly ended_at: string | null;
}

const COLUMNS: readonly Column<Attempt>[] = [
  {
    title: 'DevEUI',
    width: 'minmax(180px, 1.2fr)',
    cell: ({ deveui }) => <code>{deveui}</code>,
  },
  { title: 'Attempt', isNumber: true, cell: ({ attempt }) => String(attempt) },
  { title: 'Outcome', cell: ({ outcome }) => <Status value={outcome} /> },
  {
    title: 'Provider',
    cell: ({ provider_status: status }) => (status === null ? 'no answer' : `HTTP ${status}`),
  },
  { title: 'Reason', width: 'minmax(160px, 2fr)', cell: ({ reason }) => reason ?? '' },
  {
    title: 'Sent',
    width: 'minmax(180px, 1fr)',
    cell: ({ sent_at: sentAt }) => <Time value={sentAt} />,
  },
  {
    title: 'Took',
    isNumber: true,
    cell: ({ sent_at: sentAt, ended_at: endedAt }) =>
      endedAt === null ? '…' : `${new Date(endedAt).getTime() - new Date(sentAt).getTime()} ms`,
  },
];

function Attempts({ id }: { id: string }) {
  const at = useMoment();
  const pages = usePages('project', ['attempts', id], (cursor, signal) =>
    projectApi.GET('/batches/{id}/attempts', {
      params: {
        path: { id },
        query: { limit: 500, ...cursor, ...asOf('/batches/{id}/attempts', at) },
      },
      signal,
    }),
  );
  return (
    <section className="stack" aria-label="Attempts">
      <h2>Attempts</h2>
      <PagedTable
        label="Attempts"
        pages={pages}
        columns={COLUMNS}
        keyOf={({ deveui, attempt }) => `${deveui} ${attempt}`}
        empty={<Empty title="Nothing was sent yet" />}
      />
    </section>
  );
}
