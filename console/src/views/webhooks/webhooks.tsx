import { Link } from '@tanstack/react-router';
import { asOf } from '../../api/as-of.ts';
import { projectApi } from '../../api/client.ts';
import type { components } from '../../api/openapi.d.ts';
import { usePages } from '../../api/reads.ts';
import { Empty, PageHead } from '../../parts/states.tsx';
import { PagedTable, type Column } from '../../parts/table.tsx';
import { Snippet, Status, Time } from '../../parts/text.tsx';
import { useMoment } from '../../time/moment.ts';

type Webhook = components['schemas']['Webhook'];

const COLUMNS: readonly Column<Webhook>[] = [
  {
    title: 'URL',
    width: 'minmax(240px, 2fr)',
    cell: ({ id, url }) => (
      <Link to="/webhooks/$id" params={{ id }} className="cut" title={url}>
        {url}
      </Link>
    ),
  },
  { title: 'Status', width: '110px', cell: ({ status }) => <Status value={status} /> },
  { title: 'Types', cell: ({ types }) => types?.join(', ') ?? 'every type' },
  { title: 'Domains', cell: ({ domains }) => domains?.join(', ') ?? 'every domain' },
  { title: 'Reason', cell: ({ reason }) => reason ?? '' },
  {
    title: 'Created',
    width: 'minmax(180px, 1fr)',
    cell: ({ created_at: createdAt }) => <Time value={createdAt} />,
  },
];

/** Where the ledger sends its events. */
export function Webhooks() {
  const at = useMoment();
  const pages = usePages('project', ['webhooks'], (cursor, signal) =>
    projectApi.GET('/webhooks', {
      params: { query: { limit: 200, ...cursor, ...asOf('/webhooks', at) } },
      signal,
    }),
  );
  const url = new URL('../api/v1/webhooks', document.baseURI).href;
  return (
    <>
      <PageHead
        title="Webhooks"
        note="URLs that receive the events of this project, signed, in order, at least once."
      />
      <PagedTable
        label="Webhooks"
        pages={pages}
        columns={COLUMNS}
        keyOf={({ id }) => id}
        empty={
          <Empty title="No webhooks yet">
            <p>The answer shows the secret that signs the deliveries.</p>
            <Snippet
              text={`curl -X POST ${url} -H "Authorization: Bearer $KEY" \\\n  -H 'Content-Type: application/json' -d '{"url":"https://example.com/fleet","domains":["firmware"]}'`}
            />
          </Empty>
        }
      />
    </>
  );
}
