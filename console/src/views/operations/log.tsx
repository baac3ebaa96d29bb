import { useNavigate, useSearch } from '@tanstack/react-router';
import { useState, type FormEvent } from 'react';
import { adminApi } from '../../api/client.ts';
import type { components } from '../../api/openapi.d.ts';
import { usePages } from '../../api/reads.ts';
import { Dialog } from '../../parts/dialog.tsx';
import { Empty, PageHead } from '../../parts/states.tsx';
import { PagedTable, type Column } from '../../parts/table.tsx';
import { Copy, Json, Time } from '../../parts/text.tsx';
import { useMoment } from '../../time/moment.ts';

type RecordedEvent = components['schemas']['RecordedEvent'];

interface LogFilter {
  readonly stream?: string;
  readonly type?: string;
  readonly from?: string;
  readonly to?: string;
  readonly correlation?: string;
}

/** The raw log of all projects, oldest first. */
export function Log() {
  const filter: LogFilter = useSearch({ strict: false });
  const at = useMoment();
  const [shown, show] = useState<RecordedEvent>();
  const { stream, type, from, correlation } = filter;
  // The moment is where the log ends, for whoever looks at the past.
  const to = filter.to ?? at;
  const query = {
    ...(stream !== undefined && { stream }),
    ...(type !== undefined && { type }),
    ...(from !== undefined && { from }),
    ...(to !== undefined && { to }),
    ...(correlation !== undefined && { correlation_id: correlation }),
  };
  const pages = usePages('admin', ['log', JSON.stringify(query)], (cursor, signal) =>
    adminApi.GET('/admin/log', { params: { query: { limit: 200, ...query, ...cursor } }, signal }),
  );
  return (
    <>
      <PageHead
        title="Log"
        note="Every event of every project, oldest first, exactly as it was recorded."
      />
      <div className="stack">
        <LogFilters key={JSON.stringify(filter)} filter={filter} />
        <PagedTable
          label="Events"
          pages={pages}
          columns={columns(show)}
          keyOf={({ position }) => position}
          empty={
            <Empty title="No event matches">
              <p>Leave out a filter, or look at another time.</p>
            </Empty>
          }
        />
      </div>
      {shown !== undefined && <EventDialog event={shown} onClose={() => show(undefined)} />}
    </>
  );
}

function columns(show: (event: RecordedEvent) => void): readonly Column<RecordedEvent>[] {
  return [
    {
      title: 'Position',
      width: '150px',
      cell: (event) => (
        <button type="button" className="button small quiet mono" onClick={() => show(event)}>
          {event.position}
        </button>
      ),
    },
    {
      title: 'Recorded',
      width: 'minmax(180px, 1fr)',
      cell: ({ recorded_at: recordedAt }) => <Time value={recordedAt} />,
    },
    { title: 'Type', width: 'minmax(170px, 1fr)', cell: ({ type }) => type },
    { title: 'Stream', width: 'minmax(220px, 2fr)', cell: ({ stream }) => stream },
    { title: 'Revision', width: '90px', isNumber: true, cell: ({ revision }) => String(revision) },
    { title: 'Data', width: 'minmax(200px, 2fr)', cell: ({ data }) => JSON.stringify(data) },
  ];
}

function LogFilters({ filter }: { filter: LogFilter }) {
  const navigate = useNavigate();
  const submit = (event: FormEvent<HTMLFormElement>): void => {
    event.preventDefault();
    const entries = [...new FormData(event.currentTarget)].map(([name, value]) => [
      name,
      typeof value === 'string' && value.trim() !== '' ? value.trim() : undefined,
    ]);
    void navigate({ to: '.', search: ({ at }) => ({ at, ...Object.fromEntries(entries) }) });
  };
  const fields = [
    ['stream', 'Stream', 'sensor-demo.pump-1-flow'],
    ['type', 'Types', 'SensorPatched,SimAssigned'],
    ['from', 'From a time or position', '2026-11-02'],
    ['to', 'To a time or position', '2026-11-03'],
    ['correlation', 'Correlation id', ''],
  ] as const;
  return (
    <form className="row end" role="search" onSubmit={submit}>
      {fields.map(([name, label, placeholder]) => (
        <label key={name} className="grow">
          {label}
          <input
            name={name}
            defaultValue={filter[name] ?? ''}
            placeholder={placeholder}
            spellCheck={false}
          />
        </label>
      ))}
      <button type="submit" className="button primary">
        Search the log
      </button>
    </form>
  );
}

function EventDialog({ event, onClose }: { event: RecordedEvent; onClose: () => void }) {
  const navigate = useNavigate();
  const { correlationId } = event.metadata;
  const follow = (search: LogFilter): void => {
    onClose();
    void navigate({ to: '.', search: ({ at }) => ({ at, ...search }) });
  };
  return (
    <Dialog title={event.type} isWide onClose={onClose}>
      <dl className="facts">
        <dt>Position</dt>
        <dd className="mono">{event.position}</dd>
        <dt>Recorded</dt>
        <dd>
          <Time value={event.recorded_at} />
        </dd>
        <dt>Stream</dt>
        <dd className="mono">
          {event.stream}, revision {event.revision}
        </dd>
        <dt>Event id</dt>
        <dd className="mono">{event.event_id}</dd>
      </dl>
      <h3>Data</h3>
      <Json value={event.data} />
      <h3>Metadata</h3>
      <Json value={event.metadata} />
      <div className="row">
        <Copy text={JSON.stringify(event, null, 2)} label="Copy as JSON" />
        <button
          type="button"
          className="button small"
          onClick={() => follow({ stream: event.stream })}
        >
          This stream
        </button>
        {typeof correlationId === 'string' && (
          <button
            type="button"
            className="button small"
            onClick={() => follow({ correlation: correlationId })}
          >
            Same request
          </button>
        )}
      </div>
    </Dialog>
  );
}
