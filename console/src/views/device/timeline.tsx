import { Link, useNavigate, useSearch } from '@tanstack/react-router';
import { asOf } from '../../api/as-of.ts';
import { projectApi } from '../../api/client.ts';
import { useKeys } from '../../api/keys.ts';
import type { components } from '../../api/openapi.d.ts';
import { usePages } from '../../api/reads.ts';
import { Empty, Loading, Problem } from '../../parts/states.tsx';
import { Copy, Time } from '../../parts/text.tsx';
import { useMoment } from '../../time/moment.ts';
import { summaryOf } from './summary.ts';

type Entry = components['schemas']['TimelineEntry'];

const DOMAINS = [
  ['tenancy', 'Registration'],
  ['deveui', 'Provisioning'],
  ['firmware', 'Firmware'],
  ['state', 'State'],
  ['usage', 'Usage'],
] as const;

/** Everything that happened to the device, over all domains, newest first. */
export function Timeline({ id }: { id: string }) {
  const at = useMoment();
  const filter = useSearch({ strict: false, select: (search) => search.filter });
  const pages = usePages('project', ['timeline', id], (cursor, signal) =>
    projectApi.GET('/devices/{id}/timeline', {
      params: {
        path: { id },
        query: { limit: 100, ...cursor, ...asOf('/devices/{id}/timeline', at) },
      },
      signal,
    }),
  );
  const entries = pages.items.filter(({ domain }) => filter === undefined || domain === filter);
  return (
    <section className="card" aria-label="Timeline">
      <div className="card-head">
        <h2>Timeline</h2>
        <DomainFilter value={filter} />
      </div>
      {pages.error !== null && <Problem error={pages.error} />}
      {pages.isLoading && <Loading lines={10} />}
      <ol className="timeline">
        {entries.map((entry) => (
          <TimelineEntry key={entry.event_id} entry={entry} />
        ))}
      </ol>
      {!pages.isLoading && entries.length === 0 && (
        <Empty title="Nothing here">
          <p>{pages.hasMore ? 'Load older entries.' : 'Nothing of this kind has happened.'}</p>
        </Empty>
      )}
      {pages.hasMore && (
        <button
          type="button"
          className="button"
          disabled={pages.isLoadingMore}
          onClick={pages.loadMore}
        >
          Load older entries
        </button>
      )}
    </section>
  );
}

function DomainFilter({ value }: { value: string | undefined }) {
  const navigate = useNavigate();
  return (
    <label className="inline">
      Show
      <select
        value={value ?? ''}
        onChange={(event) =>
          void navigate({
            to: '.',
            search: (search) => ({ ...search, filter: event.target.value || undefined }),
          })
        }
      >
        <option value="">all domains</option>
        {DOMAINS.map(([domain, name]) => (
          <option key={domain} value={domain}>
            {name}
          </option>
        ))}
      </select>
    </label>
  );
}

function TimelineEntry({ entry }: { entry: Entry }) {
  const isAdmin = useKeys().admin !== undefined;
  const { type, domain, occurred_at: occurredAt, recorded_at: recordedAt, actor, data } = entry;
  return (
    <li data-domain={domain}>
      <details>
        <summary>
          {summaryOf(type, data)}
          <div className="small soft">
            <Time value={recordedAt} /> · {domain} · by <bdi>{actor}</bdi>
          </div>
        </summary>
        <pre tabIndex={0}>{JSON.stringify(data, null, 2)}</pre>
        <dl className="facts small">
          <dt>Type</dt>
          <dd>{type}</dd>
          <dt>Recorded</dt>
          <dd className="mono">{recordedAt}</dd>
          {occurredAt !== null && (
            <>
              <dt>Occurred</dt>
              <dd className="mono">{occurredAt}</dd>
            </>
          )}
          <dt>Event id</dt>
          <dd className="mono">{entry.event_id}</dd>
        </dl>
        <div className="row">
          <Copy text={JSON.stringify(entry, null, 2)} label="Copy as JSON" />
          <Link
            className="button small"
            to="."
            search={(search) => ({ ...search, at: recordedAt })}
          >
            Show this moment
          </Link>
          {isAdmin && (
            <Link className="button small" to="/log" search={{ from: recordedAt, to: recordedAt }}>
              In the log
            </Link>
          )}
        </div>
      </details>
    </li>
  );
}
