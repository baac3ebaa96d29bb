import { Link, useParams } from '@tanstack/react-router';
import { asOf } from '../../api/as-of.ts';
import { projectApi } from '../../api/client.ts';
import type { components } from '../../api/openapi.d.ts';
import { useChange, usePages, useRead } from '../../api/reads.ts';
import { Empty, NowOnly, PageHead, Problem, When } from '../../parts/states.tsx';
import { PagedTable, type Column } from '../../parts/table.tsx';
import { Status, Time } from '../../parts/text.tsx';
import { useMoment } from '../../time/moment.ts';

type Webhook = components['schemas']['Webhook'];
type Delivery = components['schemas']['WebhookDelivery'];

export function WebhookView() {
  const { id = '' } = useParams({ strict: false });
  const at = useMoment();
  const read = useRead('project', ['webhook', id], (signal) =>
    projectApi.GET('/webhooks/{id}', {
      params: { path: { id }, query: asOf('/webhooks/{id}', at) },
      signal,
    }),
  );
  return (
    <>
      <PageHead title={<bdi>{read.data?.url ?? id}</bdi>} note="A webhook.">
        {read.data?.status === 'failing' && at === undefined && <Resume id={id} />}
      </PageHead>
      <div className="stack">
        <When read={read}>{(webhook) => <Facts webhook={webhook} />}</When>
        <Deliveries id={id} />
        <p>
          <Link to="/webhooks">All webhooks</Link>
        </p>
      </div>
    </>
  );
}

function Facts({ webhook }: { webhook: Webhook }) {
  return (
    <section className="card" aria-label="Webhook">
      <dl className="facts">
        <dt>Status</dt>
        <dd>
          <Status value={webhook.status} />
          {webhook.reason !== null && <p>{webhook.reason}</p>}
        </dd>
        <dt>Receives</dt>
        <dd>
          {webhook.types?.join(', ') ?? 'events of every type'},{' '}
          {webhook.domains?.join(', ') ?? 'of every domain'}
        </dd>
        <dt>Created</dt>
        <dd>
          <Time value={webhook.created_at} />
        </dd>
      </dl>
    </section>
  );
}

function Resume({ id }: { id: string }) {
  const resume = useChange('project', (): Promise<{ data?: unknown }> =>
    projectApi.POST('/webhooks/{id}/resume', { params: { path: { id } } }),
  );
  return (
    <>
      <button
        type="button"
        className="button primary"
        disabled={resume.isPending}
        onClick={() => resume.mutate()}
      >
        Resume deliveries
      </button>
      {resume.error !== null && <Problem error={resume.error} />}
    </>
  );
}

const COLUMNS: readonly Column<Delivery>[] = [
  {
    title: 'Sent',
    width: 'minmax(180px, 1fr)',
    cell: ({ sent_at: sentAt }) => <Time value={sentAt} />,
  },
  {
    title: 'Status',
    cell: ({ status }) => (
      <Status value={status === 'delivered' ? 'completed' : 'failed'}>{status}</Status>
    ),
  },
  {
    title: 'Answer',
    cell: ({ response_status: status, error }) =>
      status === null ? (error ?? 'no answer') : `HTTP ${status}`,
  },
  { title: 'Attempt', isNumber: true, cell: ({ attempt }) => String(attempt) },
  { title: 'Events', isNumber: true, cell: ({ events }) => String(events) },
  { title: 'Up to', width: '150px', cell: ({ last_position: last }) => <code>{last}</code> },
  { title: 'Took', isNumber: true, cell: ({ duration_ms: took }) => `${took} ms` },
];

function Deliveries({ id }: { id: string }) {
  const pages = usePages('project', ['deliveries', id], (cursor, signal) =>
    projectApi.GET('/webhooks/{id}/deliveries', {
      params: { path: { id }, query: { limit: 200, ...cursor } },
      signal,
    }),
  );
  return (
    <section className="stack" aria-label="Deliveries">
      <h2>Deliveries</h2>
      <NowOnly what="Deliveries are listed" path="/webhooks/{id}/deliveries" />
      <PagedTable
        label="Deliveries"
        pages={pages}
        columns={COLUMNS}
        keyOf={(delivery) => `${delivery.id} ${delivery.attempt} ${delivery.sent_at}`}
        empty={<Empty title="Nothing was sent yet" />}
      />
    </section>
  );
}
