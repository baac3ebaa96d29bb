import { useSetRange, type Kind, type Range } from './range.ts';

const EVERY = [
  ['1hour', 'Hour'],
  ['1day', 'Day'],
  ['1week', 'Week'],
  ['1month', 'Month'],
] as const;

export function RangeForm({ range }: { range: Range }) {
  const set = useSetRange();
  return (
    <form className="row end" onSubmit={(event) => event.preventDefault()}>
      <label>
        By
        <select
          value={range.by}
          onChange={(event) => set({ by: event.target.value as Kind, id: undefined })}
        >
          <option value="org">Organization</option>
          <option value="sim">SIM card</option>
        </select>
      </label>
      {range.id !== undefined && (
        <button type="button" className="button" onClick={() => set({ id: undefined })}>
          All {range.by === 'org' ? 'organizations' : 'SIM cards'}
        </button>
      )}
      <label>
        From
        <input
          type="date"
          required
          value={range.from}
          onChange={(event) => set({ from: event.target.value || undefined })}
        />
      </label>
      <label>
        To
        <input
          type="date"
          required
          value={range.to}
          onChange={(event) => set({ to: event.target.value || undefined })}
        />
      </label>
      {range.id !== undefined && (
        <label>
          Every
          <select value={range.every} onChange={(event) => set({ every: event.target.value })}>
            {EVERY.map(([value, name]) => (
              <option key={value} value={value}>
                {name}
              </option>
            ))}
          </select>
        </label>
      )}
      <ZonePicker zone={range.zone} onChange={(zone) => set({ zone })} />
    </form>
  );
}

const ZONES = ['UTC', ...Intl.supportedValuesOf('timeZone').filter((zone) => zone !== 'UTC')];

function ZonePicker({ zone, onChange }: { zone: string; onChange: (zone: string) => void }) {
  const zones = ZONES.includes(zone) ? ZONES : [zone, ...ZONES];
  return (
    <label>
      Days begin in
      <select value={zone} onChange={(event) => onChange(event.target.value)}>
        {zones.map((name) => (
          <option key={name}>{name}</option>
        ))}
      </select>
    </label>
  );
}
