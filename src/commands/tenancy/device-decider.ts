import type { DeviceEvent, DeviceLinks, LinkClaims, LinkKind } from '../../events/tenancy.ts';
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

export const LINK_KINDS: readonly LinkKind[] = ['devEui', 'simCardId', 'sensorId'];

/**
 * A device in one project. `leaving`: on its way to another project, which has not received it for
 * sure; `transferred`: received there.
 */
export type DeviceState = DeviceMemory &
  (
    | { readonly status: 'missing' }
    | (RegisteredDevice & { readonly status: 'active' | 'retired' })
    | (RegisteredDevice & {
        readonly status: 'leaving';
        readonly to: string;
        /** Undefined for one that an earlier release began. */
        readonly transferId: string | undefined;
      })
    | (RegisteredDevice & { readonly status: 'transferred'; readonly to: string })
  );

/** What outlives the device, and may come before it. */
interface DeviceMemory {
  /** What became here of each transfer that was to bring it. */
  readonly transfers: Readonly<Record<string, 'received' | 'refused'>>;
  /** The last claim of each value that was used here, or may be used no more, by `linkName`. */
  readonly settledClaims: Readonly<Record<string, number>>;
}

interface RegisteredDevice {
  readonly links: DeviceLinks;
  readonly createdAt: string;
  readonly keys: KeySet;
  /** The project that it came from; null for one that was registered here. */
  readonly from: string | null;
}

/**
 * The claims by which links are set; without them (a tool, an earlier release) they are not
 * checked.
 */
interface WithClaims {
  readonly claims?: LinkClaims;
}

export type DeviceCommand =
  | ({
      readonly type: 'register';
      readonly deviceId: string;
      readonly links: DeviceLinks;
      readonly createdAt: string;
      readonly key: NewKey;
    } & WithClaims)
  | ({
      readonly type: 'change';
      readonly deviceId: string;
      readonly links: Partial<DeviceLinks>;
    } & WithClaims)
  | { readonly type: 'retire'; readonly deviceId: string }
  /** Another device claims a value, and this one may use an older claim of it no more. */
  | {
      readonly type: 'void-claim';
      readonly deviceId: string;
      readonly kind: LinkKind;
      readonly value: string;
      readonly claim: number;
    }
  /** It comes from another project, with the keys that it has. Recorded either way. */
  | ({
      readonly type: 'receive';
      readonly deviceId: string;
      readonly links: DeviceLinks;
      readonly createdAt: string;
      readonly from: string;
      readonly transferId: string | undefined;
      readonly keys: readonly NewKey[];
    } & WithClaims)
  /** It is not to be received here, unless it has been. */
  | {
      readonly type: 'refuse-transfer';
      readonly deviceId: string;
      readonly from: string;
      readonly transferId: string;
    }
  | {
      readonly type: 'start-transfer';
      readonly deviceId: string;
      readonly to: string;
      readonly transferId: string;
    }
  /** The other project has refused the device (cancel), or has received it (finish). */
  | {
      readonly type: 'cancel-transfer' | 'finish-transfer';
      readonly deviceId: string;
      /** Undefined for a transfer that an earlier release began. A later transfer is not ended. */
      readonly transferId: string | undefined;
    }
  | { readonly type: 'issue-key'; readonly deviceId: string; readonly key: NewKey }
  | { readonly type: 'revoke-key'; readonly deviceId: string; readonly keyId: string };

/** A claim of a link was taken over by another device before it was used. */
export class ClaimLostError extends LedgerError {
  constructor() {
    super('overloaded', 'Other requests link the same device: try again in a moment.');
  }
}

