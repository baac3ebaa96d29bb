import { useState, type FormEvent } from 'react';
import { adminApi } from '../../api/client.ts';
import { useChange, usePages } from '../../api/reads.ts';
import { Dialog } from '../../parts/dialog.tsx';
import { Empty, NowOnly, PageHead, Problem } from '../../parts/states.tsx';
import { PagedTable, type Column } from '../../parts/table.tsx';
import { Snippet, Time } from '../../parts/text.tsx';

interface Project {
  readonly id: string;
  readonly name: string;
  readonly created_at: string;
}

const COLUMNS: readonly Column<Project>[] = [
  { title: 'Project', cell: ({ id }) => id },
  { title: 'Name', cell: ({ name }) => name },
  { title: 'Created', cell: ({ created_at: createdAt }) => <Time value={createdAt} /> },
];

/** The projects of the installation. */
export function Projects() {
  const [isCreating, setCreating] = useState(false);
  const pages = usePages('admin', ['projects'], (cursor, signal) =>
    adminApi.GET('/projects', { params: { query: { limit: 500, ...cursor } }, signal }),
  );
  return (
    <>
      <PageHead
        title="Projects"
        note="Each has its own devices, members and keys; none sees another."
      >
        <button type="button" className="button primary" onClick={() => setCreating(true)}>
          Create a project
        </button>
      </PageHead>
      <div className="stack">
        <NowOnly what="Projects are listed" path="/projects" />
        <PagedTable
          label="Projects"
          pages={pages}
          columns={COLUMNS}
          keyOf={({ id }) => id}
          empty={
            <Empty title="No projects yet">
              <p>Create the first one. Its owner's key opens its fleet.</p>
            </Empty>
          }
        />
      </div>
      {isCreating && <NewProject onClose={() => setCreating(false)} />}
    </>
  );
}

function NewProject({ onClose }: { onClose: () => void }) {
  const [name, setName] = useState('');
  const create = useChange('admin', (body: { name: string }) =>
    adminApi.POST('/projects', { body, params: {} }),
  );
  const submit = (event: FormEvent): void => {
    event.preventDefault();
    create.mutate({ name });
  };
  return (
    <Dialog title="Create a project" onClose={onClose}>
      {create.data === undefined ? (
        <form className="stack" onSubmit={submit}>
          <label>
            Name
            <input required value={name} onChange={(event) => setName(event.target.value)} />
          </label>
          {create.error !== null && <Problem error={create.error} />}
          <button type="submit" className="button primary" disabled={create.isPending}>
            Create
          </button>
        </form>
      ) : (
        <>
          <p>
            Project <code>{create.data.id}</code> is there. This is the key of its owner. It is
            shown this once.
          </p>
          <Snippet text={create.data.owner.key} />
        </>
      )}
    </Dialog>
  );
}
