import { Link } from '@tanstack/react-router';
import { adminApi } from '../../api/client.ts';
import { useRead } from '../../api/reads.ts';
import { PageHead, When } from '../../parts/states.tsx';
import { formatNumber, Status } from '../../parts/text.tsx';
import { Actions } from './actions.tsx';
import { Rebuilds } from './rebuilds.tsx';
import type { components } from '../../api/openapi.d.ts';

export type Projection = components['schemas']['Projection'];

const READ_EVERY_MS = 2_000;

/** What admins see of the read models: how far each is, and what can be done about it. */
export function Projections() {
  const read = useRead(
    'admin',
    ['projections'],
    (signal) => adminApi.GET('/admin/projections', { signal }),
    { everyMs: READ_EVERY_MS },
  );
  return (
    <>
      <PageHead
        title="Projections"
        note="Read models that follow the log. Each can be rebuilt and verified while everything runs."
      />
      <div className="stack">
        <When read={read}>
          {({ items }) => (
            <div className="cards">
              {items.map((projection) => (
                <ProjectionCard key={projection.name} projection={projection} />
              ))}
            </div>
          )}
        </When>
        <Rebuilds />
      </div>
    </>
  );
}

function ProjectionCard({ projection }: { projection: Projection }) {
  const { name, version, generation, status, last_error: error } = projection;
  return (
    <section className="card stack" aria-label={name}>
      <div className="row">
        <h2 className="grow">{name}</h2>
        <Status value={status} />
      </div>
      <Lag projection={projection} />
      <dl className="facts small">
        <dt>Position</dt>
        <dd className="mono">{projection.position}</dd>
        <dt>Rate</dt>
        <dd>{formatNumber(projection.events_per_second)} events/s</dd>
        <dt>Tables</dt>
        <dd>
          version {version}, generation {generation}
        </dd>
      </dl>
      {error !== null && (
        <div className="notice bad">
          <p>
            Stopped at event <code>{error.event_id}</code>: {error.message}
          </p>
          <Link
            to="/log"
            search={(search) => ({ ...search, from: error.position, to: error.position })}
          >
            Open the event
          </Link>
        </div>
      )}
      <Actions projection={projection} />
    </section>
  );
}

/** A difference of a few events is the time that a batch takes: no reason to worry anybody. */
const WORTH_SAYING_SECONDS = 5;

function Lag({
  projection: { lag_events: events, lag_seconds: seconds },
}: {
  projection: Projection;
}) {
  const isBehind = seconds >= WORTH_SAYING_SECONDS;
  return (
    <p>
      {isBehind ? (
        <>
          <Status value="behind" /> {formatNumber(events)} events,{' '}
          {formatNumber(Math.round(seconds))} s
        </>
      ) : (
        <span className="soft">Up to date with the log</span>
      )}
    </p>
  );
}
