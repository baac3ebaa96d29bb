import { Link, useParams, useSearch } from '@tanstack/react-router';
import { asOf } from '../../api/as-of.ts';
import { projectApi } from '../../api/client.ts';
import type { components } from '../../api/openapi.d.ts';
import { useRead } from '../../api/reads.ts';
import { PageHead, When } from '../../parts/states.tsx';
import { formatBytes, Status, Time } from '../../parts/text.tsx';
import { useMoment } from '../../time/moment.ts';
import { FirmwareHistory } from './firmware-history.tsx';
import { StateHistory } from './state-history.tsx';
import { Timeline } from './timeline.tsx';
import { Tree } from './tree.tsx';

const TABS = [
  [undefined, 'Overview'],
  ['state', 'State'],
  ['firmware', 'Firmware'],
] as const;

/** One device: what it is, and everything that ever happened to it. */
export function Device() {
  const { id = '' } = useParams({ strict: false });
  const tab = useSearch({ strict: false, select: (search) => search.tab });
  const at = useMoment();
  const read = useRead('project', ['device', id], (signal) =>
    projectApi.GET('/devices/{id}', {
      params: { path: { id }, query: asOf('/devices/{id}', at) },
      signal,
    }),
  );
  const device = read.data;
  return (
    <>
      <PageHead title={<bdi>{id}</bdi>}>
        {typeof device?.retired_at === 'string' && <Status value="retired" />}
        {device !== undefined && (
          <span className="soft">
            Last seen <Time value={device.last_seen_at} age />
          </span>
        )}
      </PageHead>
      <nav className="tabs" aria-label="Parts of the device">
        {TABS.map(([name, title]) => (
          <Link
            key={title}
            to="/devices/$id"
            params={{ id }}
            search={(search) => ({ at: search.at, tab: name })}
            activeOptions={{ explicitUndefined: true }}
          >
            {title}
          </Link>
        ))}
      </nav>
      <When read={read}>
        {(twin) => {
          if (tab === 'state') return <StateHistory sensorId={twin.sensor_id} />;
          if (tab === 'firmware') return <FirmwareHistory id={id} />;
          return (
            <div className="wide-and-side">
              <Timeline id={id} />
              <Twin twin={twin} />
            </div>
          );
        }}
      </When>
    </>
  );
}

type DeviceTwin = components['schemas']['Device'] & {
  readonly firmware: readonly components['schemas']['CurrentFirmware'][];
  readonly state: Record<string, unknown> | null;
  readonly usage_this_month: number | string | null;
};

function Twin({ twin }: { twin: DeviceTwin }) {
  return (
    <div className="stack">
      <section className="card" aria-label="Linked to">
        <h2>Linked to</h2>
        <dl className="facts">
          <dt>DevEUI</dt>
          <dd className="mono">{twin.dev_eui ?? '–'}</dd>
          <dt>SIM card</dt>
          <dd>{twin.sim_card_id === null ? '–' : <SimLink id={twin.sim_card_id} />}</dd>
          <dt>Sensor</dt>
          <dd className="mono">{twin.sensor_id ?? '–'}</dd>
          <dt>Registered</dt>
          <dd>
            <Time value={twin.created_at} />
          </dd>
          {twin.retired_at !== null && (
            <>
              <dt>Retired</dt>
              <dd>
                <Time value={twin.retired_at} />
              </dd>
            </>
          )}
          <dt>Used this month</dt>
          <dd>{formatBytes(twin.usage_this_month)}</dd>
        </dl>
      </section>
      <section className="card" aria-label="Firmware">
        <h2>Firmware</h2>
        <CurrentVersions firmware={twin.firmware} />
      </section>
      <section className="card" aria-label="State">
        <h2>State</h2>
        {twin.state === null ? (
          <p className="soft">Its sensor has not reported yet.</p>
        ) : (
          <Tree value={twin.state} />
        )}
      </section>
    </div>
  );
}

function SimLink({ id }: { id: string }) {
  return (
    <Link to="/usage" search={({ at }) => ({ at, by: 'sim', id })} className="mono">
      {id}
    </Link>
  );
}

function CurrentVersions({ firmware }: { firmware: DeviceTwin['firmware'] }) {
  if (firmware.length === 0) return <p className="soft">It has not reported a version.</p>;
  return (
    <dl className="facts">
      {firmware.map(({ component, version, timestamp, downgraded_from: before }) => (
        <div key={component} style={{ display: 'contents' }}>
          <dt>{component}</dt>
          <dd>
            <strong>{version}</strong>{' '}
            {before !== null && <Status value="downgraded">down from {before}</Status>}
            <div className="small soft">
              since <Time value={timestamp} />
            </div>
          </dd>
        </div>
      ))}
    </dl>
  );
}
