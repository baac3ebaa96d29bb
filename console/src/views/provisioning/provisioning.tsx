import { Link, useNavigate } from '@tanstack/react-router';
import { useState, type FormEvent } from 'react';
import { asOf } from '../../api/as-of.ts';
import { projectApi } from '../../api/client.ts';
import { useMayWrite } from '../../api/keys.ts';
import type { components } from '../../api/openapi.d.ts';
import { useChange, usePages } from '../../api/reads.ts';
import { Dialog } from '../../parts/dialog.tsx';
import { Empty, NowOnly, PageHead, Problem } from '../../parts/states.tsx';
import { PagedTable, type Column } from '../../parts/table.tsx';
import { formatNumber, Status, Time } from '../../parts/text.tsx';
import { useMoment } from '../../time/moment.ts';

type BatchSummary = components['schemas']['BatchSummary'];

/** Batches of DevEUIs that are registered with the LoRaWAN provider. */
export function Provisioning() {
  const at = useMoment();
  const mayWrite = useMayWrite() && at === undefined;
  const [isStarting, setStarting] = useState(false);
  const pages = usePages('project', ['batches'], (cursor, signal) =>
    projectApi.GET('/batches', {
      params: { query: { limit: 200, ...cursor, ...asOf('/batches', at) } },
      signal,
    }),
  );
  return (
    <>
      <PageHead
        title="Provisioning"
        note="Batches of DevEUIs, registered with the LoRaWAN provider. A batch of N registers exactly N."
      >
        {mayWrite && (
          <button type="button" className="button primary" onClick={() => setStarting(true)}>
            Start a batch
          </button>
        )}
      </PageHead>
      <div className="stack">
        <NowOnly what="Batches are listed" path="/batches" />
        <PagedTable
          label="Batches"
          pages={pages}
          columns={COLUMNS}
          keyOf={({ id }) => id}
          empty={
            <Empty title="No batches yet">
              <p>A batch registers new DevEUIs with the provider, for devices that have none.</p>
            </Empty>
          }
        />
      </div>
      {isStarting && <StartBatch onClose={() => setStarting(false)} />}
    </>
  );
}

const COLUMNS: readonly Column<BatchSummary>[] = [
  {
    title: 'Batch',
    width: 'minmax(170px, 1fr)',
    cell: ({ id }) => (
      <Link to="/provisioning/$id" params={{ id }} className="mono">
        {id}
      </Link>
    ),
  },
  { title: 'Status', cell: ({ status }) => <Status value={status} /> },
  {
    title: 'Requested at',
    width: 'minmax(180px, 1fr)',
    cell: ({ requested_at: requestedAt }) => <Time value={requestedAt} />,
  },
  { title: 'Requested', isNumber: true, cell: ({ counts }) => formatNumber(counts.requested) },
  { title: 'Registered', isNumber: true, cell: ({ counts }) => formatNumber(counts.registered) },
  { title: 'Conflicted', isNumber: true, cell: ({ counts }) => formatNumber(counts.conflicted) },
  { title: 'Unconfirmed', isNumber: true, cell: ({ counts }) => formatNumber(counts.unconfirmed) },
  { title: 'In flight', isNumber: true, cell: ({ counts }) => formatNumber(counts.in_flight) },
];

const LARGEST_BATCH = 10_000;

function StartBatch({ onClose }: { onClose: () => void }) {
  const navigate = useNavigate();
  const [size, setSize] = useState('100');
  const start = useChange('project', () =>
    projectApi.POST('/batches', { body: { batch_size: Number(size) }, params: {} }),
  );
  const submit = (event: FormEvent): void => {
    event.preventDefault();
    start.mutate(undefined, {
      onSuccess(batch) {
        if (batch !== undefined)
          void navigate({ to: '/provisioning/$id', params: { id: batch.id } });
      },
    });
  };
  return (
    <Dialog title="Start a batch" onClose={onClose}>
      <form className="stack" onSubmit={submit}>
        <p>The provider is paid for each DevEUI that is registered.</p>
        <label>
          How many DevEUIs
          <input
            type="number"
            required
            min={1}
            max={LARGEST_BATCH}
            value={size}
            onChange={(event) => setSize(event.target.value)}
          />
        </label>
        {start.error !== null && <Problem error={start.error} />}
        <button type="submit" className="button primary" disabled={start.isPending}>
          Start the batch
        </button>
      </form>
    </Dialog>
  );
}
