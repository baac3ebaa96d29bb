import { z } from 'zod';
import { defineContract, defineEvent, type EventOf } from './event.ts';

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

/** What of its project a device has for itself alone. */
const linkKind = z.enum(['devEui', 'simCardId', 'sensorId']);
export type LinkKind = z.infer<typeof linkKind>;

/**
 * The claims by which links were set: the revision of a `LinkClaimed` for each that was set anew.
 */
const linkClaims = z.object({
  devEui: z.number().exactOptional(),
  simCardId: z.number().exactOptional(),
  sensorId: z.number().exactOptional(),
});
export type LinkClaims = z.infer<typeof linkClaims>;

/**
 * A device claims a DevEUI, SIM card or sensor, in the stream of that:
 * `link-<project>.<kind>/<value>`. The last claim counts, for as long as the device has the value.
 */
const linkClaimed = defineEvent(
  'LinkClaimed',
  z.object({ kind: linkKind, value: z.string(), deviceId: z.string() }),
);

/**
 * In the stream of a device: it did not use that claim, nor older ones of the same value, and may
 * not any more, since another device claims the value.
 */
const linkClaimVoided = defineEvent(
  'LinkClaimVoided',
  z.object({ deviceId: z.string(), kind: linkKind, value: z.string(), claim: z.number() }),
);

/** Stream `device-<project>.<device>`, with the device's keys. */
const deviceRegistered = defineEvent(
  'DeviceRegistered',
  z.object({
    deviceId: z.string(),
    ...deviceLinks.shape,
    createdAt: z.iso.datetime(),
    /** The project that it came from, with its keys. */
    transferredFrom: z.string().exactOptional(),
    transferId: z.string().exactOptional(),
    claims: linkClaims.exactOptional(),
  }),
);
/** All links as they are from now on. */
const deviceChanged = defineEvent(
  'DeviceChanged',
  z.object({ deviceId: z.string(), ...deviceLinks.shape, claims: linkClaims.exactOptional() }),
);
const deviceRetired = defineEvent('DeviceRetired', z.object({ deviceId: z.string() }));
/**
 * It is to go to another project: from here on nothing about it changes but that, so that what is
 * received there is what it had here.
 */
const deviceTransferStarted = defineEvent(
  'DeviceTransferStarted',
  z.object({
    deviceId: z.string(),
    to: z.string(),
    /** The name of the transfer in both projects. Earlier releases gave none. */
    transferId: z.string().exactOptional(),
  }),
);
/** In the project that it was to go to: it is not received there by that transfer. */
const deviceTransferRefused = defineEvent(
  'DeviceTransferRefused',
  z.object({ deviceId: z.string(), from: z.string(), transferId: z.string() }),
);
/** It could not be received there: it stays, as it was. */
const deviceTransferCancelled = defineEvent(
  'DeviceTransferCancelled',
  z.object({ deviceId: z.string() }),
);
/** It is in another project from now on; what it did until then stays here. */
const deviceTransferred = defineEvent(
  'DeviceTransferred',
  z.object({ deviceId: z.string(), to: z.string() }),
);

/**
 * The key of a device authenticated a request, and nothing else that tells so was recorded within
 * the last minutes. Stream `seen-<project>.<device>/<slot>`: one for each slot of five minutes,
 * whatever process saw it.
 */
const deviceSeen = defineEvent('DeviceSeen', z.object({ deviceId: z.string() }));

/**
 * A SIM belongs to an organization, or to none (`orgId` is null), from a time on until the next
 * assignment by time. `from` is null where that is from the beginning. Of two from one time, the
 * later event counts. Stream `sim-<project>.<SIM card>`. In version 1 there was always an
 * organization.
 */
const simAssigned = defineEvent(
  'SimAssigned',
  z.object({
    simCardId: z.string(),
    orgId: z.string().nullable(),
    from: z.iso.datetime().nullable(),
    /**
     * From when it is recorded: `from` is read as the log's own time, whatever the clock of a
     * process said.
     */
    isFromRecording: z.boolean().exactOptional(),
  }),
  [(data) => data],
  (data, recordedAt) =>
    data['isFromRecording'] === true ? { ...data, from: recordedAt.toISOString() } : data,
);

export const tenancyContract = defineContract({
  categories: ['device', 'installation', 'link', 'project', 'seen', 'sim'],
  events: [
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
    deviceTransferRefused,
    deviceTransferred,
    linkClaimed,
    linkClaimVoided,
    deviceSeen,
    simAssigned,
  ],
});

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
  | EventOf<typeof deviceTransferRefused>
  | EventOf<typeof deviceTransferred>
  | EventOf<typeof linkClaimVoided>
  | KeyEvent;
export type DeviceSeenEvent = EventOf<typeof deviceSeen>;
export type SimEvent = EventOf<typeof simAssigned>;
