import type {
  DeviceEvent,
  DeviceLinks,
  InstallationEvent,
  ProjectEvent,
  Role,
} from '../events/tenancy.ts';
import { roleSchema } from '../events/tenancy.ts';
import { INSTALLATION_PROJECT, streamName, type StreamName } from '../event-store/stream-name.ts';
import { LedgerError } from '../shared/errors.ts';
import type { Decider } from './decider.ts';
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

export { INSTALLATION_PROJECT, roleSchema };
export type { DeviceLinks };

export type { NewKey };

// --- The installation: its admin keys -----------------------------------------------------------

export interface InstallationState {
  readonly keys: KeySet;
}

export type InstallationCommand =
  | { readonly type: 'issue-key'; readonly key: NewKey }
  /** Only when there has never been one, so that a first start on two machines issues one key. */
  | { readonly type: 'issue-first-key'; readonly key: NewKey }
  | { readonly type: 'revoke-key'; readonly keyId: string };

const INSTALLATION = 'installation';

export const installationDecider: Decider<
  InstallationState,
  InstallationCommand,
  InstallationEvent
> = {
  fold: 'installation:2',
  initialState: { keys: {} },
  decide({ keys }, command) {
    switch (command.type) {
      case 'issue-first-key':
        if (Object.keys(keys).length > 0) return [];
        return [keyIssued('adm', INSTALLATION, command.key)];
      case 'issue-key':
        return issueKey('adm', keys, INSTALLATION, command.key);
      case 'revoke-key':
        return revokeKey('adm', keys, command.keyId);
    }
  },
  evolve: (state, event) => ({ keys: foldKey(state.keys, event) }),
  sizeOf: sizeOfKeys,
};

// --- A project: its members and their keys ------------------------------------------------------

