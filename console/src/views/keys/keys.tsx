import { useState } from 'react';
import { projectApi } from '../../api/client.ts';
import { useKeys } from '../../api/keys.ts';
import { useChange, usePages } from '../../api/reads.ts';
import { Confirm, Dialog } from '../../parts/dialog.tsx';
import { Empty, NowOnly, PageHead, Problem } from '../../parts/states.tsx';
import { PagedTable, type Column } from '../../parts/table.tsx';
import { Snippet, Status, Time } from '../../parts/text.tsx';

interface Key {
  readonly id: string;
  readonly kind: 'mem' | 'dev';
  readonly holder: string;
  readonly created_at: string;
  readonly revoked_at: string | null;
}

/** Members and every key of the project: only owners see them. */
export function Keys() {
  const [revoked, revoke] = useState<Key>();
  const pages = usePages('project', ['keys'], (cursor, signal) =>
    projectApi.GET('/keys', { params: { query: { limit: 500, ...cursor } }, signal }),
  );
  return (
    <>
      <PageHead
        title="Members and keys"
        note="Secrets are shown once, when a key is issued. A revoked key is refused from the next request on."
      />
      <div className="stack">
        <Members />
        <NowOnly what="Keys are listed" path="/keys" />
        <h2>Keys</h2>
        <PagedTable
          label="Keys"
          pages={pages}
          columns={columns(revoke)}
          keyOf={({ id }) => id}
          empty={<Empty title="No keys" />}
        />
      </div>
      {revoked !== undefined && <Revocation revoked={revoked} onClose={() => revoke(undefined)} />}
    </>
  );
}

function columns(revoke: (key: Key) => void): readonly Column<Key>[] {
  return [
    {
      title: 'Key',
      cell: ({ id }) => <code>{id}</code>,
    },
    { title: 'Kind', cell: ({ kind }) => (kind === 'mem' ? 'Member' : 'Device') },
    { title: 'Holder', width: 'minmax(160px, 1.5fr)', cell: ({ holder }) => holder },
    {
      title: 'Issued',
      width: 'minmax(180px, 1fr)',
      cell: ({ created_at: issuedAt }) => <Time value={issuedAt} />,
    },
    {
      title: 'Status',
      cell: (key) =>
        key.revoked_at === null ? (
          <>
            <Status value="active" />
            <button
              type="button"
              className="button small"
              aria-label={`Revoke ${key.id}`}
              onClick={() => revoke(key)}
            >
              Revoke
            </button>
          </>
        ) : (
          <Status value="revoked" />
        ),
    },
  ];
}

function Revocation({ revoked, onClose }: { revoked: Key; onClose: () => void }) {
  const own = useKeys().project?.id === revoked.id;
  const change = useChange('project', () =>
    projectApi.DELETE('/keys/{id}', { params: { path: { id: revoked.id } } }),
  );
  return (
    <Confirm
      title={`Revoke the key ${revoked.id}`}
      action="Revoke"
      isDanger
      isBusy={change.isPending}
      error={change.error}
      onConfirm={() => change.mutate(undefined, { onSuccess: onClose })}
      onClose={onClose}
    >
      <p>
        Whoever uses this key of <bdi>{revoked.holder}</bdi> is refused from the next request on.
        This cannot be taken back.
      </p>
      {own && <p className="notice warn">This is the key that you use here.</p>}
    </Confirm>
  );
}

interface Member {
  readonly id: string;
  readonly name: string;
  readonly role: 'owner' | 'member' | 'viewer';
}

function Members() {
  const [issuedTo, issueTo] = useState<Member>();
  const pages = usePages('project', ['members'], (cursor, signal) =>
    projectApi.GET('/members', { params: { query: { limit: 500, ...cursor } }, signal }),
  );
  const memberColumns: readonly Column<Member>[] = [
    { title: 'Member', cell: ({ id }) => id },
    { title: 'Name', cell: ({ name }) => name },
    { title: 'Role', cell: ({ role }) => <Status value={role} /> },
    {
      title: 'Key',
      cell: (member) => (
        <button
          type="button"
          className="button small"
          aria-label={`Issue a key to ${member.id}`}
          onClick={() => issueTo(member)}
        >
          Issue a key
        </button>
      ),
    },
  ];
  return (
    <section className="stack" aria-label="Members">
      <h2>Members</h2>
      <PagedTable
        label="Members"
        pages={pages}
        columns={memberColumns}
        keyOf={({ id }) => id}
        empty={<Empty title="No members" />}
      />
      {issuedTo !== undefined && <Issue member={issuedTo} onClose={() => issueTo(undefined)} />}
    </section>
  );
}

function Issue({ member, onClose }: { member: Member; onClose: () => void }) {
  const issue = useChange('project', () =>
    projectApi.POST('/members/{id}/keys', { params: { path: { id: member.id } }, body: {} }),
  );
  return (
    <Dialog title={`A key for ${member.name}`} onClose={onClose}>
      {issue.data === undefined ? (
        <>
          <p>Its earlier keys stay valid until they are revoked.</p>
          {issue.error !== null && <Problem error={issue.error} />}
          <button
            type="button"
            className="button primary"
            disabled={issue.isPending}
            onClick={() => issue.mutate()}
          >
            Issue a key
          </button>
        </>
      ) : (
        <>
          <p>It is shown this once.</p>
          <Snippet text={issue.data.key} />
        </>
      )}
    </Dialog>
  );
}
