import { z } from 'zod';
import { defineEvent, type EventOf } from './event.ts';

export const roleSchema = z.enum(['owner', 'member', 'viewer']);
export type Role = z.infer<typeof roleSchema>;

/** Who a key belongs to. `adm`: the installation; `mem`: a member; `dev`: a device. */
export const keyKindSchema = z.enum(['adm', 'mem', 'dev']);
export type KeyKind = z.infer<typeof keyKindSchema>;

/**
 * A key was issued to a holder, in the holder's own stream, so that holder and key are one append.
 * Only the hash of the secret is ever stored.
 */
const keyIssued = defineEvent(
  'KeyIssued',
  z.object({
    keyId: z.string(),
    kind: keyKindSchema,
    holder: z.string(),
    secretHash: z.string(),
    issuedAt: z.iso.datetime(),
  }),
);
const keyRevoked = defineEvent(
  'KeyRevoked',
  z.object({ keyId: z.string(), kind: keyKindSchema, holder: z.string() }),
);

/** Stream `project-<project>.project`, with the project's members and their keys. */
const projectCreated = defineEvent(
  'ProjectCreated',
  z.object({ projectId: z.string(), name: z.string(), createdAt: z.iso.datetime() }),
);
const memberAdded = defineEvent(
  'MemberAdded',
  z.object({ memberId: z.string(), name: z.string(), role: roleSchema }),
);
const memberRemoved = defineEvent('MemberRemoved', z.object({ memberId: z.string() }));

const deviceLinks = z.object({
  devEui: z.string().nullable(),
  simCardId: z.string().nullable(),
  sensorId: z.string().nullable(),
});
export type DeviceLinks = z.infer<typeof deviceLinks>;

/** Stream `device-<project>.<device>`, with the device's keys. */
const deviceRegistered = defineEvent(
  'DeviceRegistered',
  z.object({
    deviceId: z.string(),
    ...deviceLinks.shape,
    createdAt: z.iso.datetime(),
    /** The project that it came from, with its keys. */
    transferredFrom: z.string().exactOptional(),
  }),
);
/** All links as they are from now on. */
const deviceChanged = defineEvent(
  'DeviceChanged',
  z.object({ deviceId: z.string(), ...deviceLinks.shape }),
);
const deviceRetired = defineEvent('DeviceRetired', z.object({ deviceId: z.string() }));
/**
 * It is to go to another project: from here on nothing about it changes but that, so that what is received
 * there is what it had here.
 */
const deviceTransferStarted = defineEvent(
  'DeviceTransferStarted',
  z.object({ deviceId: z.string(), to: z.string() }),
);
/** It could not be received there: it stays, as it was. */
const deviceTransferCancelled = defineEvent(
  'DeviceTransferCancelled',
  z.object({ deviceId: z.string() }),
);
/** It went on in another project; what it did until then stays here. */
const deviceTransferred = defineEvent(
  'DeviceTransferred',
  z.object({ deviceId: z.string(), to: z.string() }),
);

/**
 * A SIM belongs to an organization, or to none (`orgId` is null), from a time on until the next assignment by time.
 * `from` is null where that is from the beginning. Of two from one time, the later event counts. Stream
 * `sim-<project>.<SIM card>`. In version 1 there was always an organization.
 */
const simAssigned = defineEvent(
  'SimAssigned',
  z.object({
    simCardId: z.string(),
    orgId: z.string().nullable(),
    from: z.iso.datetime().nullable(),
  }),
  [(data) => data],
);

export const tenancyEvents = [
  keyIssued,
  keyRevoked,
  projectCreated,
  memberAdded,
  memberRemoved,
  deviceRegistered,
  deviceChanged,
  deviceRetired,
  deviceTransferStarted,
  deviceTransferCancelled,
  deviceTransferred,
  simAssigned,
] as const;

export type InstallationEvent = KeyEvent;
export type KeyEvent = EventOf<typeof keyIssued> | EventOf<typeof keyRevoked>;
export type ProjectEvent =
  | EventOf<typeof projectCreated>
  | EventOf<typeof memberAdded>
  | EventOf<typeof memberRemoved>
  | KeyEvent;
export type DeviceEvent =
  | EventOf<typeof deviceRegistered>
  | EventOf<typeof deviceChanged>
  | EventOf<typeof deviceRetired>
  | EventOf<typeof deviceTransferStarted>
  | EventOf<typeof deviceTransferCancelled>
  | EventOf<typeof deviceTransferred>
  | KeyEvent;
export type SimEvent = EventOf<typeof simAssigned>;
