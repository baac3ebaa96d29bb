import type { ProjectEvent, Role } from '../../events/tenancy.ts';
import { streamName, type StreamName } from '../../event-store/stream-name.ts';
import { LedgerError } from '../../shared/errors.ts';
import type { Decider } from '../core/decider.ts';
import {
  foldKey,
  issueKey,
  keyIssued,
  notFound,
  own,
  revokeKey,
  sizeOfKeys,
  type KeySet,
  type NewKey,
} from './key-set.ts';

/** A project, with its members and their keys. */
export type ProjectState =
  | { readonly status: 'missing' }
  | {
      readonly status: 'created';
      readonly members: Readonly<Record<string, { readonly role: Role }>>;
      readonly keys: KeySet;
    };

export type ProjectCommand =
  | {
      readonly type: 'create';
      readonly projectId: string;
      readonly name: string;
      readonly createdAt: string;
      readonly owner: { readonly memberId: string; readonly name: string; readonly key: NewKey };
    }
  | {
      readonly type: 'add-member';
      readonly memberId: string;
      readonly name: string;
      readonly role: Role;
      readonly key: NewKey;
    }
  | { readonly type: 'remove-member'; readonly memberId: string }
  | { readonly type: 'issue-key'; readonly memberId: string; readonly key: NewKey }
  | { readonly type: 'revoke-key'; readonly keyId: string };

export const projectDecider: Decider<ProjectState, ProjectCommand, ProjectEvent> = {
  fold: 'project:3',
  initialState: { status: 'missing' },

  decide(project, command) {
    if (command.type === 'create') {
      if (project.status !== 'missing') {
        throw new LedgerError(
          'project-exists',
          `The project '${command.projectId}' already exists: choose another id.`,
        );
      }
      const { projectId, name, createdAt, owner } = command;
      return [
        { type: 'ProjectCreated', data: { projectId, name, createdAt } },
        {
          type: 'MemberAdded',
          data: { memberId: owner.memberId, name: owner.name, role: 'owner' },
        },
        keyIssued('mem', owner.memberId, owner.key),
      ];
    }
    if (project.status === 'missing') throw notFound();
    switch (command.type) {
      case 'add-member': {
        const { memberId, name, role } = command;
        // A repeated command does not bring a member back that was removed since.
        if (own(project.keys, command.key.keyId) !== undefined) return [];
        return [
          { type: 'MemberAdded', data: { memberId, name, role } },
          keyIssued('mem', memberId, command.key),
        ];
      }
      case 'remove-member': {
        const { memberId } = command;
        const member = own(project.members, memberId);
        if (member === undefined) throw notFound();
        const { [memberId]: _removed, ...members } = project.members;
        if (member.role === 'owner') refuseWithoutOwner({ ...project, members });
        return [{ type: 'MemberRemoved', data: { memberId } }];
      }
      case 'issue-key':
        if (own(project.members, command.memberId) === undefined) throw notFound();
        return issueKey('mem', project.keys, command.memberId, command.key);
      case 'revoke-key': {
        const revoked = revokeKey('mem', project.keys, command.keyId);
        const [holder] = revoked.map(({ data }) => own(project.members, data.holder));
        if (holder?.role === 'owner') {
          const keys = revoked.reduce(foldKey, project.keys);
          refuseWithoutOwner({ ...project, keys });
        }
        return revoked;
      }
    }
  },

  evolve(project, event) {
    if (project.status === 'missing') return { status: 'created', members: {}, keys: {} };
    switch (event.type) {
      case 'ProjectCreated':
        return project;
      case 'MemberAdded': {
        const { memberId, role } = event.data;
        return { ...project, members: { ...project.members, [memberId]: { role } } };
      }
      case 'MemberRemoved': {
        const { [event.data.memberId]: _removed, ...members } = project.members;
        return { ...project, members };
      }
      case 'KeyIssued':
      case 'KeyRevoked':
        return { ...project, keys: foldKey(project.keys, event) };
    }
  },

  sizeOf: (project) =>
    project.status === 'missing'
      ? 0
      : 100 * Object.keys(project.members).length + sizeOfKeys(project),
};

/** Nobody could issue a key to anybody in a project that no owner has a key of. */
function refuseWithoutOwner({
  members,
  keys,
}: Omit<Extract<ProjectState, { status: 'created' }>, 'status'>): void {
  const isOwned = Object.values(keys).some(
    ({ holder, isRevoked }) => !isRevoked && own(members, holder)?.role === 'owner',
  );
  if (isOwned) return;
  throw new LedgerError(
    'last-owner',
    'A project needs an owner with a key: add another owner, or issue another key, first.',
  );
}

export function projectStream(projectId: string): StreamName {
  return streamName('project', projectId, 'project');
}
