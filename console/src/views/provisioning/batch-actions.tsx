import { useState } from 'react';
import { projectApi } from '../../api/client.ts';
import { useMayWrite } from '../../api/keys.ts';
import { useChange } from '../../api/reads.ts';
import { Confirm } from '../../parts/dialog.tsx';
import { useMoment } from '../../time/moment.ts';
import type { Batch } from './batch.tsx';

/** Only for those who may write, and only now. */
export function BatchActions({ batch }: { batch: Batch }) {
  const isNow = useMoment() === undefined;
  const mayWrite = useMayWrite();
  const [isAsking, setAsking] = useState(false);
  if (!isNow || !mayWrite || batch.status === 'Completed') return null;
  const isRunning = batch.status === 'Processing';
  return (
    <>
      <button type="button" className="button" onClick={() => setAsking(true)}>
        {isRunning ? 'Stop' : 'Resume'}
      </button>
      {isAsking && <Ask batch={batch} isRunning={isRunning} onClose={() => setAsking(false)} />}
    </>
  );
}

interface AskProps {
  readonly batch: Batch;
  readonly isRunning: boolean;
  readonly onClose: () => void;
}

function Ask({ batch, isRunning, onClose }: AskProps) {
  const params = { path: { id: batch.id } };
  const change = useChange('project', (): Promise<{ data?: unknown }> =>
    isRunning
      ? projectApi.DELETE('/batches/{id}', { params })
      : projectApi.POST('/batches/{id}/resume', { params }),
  );
  return (
    <Confirm
      title={`${isRunning ? 'Stop' : 'Resume'} ${batch.id}`}
      action={isRunning ? 'Stop' : 'Resume'}
      isBusy={change.isPending}
      error={change.error}
      onConfirm={() => change.mutate(undefined, { onSuccess: onClose })}
      onClose={onClose}
    >
      <p>
        {isRunning
          ? 'No new requests are sent. Those in flight finish, and what they register is kept. The batch can be resumed.'
          : 'Requests to the provider resume until the batch is full.'}
      </p>
    </Confirm>
  );
}