export type ProjectState =
  | { readonly situation: 'missing' }
  | {
      readonly situation: 'created';
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
  fold: 'project:2',
  initialState: { situation: 'missing' },

  decide(project, command) {
    if (command.type === 'create') {
      if (project.situation !== 'missing') {
        throw new LedgerError(
          'project-exists',
          `There is a project '${command.projectId}' already: choose another id.`,
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
    if (project.situation === 'missing') throw notFound();
    switch (command.type) {
      case 'add-member': {
        const { memberId, name, role } = command;
        // Also when the member is gone: a repeated command does not bring it back.
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
    if (project.situation === 'missing') return { situation: 'created', members: {}, keys: {} };
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
    project.situation === 'missing'
      ? 0
      : 100 * Object.keys(project.members).length + sizeOfKeys(project),
};

/** Nobody could issue a key to anybody in a project that no owner has a key of. */
function refuseWithoutOwner({
  members,
  keys,
}: Omit<Extract<ProjectState, { situation: 'created' }>, 'situation'>): void {
  const isOwned = Object.values(keys).some(
    ({ holder, isRevoked }) => !isRevoked && own(members, holder)?.role === 'owner',
  );
  if (isOwned) return;
  throw new LedgerError(
    'last-owner',
    'A project keeps an owner who has a key: add another owner, or issue another key, first.',
  );
}

// --- A device: its links and its keys -----------------------------------------------------------

export type DeviceState =
  | { readonly situation: 'missing' }
  | (RegisteredDevice & { readonly situation: 'active' | 'retired' })
  /** On its way to another project, or there. */
  | (RegisteredDevice & { readonly situation: 'leaving' | 'transferred'; readonly to: string });

interface RegisteredDevice {
  readonly links: DeviceLinks;
  readonly keys: KeySet;
  /** The project that it came from; null for one that was registered here. */
  readonly from: string | null;
}

export type DeviceCommand =
  | {
      readonly type: 'register';
      readonly deviceId: string;
      readonly links: DeviceLinks;
      readonly createdAt: string;
      readonly key: NewKey;
    }
  | { readonly type: 'change'; readonly deviceId: string; readonly links: Partial<DeviceLinks> }
  | { readonly type: 'retire'; readonly deviceId: string }
  /** It comes from another project, with the keys that it has. */
  | {
      readonly type: 'receive';
      readonly deviceId: string;
      readonly links: DeviceLinks;
      readonly createdAt: string;
      readonly from: string;
      readonly keys: readonly NewKey[];
    }
  | { readonly type: 'start-transfer'; readonly deviceId: string; readonly to: string }
  /** It cannot be received there. */
  | { readonly type: 'cancel-transfer'; readonly deviceId: string }
  /** It has been received there. */
  | { readonly type: 'finish-transfer'; readonly deviceId: string }
  | { readonly type: 'issue-key'; readonly deviceId: string; readonly key: NewKey }
  | { readonly type: 'revoke-key'; readonly deviceId: string; readonly keyId: string };

export const deviceDecider: Decider<DeviceState, DeviceCommand, DeviceEvent> = {
  fold: 'device:2',
  initialState: { situation: 'missing' },

  decide(device, command) {
    const { deviceId } = command;
    if (command.type === 'register') {
      if (device.situation !== 'missing') {
        throw new LedgerError(
          'device-exists',
          device.situation === 'active'
            ? `There is a device '${deviceId}' already: choose another id, or issue a key for it.`
            : `There was a device '${deviceId}' before, and its history remains: choose another id.`,
        );
      }
      const { links, createdAt } = command;
      return [
        { type: 'DeviceRegistered', data: { deviceId, ...links, createdAt } },
        keyIssued('dev', deviceId, command.key),
      ];
    }
    if (command.type === 'receive') return receive(device, command);
    if (device.situation === 'missing') throw notFound();
    switch (command.type) {
      case 'start-transfer': {
        const { to } = command;
        const isSame = 'to' in device && device.to === to;
        if (isSame) return [];
        refuseGone(device);
        return [{ type: 'DeviceTransferStarted', data: { deviceId, to } }];
      }
      case 'cancel-transfer':
        return device.situation === 'leaving'
          ? [{ type: 'DeviceTransferCancelled', data: { deviceId } }]
          : [];
      case 'finish-transfer':
        return device.situation === 'leaving'
          ? [{ type: 'DeviceTransferred', data: { deviceId, to: device.to } }]
          : [];
      case 'change': {
        refuseGone(device);
        const links = { ...device.links, ...command.links };
        const isSame =
          links.devEui === device.links.devEui &&
          links.simCardId === device.links.simCardId &&
          links.sensorId === device.links.sensorId;
        return isSame ? [] : [{ type: 'DeviceChanged', data: { deviceId, ...links } }];
      }
      case 'retire':
        if (device.situation === 'retired') return [];
        refuseGone(device);
        return [{ type: 'DeviceRetired', data: { deviceId } }];
      case 'issue-key':
        refuseGone(device);
        return issueKey('dev', device.keys, deviceId, command.key);
      case 'revoke-key':
        // Its keys go with it: there they are revoked.
        if (device.situation !== 'retired') refuseGone(device);
        return revokeKey('dev', device.keys, command.keyId);
    }
  },

  evolve(device, event) {
    switch (event.type) {
      case 'DeviceRegistered':
        return {
          situation: 'active',
          links: linksOf(event.data),
          keys: {},
          from: event.data.transferredFrom ?? null,
        };
      case 'DeviceChanged':
        return device.situation === 'missing' ? device : { ...device, links: linksOf(event.data) };
      case 'DeviceRetired':
        return device.situation === 'missing'
          ? device
          : { ...registered(device), situation: 'retired' };
      case 'DeviceTransferStarted':
        return device.situation === 'missing'
          ? device
          : { ...registered(device), situation: 'leaving', to: event.data.to };
      case 'DeviceTransferCancelled':
        return device.situation === 'missing'
          ? device
          : { ...registered(device), situation: 'active' };
      case 'DeviceTransferred':
        return device.situation === 'missing'
          ? device
          : { ...registered(device), situation: 'transferred', to: event.data.to };
      case 'KeyIssued':
      case 'KeyRevoked':
        return device.situation === 'missing'
          ? device
          : { ...device, keys: foldKey(device.keys, event) };
    }
  },

  sizeOf: (device) => (device.situation === 'missing' ? 0 : 500 + sizeOfKeys(device)),
};

/** Twice is once; and it takes no place that another device has, or had. */
function receive(
  device: DeviceState,
  { deviceId, links, createdAt, from, keys }: Extract<DeviceCommand, { type: 'receive' }>,
): DeviceEvent[] {
  if (device.situation === 'active' && device.from === from) return [];
  if (device.situation !== 'missing' && device.situation !== 'transferred') {
    throw new LedgerError(
      'device-exists',
      `There is, or was, a device '${deviceId}' in that project: it cannot be received there.`,
    );
  }
  const data = { deviceId, ...links, createdAt, transferredFrom: from };
  return [
    { type: 'DeviceRegistered', data },
    ...keys.map((key) => keyIssued('dev', deviceId, key)),
  ];
}

function registered({ links, keys, from }: RegisteredDevice): RegisteredDevice {
  return { links, keys, from };
}

function refuseGone(device: Exclude<DeviceState, { situation: 'missing' }>): void {
  if (device.situation === 'active') return;
  if (device.situation === 'retired') {
    throw new LedgerError('device-retired', 'The device is retired: register a new one.');
  }
  throw new LedgerError('device-transferred', 'The device goes to another project: ask there.');
}

function linksOf({ devEui, simCardId, sensorId }: DeviceLinks): DeviceLinks {
  return { devEui, simCardId, sensorId };
}

// --- Streams ------------------------------------------------------------------------------------

export function installationStream(): StreamName {
  return streamName('installation', INSTALLATION_PROJECT, INSTALLATION);
}

export function projectStream(projectId: string): StreamName {
  return streamName('project', projectId, 'project');
}

export function deviceStream(projectId: string, deviceId: string): StreamName {
  return streamName('device', projectId, deviceId);
}
