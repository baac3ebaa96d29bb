import { Link, useNavigate, useSearch } from '@tanstack/react-router';
import { useEffect, useMemo } from 'react';
import { asOf } from '../../api/as-of.ts';
import { projectApi } from '../../api/client.ts';
import { usePages } from '../../api/reads.ts';
import { Empty, NowOnly, PageHead } from '../../parts/states.tsx';
import { PagedTable, type Column } from '../../parts/table.tsx';
import { Snippet, Status, Time } from '../../parts/text.tsx';
import { useMoment } from '../../time/moment.ts';
import { Filters, queryOf, type Filter } from './filters.tsx';
import { UsageCell, VersionsCell } from './twin-cells.tsx';

interface Device {
  readonly device_id: string;
  readonly dev_eui: string | null;
  readonly sim_card_id: string | null;
  readonly sensor_id: string | null;
  readonly retired_at: string | null;
  readonly last_seen_at: string | null;
}

/** So many matches are looked for before the rest of a long list is left unread. */
const ENOUGH_MATCHES = 30;

/** Every device of the project. */
export function Fleet() {
  const filter = useSearch({ strict: false }) as Filter;
  const at = useMoment();
  const query = queryOf(filter);
  const pages = usePages('project', ['devices', JSON.stringify(query)], (cursor, signal) =>
    projectApi.GET('/devices', {
      params: { query: { limit: 500, ...query, ...cursor, ...asOf('/devices', at) } },
      signal,
    }),
  );
  const { items, hasMore, loadMore } = pages;
  const matching = useMemo(
    () => items.filter((device) => isMatch(device, filter.q)),
    [items, filter.q],
  );
  const isSearchingOn = filter.q !== undefined && hasMore && matching.length < ENOUGH_MATCHES;
  useEffect(() => {
    if (isSearchingOn) loadMore();
  }, [isSearchingOn, loadMore, items.length]);
  return (
    <>
      <PageHead
        title="Fleet"
        note="Every device of the project: what it runs, when it was last seen, what it used."
      />
      <div className="stack">
        <Filters />
        <NowOnly what="Devices are listed" path="/devices" />
        <PagedTable
          label="Devices"
          pages={{ ...pages, items: matching }}
          columns={COLUMNS}
          keyOf={({ device_id: id }) => id}
          empty={<NoDevices isFiltered={Object.keys(query).length > 0 || filter.q !== undefined} />}
        />
      </div>
    </>
  );
}

function isMatch(device: Device, q: string | undefined): boolean {
  if (q === undefined) return true;
  const wanted = q.trim().toLowerCase();
  const ids = [device.device_id, device.dev_eui, device.sim_card_id, device.sensor_id];
  return ids.some((id) => id?.toLowerCase().includes(wanted));
}

const COLUMNS: readonly Column<Device>[] = [
  {
    title: 'Device',
    width: 'minmax(160px, 1.5fr)',
    cell: ({ device_id: id, retired_at: retiredAt }) => (
      <>
        <Link to="/devices/$id" params={{ id }} className="cut" title={id}>
          {id}
        </Link>
        {retiredAt !== null && <Status value="retired" />}
      </>
    ),
  },
  { title: 'Firmware', cell: ({ device_id: id }) => <VersionsCell id={id} /> },
  {
    title: 'Last seen',
    width: '110px',
    cell: ({ last_seen_at: seenAt }) => <Time value={seenAt} age />,
  },
  {
    title: 'Used this month',
    width: '140px',
    isNumber: true,
    cell: ({ device_id: id }) => <UsageCell id={id} />,
  },
  {
    title: 'DevEUI',
    width: 'minmax(180px, 1fr)',
    cell: ({ dev_eui: devEui }) => <Id value={devEui} />,
  },
  { title: 'SIM card', cell: ({ sim_card_id: sim }) => <Id value={sim} /> },
  { title: 'Sensor', cell: ({ sensor_id: sensor }) => <Id value={sensor} /> },
];

function Id({ value }: { value: string | null }) {
  if (value === null) return <span className="soft">–</span>;
  return (
    <span className="cut mono" title={value}>
      {value}
    </span>
  );
}

function NoDevices({ isFiltered }: { isFiltered: boolean }) {
  const navigate = useNavigate();
  if (isFiltered) {
    return (
      <Empty title="No device matches">
        <p>Nothing in the fleet has these properties.</p>
        <button
          type="button"
          className="button"
          onClick={() => void navigate({ to: '.', search: ({ at }) => ({ at }) })}
        >
          Show all devices
        </button>
      </Empty>
    );
  }
  const url = new URL('../api/v1/devices', document.baseURI).href;
  return (
    <Empty title="No devices yet">
      <p>Register the first one. Its answer shows the key that the device reports with, once.</p>
      <Snippet
        text={`curl -X POST ${url} -H "Authorization: Bearer $KEY" \\\n  -H 'Content-Type: application/json' -d '{"device_id":"pump-1","sensor_id":"pump-1-flow"}'`}
      />
    </Empty>
  );
}