export const deviceDecider: Decider<DeviceState, DeviceCommand, DeviceEvent> = {
  fold: 'device:5',
  initialState: { status: 'missing', transfers: {}, settledClaims: {} },

  decide(device, command) {
    const { deviceId } = command;
    if (command.type === 'register') {
      if (device.status !== 'missing') {
        throw new LedgerError(
          'device-exists',
          device.status === 'active'
            ? `The device '${deviceId}' already exists: choose another id, or issue a key for it.`
            : `The id '${deviceId}' belonged to a device that was retired or transferred: ` +
                'choose another id.',
        );
      }
      const { links, createdAt } = command;
      return [
        {
          type: 'DeviceRegistered',
          data: { deviceId, ...links, createdAt, ...claimsOf(device, links, command) },
        },
        keyIssued('dev', deviceId, command.key),
      ];
    }
    if (command.type === 'receive') return receive(device, command);
    if (command.type === 'refuse-transfer') return refuseTransfer(device, command);
    if (command.type === 'void-claim') return voidClaim(device, command);
    if (device.status === 'missing') throw notFound();
    switch (command.type) {
      case 'start-transfer': {
        const { to, transferId } = command;
        const isSame = 'to' in device && device.to === to;
        if (isSame) return [];
        refuseGone(device);
        return [{ type: 'DeviceTransferStarted', data: { deviceId, to, transferId } }];
      }
      case 'cancel-transfer':
        return isOn(device, command)
          ? [{ type: 'DeviceTransferCancelled', data: { deviceId } }]
          : [];
      case 'finish-transfer':
        return isOn(device, command)
          ? [{ type: 'DeviceTransferred', data: { deviceId, to: device.to } }]
          : [];
      case 'change': {
        refuseGone(device);
        const links = { ...device.links, ...command.links };
        const isSame =
          links.devEui === device.links.devEui &&
          links.simCardId === device.links.simCardId &&
          links.sensorId === device.links.sensorId;
        if (isSame) return [];
        const claims = claimsOf(device, links, command);
        return [{ type: 'DeviceChanged', data: { deviceId, ...links, ...claims } }];
      }
      case 'retire':
        if (device.status === 'retired') return [];
        refuseGone(device);
        return [{ type: 'DeviceRetired', data: { deviceId } }];
      case 'issue-key':
        refuseGone(device);
        return issueKey('dev', device.keys, deviceId, command.key);
      case 'revoke-key':
        // A key is revoked while the device leaves, too: it is then refused wherever the device is
        // received. Once it has left, its keys are revoked where it is.
        if (device.status === 'transferred') refuseGone(device);
        return revokeKey('dev', device.keys, command.keyId);
    }
  },

  evolve(before, event) {
    const device = { ...before, ...memoryAfter(before, event) };
    if (event.type === 'DeviceRegistered') {
      const from = event.data.transferredFrom ?? null;
      return {
        ...memoryOf(device),
        status: 'active',
        links: linksOf(event.data),
        createdAt: event.data.createdAt,
        keys: {},
        from,
      };
    }
    if (device.status === 'missing') return device;
    switch (event.type) {
      case 'DeviceChanged':
        return { ...device, links: linksOf(event.data) };
      case 'DeviceRetired':
        return { ...registered(device), status: 'retired' };
      case 'DeviceTransferStarted': {
        const { to, transferId } = event.data;
        return { ...registered(device), status: 'leaving', to, transferId };
      }
      case 'DeviceTransferCancelled':
        return { ...registered(device), status: 'active' };
      case 'DeviceTransferred':
        return { ...registered(device), status: 'transferred', to: event.data.to };
      case 'DeviceTransferRefused':
      case 'LinkClaimVoided':
        return device;
      case 'KeyIssued':
      case 'KeyRevoked':
        return { ...device, keys: foldKey(device.keys, event) };
    }
  },

  sizeOf: (device) =>
    100 * Object.keys({ ...device.transfers, ...device.settledClaims }).length +
    (device.status === 'missing' ? 0 : 500 + sizeOfKeys(device)),
};

/**
 * A transfer is received or refused once, and both are recorded, so that whoever runs it finds the
 * same. One without a name, of an earlier release, is known by where the device came from.
 */
function receive(
  device: DeviceState,
  command: Extract<DeviceCommand, { type: 'receive' }>,
): DeviceEvent[] {
  const { deviceId, links, createdAt, from, transferId, keys } = command;
  if (transferId !== undefined && own(device.transfers, transferId) !== undefined) return [];
  if (device.status === 'active' && device.from === from && transferId === undefined) return [];
  if (device.status !== 'missing' && device.status !== 'transferred') {
    if (transferId === undefined) throw hasAnother(deviceId);
    return [{ type: 'DeviceTransferRefused', data: { deviceId, from, transferId } }];
  }
  const data = {
    deviceId,
    ...links,
    createdAt,
    transferredFrom: from,
    ...(transferId !== undefined && { transferId }),
    ...claimsOf(device, links, command),
  };
  return [
    { type: 'DeviceRegistered', data },
    ...keys.map((key) => keyIssued('dev', deviceId, key)),
  ];
}

function refuseTransfer(
  device: DeviceState,
  { deviceId, from, transferId }: Extract<DeviceCommand, { type: 'refuse-transfer' }>,
): DeviceEvent[] {
  return own(device.transfers, transferId) === undefined
    ? [{ type: 'DeviceTransferRefused', data: { deviceId, from, transferId } }]
    : [];
}

export function hasAnother(deviceId: string): LedgerError {
  return new LedgerError(
    'device-exists',
    `The receiving project has, or had, a device '${deviceId}', and ids are never reused.`,
  );
}

