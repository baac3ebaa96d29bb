import { useNavigate, useSearch } from '@tanstack/react-router';
import { asOf } from '../../api/as-of.ts';
import { projectApi } from '../../api/client.ts';
import { useRead } from '../../api/reads.ts';
import { useMoment } from '../../time/moment.ts';

export interface Filter {
  readonly q?: string;
  readonly filter?: string;
  readonly version?: string;
  readonly org?: string;
}

const DAY_MS = 86_400_000;

interface DeviceQuery {
  readonly version?: string;
  readonly org_id?: string;
  readonly has_dev_eui?: 'true' | 'false';
  readonly retired?: 'true' | 'false';
  readonly seen_before?: string;
}

/** Whole days, so that the query stays the same from one read to the next. */
function silentSince(days: number): string {
  const today = Math.floor(Date.now() / DAY_MS) * DAY_MS;
  return new Date(today - (days - 1) * DAY_MS).toISOString();
}

/** The filters as the API takes them. */
export function queryOf({ filter, version, org }: Filter): DeviceQuery {
  return {
    ...(version !== undefined && { version }),
    ...(org !== undefined && { org_id: org }),
    ...(filter === 'without-deveui' && { has_dev_eui: 'false' as const }),
    ...(filter === 'with-deveui' && { has_dev_eui: 'true' as const }),
    ...(filter === 'retired' && { retired: 'true' as const }),
    ...(filter === 'silent' && { seen_before: silentSince(1), retired: 'false' as const }),
  };
}

export function Filters() {
  const search = useSearch({ strict: false }) as Filter;
  const navigate = useNavigate();
  const set = (change: Filter): void => {
    void navigate({ to: '.', search: (before) => ({ ...before, ...change }), replace: true });
  };
  return (
    <form className="row end" role="search" onSubmit={(event) => event.preventDefault()}>
      <label className="grow">
        Search by device, DevEUI, SIM card or sensor
        <input
          type="search"
          value={search.q ?? ''}
          onChange={(event) => set({ q: event.target.value || undefined })}
        />
      </label>
      <VersionFilter value={search.version} onChange={(version) => set({ version })} />
      <OrganizationFilter value={search.org} onChange={(org) => set({ org })} />
      <label>
        Show
        <select
          value={search.filter ?? ''}
          onChange={(event) => set({ filter: event.target.value || undefined })}
        >
          <option value="">All devices</option>
          <option value="silent">Silent since yesterday</option>
          <option value="without-deveui">Without a DevEUI</option>
          <option value="with-deveui">With a DevEUI</option>
          <option value="retired">Retired</option>
        </select>
      </label>
    </form>
  );
}

interface FilterProps {
  readonly value: string | undefined;
  readonly onChange: (value: string | undefined) => void;
}

function VersionFilter({ value, onChange }: FilterProps) {
  const at = useMoment();
  const { data } = useRead('project', ['versions'], (signal) =>
    projectApi.GET('/firmware/versions', {
      params: { query: asOf('/firmware/versions', at) },
      signal,
    }),
  );
  const versions = [...new Set(data?.items.map(({ version }) => version))];
  return <Choice label="Firmware" options={versions} value={value} onChange={onChange} />;
}

function OrganizationFilter({ value, onChange }: FilterProps) {
  const at = useMoment();
  const { data } = useRead('project', ['organizations'], (signal) =>
    projectApi.GET('/usage/organizations', {
      params: { query: { size: 100, ...asOf('/usage/organizations', at) } },
      signal,
    }),
  );
  const organizations = data?.items.flatMap(({ org_id: id }) => (id === null ? [] : [id])) ?? [];
  return <Choice label="Organization" options={organizations} value={value} onChange={onChange} />;
}

function Choice({
  label,
  options,
  value,
  onChange,
}: FilterProps & { label: string; options: readonly string[] }) {
  const all = value === undefined || options.includes(value) ? options : [value, ...options];
  return (
    <label>
      {label}
      <select value={value ?? ''} onChange={(event) => onChange(event.target.value || undefined)}>
        <option value="">Any</option>
        {all.map((option) => (
          <option key={option}>{option}</option>
        ))}
      </select>
    </label>
  );
}
