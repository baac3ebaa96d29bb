import { useNavigate } from '@tanstack/react-router';
import { useState, type ReactNode } from 'react';
import { adminApi } from '../../api/client.ts';
import { useChange } from '../../api/reads.ts';
import { Confirm } from '../../parts/dialog.tsx';
import type { Projection } from './projections.tsx';

type Action = 'rebuild' | 'verify' | 'pause' | 'resume' | 'retry' | 'skip';

interface Description {
  readonly name: string;
  readonly title: (projection: string) => string;
  readonly isDanger?: boolean;
  readonly text: ReactNode;
}

const DESCRIPTIONS: Readonly<Record<Action, Description>> = {
  rebuild: {
    name: 'Rebuild',
    title: (projection) => `Rebuild ${projection}`,
    text: 'New tables are filled from the whole log beside the live ones, and take their place when they have caught up. Readers notice nothing. It can be cancelled.',
  },
  verify: {
    name: 'Verify',
    title: (projection) => `Verify ${projection}`,
    text: 'The log is replayed into scratch tables, which are compared with the live ones row by row. Nothing is changed.',
  },
  pause: {
    name: 'Pause',
    title: (projection) => `Pause ${projection}`,
    isDanger: true,
    text: 'It stops following the log. Its answers stay as they are, and fall behind until it is resumed.',
  },
  resume: {
    name: 'Resume',
    title: (projection) => `Resume ${projection}`,
    text: 'It follows the log again, from where it was paused.',
  },
  retry: {
    name: 'Retry',
    title: (projection) => `Retry ${projection}`,
    text: 'The event at which it stopped is applied again.',
  },
  skip: {
    name: 'Skip the event',
    title: (projection) => `Skip an event in ${projection}`,
    isDanger: true,
    text: 'The event at which it stopped is left out of this read model for good, also in rebuilds. The skip itself is recorded as an event.',
  },
};

function actionsFor({ status }: Projection): readonly Action[] {
  switch (status) {
    case 'live':
      return ['rebuild', 'verify', 'pause'];
    case 'paused':
      return ['resume', 'rebuild', 'verify'];
    case 'stopped':
      return ['retry', 'skip', 'rebuild'];
  }
}

export function Actions({ projection }: { projection: Projection }) {
  const [chosen, choose] = useState<Action>();
  return (
    <div className="row">
      {actionsFor(projection).map((action) => (
        <button key={action} type="button" className="button small" onClick={() => choose(action)}>
          {DESCRIPTIONS[action].name}
        </button>
      ))}
      {chosen !== undefined && (
        <Confirmation action={chosen} projection={projection} onClose={() => choose(undefined)} />
      )}
    </div>
  );
}

interface ConfirmationProps {
  readonly action: Action;
  readonly projection: Projection;
  readonly onClose: () => void;
}

function Confirmation({ action, projection, onClose }: ConfirmationProps) {
  const navigate = useNavigate();
  const { name, title, isDanger = false, text } = DESCRIPTIONS[action];
  const change = useChange('admin', () => send(action, projection));
  const confirm = (): void => {
    change.mutate(undefined, {
      onSuccess(replay) {
        onClose();
        if (action === 'rebuild' || action === 'verify') {
          const id = (replay as { id: string }).id;
          const to =
            action === 'rebuild' ? '/operations/rebuilds/$id' : '/operations/verifications/$id';
          void navigate({ to, params: { id }, search: ({ at }) => ({ at }) });
        }
      },
    });
  };
  return (
    <Confirm
      title={title(projection.name)}
      action={name}
      isDanger={isDanger}
      isBusy={change.isPending}
      error={change.error}
      onConfirm={confirm}
      onClose={onClose}
    >
      <p>{text}</p>
    </Confirm>
  );
}

function send(
  action: Action,
  { name, last_error: error }: Projection,
): Promise<{ data?: unknown }> {
  const params = { path: { name } };
  switch (action) {
    case 'rebuild':
      return adminApi.POST('/admin/projections/{name}/rebuild', { params });
    case 'verify':
      return adminApi.POST('/admin/projections/{name}/verify', { params });
    case 'pause':
      return adminApi.POST('/admin/projections/{name}/pause', { params });
    case 'resume':
      return adminApi.POST('/admin/projections/{name}/resume', { params });
    case 'retry':
      return adminApi.POST('/admin/projections/{name}/retry', { params });
    case 'skip':
      // Names the event, so that another one is not skipped by mistake.
      return adminApi.POST('/admin/projections/{name}/skip', {
        params,
        body: error === null ? {} : { event_id: error.event_id },
      });
  }
}