/** Whether a device is on the transfer of a command. */
function isOn(
  device: DeviceState,
  { transferId }: { readonly transferId: string | undefined },
): device is Extract<DeviceState, { readonly status: 'leaving' }> {
  return device.status === 'leaving' && device.transferId === transferId;
}

/** Whether a device has this value now, and no other device of its project may. */
export function isLinked(device: DeviceState, kind: LinkKind, value: string): boolean {
  return (
    (device.status === 'active' || device.status === 'leaving') && device.links[kind] === value
  );
}

/** Whether a claim of the device was used, or may be used no more. */
export function isSettled(
  { settledClaims }: DeviceState,
  kind: LinkKind,
  value: string,
  claim: number,
): boolean {
  return (own(settledClaims, linkName(kind, value)) ?? -1) >= claim;
}

export function linkTaken(kind: LinkKind, value: string, deviceId: string): LedgerError {
  const names = { devEui: 'DevEUI', simCardId: 'SIM card', sensorId: 'sensor' };
  return new LedgerError(
    'link-taken',
    `The ${names[kind]} '${value}' is linked to the device '${deviceId}': unlink it there, ` +
      'or retire that device, first.',
    { conflicting: { kind: 'device', id: deviceId } },
  );
}

function voidClaim(
  device: DeviceState,
  { deviceId, kind, value, claim }: Extract<DeviceCommand, { type: 'void-claim' }>,
): DeviceEvent[] {
  if (isLinked(device, kind, value)) throw linkTaken(kind, value, deviceId);
  if (isSettled(device, kind, value, claim)) return [];
  return [{ type: 'LinkClaimVoided', data: { deviceId, kind, value, claim } }];
}

/** The claims of those links that are set anew, for the event that sets them. */
function claimsOf(
  device: DeviceState,
  links: DeviceLinks,
  { claims }: WithClaims,
): { readonly claims?: LinkClaims } {
  if (claims === undefined) return {};
  const used: { -readonly [Kind in LinkKind]?: number } = {};
  for (const kind of LINK_KINDS) {
    const value = links[kind];
    if (value === null || isLinked(device, kind, value)) continue;
    const claim = claims[kind];
    if (claim === undefined || isSettled(device, kind, value, claim)) throw new ClaimLostError();
    used[kind] = claim;
  }
  return Object.keys(used).length === 0 ? {} : { claims: used };
}

function memoryAfter(before: DeviceState, event: DeviceEvent): DeviceMemory {
  let { transfers, settledClaims } = before;
  const settle = (kind: LinkKind, value: string | null, claim: number): void => {
    if (value === null || isSettled({ ...before, settledClaims }, kind, value, claim)) return;
    settledClaims = { ...settledClaims, [linkName(kind, value)]: claim };
  };
  if (event.type === 'DeviceRegistered' || event.type === 'DeviceChanged') {
    const { claims = {} } = event.data;
    for (const kind of LINK_KINDS) {
      const claim = claims[kind];
      if (claim !== undefined) settle(kind, event.data[kind], claim);
    }
  }
  if (event.type === 'DeviceRegistered' && event.data.transferId !== undefined) {
    transfers = { ...transfers, [event.data.transferId]: 'received' };
  }
  if (event.type === 'LinkClaimVoided') {
    settle(event.data.kind, event.data.value, event.data.claim);
  }
  if (event.type === 'DeviceTransferRefused') {
    transfers = { ...transfers, [event.data.transferId]: 'refused' };
  }
  return { transfers, settledClaims };
}

function linkName(kind: LinkKind, value: string): string {
  return `${kind}:${value}`;
}

function memoryOf({ transfers, settledClaims }: DeviceMemory): DeviceMemory {
  return { transfers, settledClaims };
}

function registered(device: RegisteredDevice & DeviceMemory): RegisteredDevice & DeviceMemory {
  const { links, createdAt, keys, from } = device;
  return { ...memoryOf(device), links, createdAt, keys, from };
}

function refuseGone(device: Exclude<DeviceState, { status: 'missing' }>): void {
  if (device.status === 'active') return;
  if (device.status === 'retired') {
    throw new LedgerError('device-retired', 'The device is retired: register a new one.');
  }
  throw new LedgerError(
    'device-transferred',
    'The device was transferred to another project: use a key of that project.',
  );
}

function linksOf({ devEui, simCardId, sensorId }: DeviceLinks): DeviceLinks {
  return { devEui, simCardId, sensorId };
}

export function deviceStream(projectId: string, deviceId: string): StreamName {
  return streamName('device', projectId, deviceId);
}
