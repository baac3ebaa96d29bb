import type { JsonObject } from '../shared/json.ts';
import { domainContracts, platformContracts } from './registry.ts';

/** Whose events clients are shown: in timelines, event streams and webhooks. */
const CONTRACTS = { ...domainContracts, projections: platformContracts.projections };

export type Domain = keyof typeof CONTRACTS;

export const publishedDomains = Object.keys(CONTRACTS) as Domain[];

/**
 * Events that only keep something unique, or tell of a device of another project under an id that a
 * device of this project may have. No client is shown them, and neither are those of requests.
 */
const INTERNAL: ReadonlySet<string> = new Set([
  'LinkClaimed',
  'LinkClaimVoided',
  'DeviceTransferRefused',
  'MessageClaimed',
]);

/**
 * Members of event data that no client is shown: hashes and seeds of secrets, what belongs to
 * another project or to the installation, how the service remembers what it deduplicates, and times
 * that the entry itself has.
 */
const HIDDEN: Readonly<Record<string, readonly string[]>> = {
  KeyIssued: ['secretHash'],
  DeviceRegistered: ['transferredFrom', 'transferId', 'claims'],
  DeviceChanged: ['claims'],
  DeviceTransferStarted: ['transferId'],
  SimAssigned: ['isFromRecording'],
  BatchRequested: ['seed', 'provider'],
  BatchResumed: ['provider'],
  SensorPatched: ['memory', 'windowSeconds', 'receivedAt'],
  SensorDedupSet: ['memory'],
  ProjectDedupSet: ['memory'],
  FirmwareReported: ['reportedAt'],
  WebhookCreated: ['salt'],
  WebhookSecretRotated: ['salt'],
};

const domainOfType: ReadonlyMap<string, Domain> = new Map(
  publishedDomains.flatMap((domain) =>
    CONTRACTS[domain].types
      .filter((type) => !INTERNAL.has(type))
      .map((type) => [type, domain] as const),
  ),
);

/** The types of all events that clients may be shown. */
export const publishedTypes: readonly string[] = [...domainOfType.keys()];

/** The domain of a published type; undefined for types that no client is shown. */
export function publishedDomain(type: string): Domain | undefined {
  return domainOfType.get(type);
}

/**
 * The data of an event without what no client is shown. What was published already stays as it is.
 */
export function publishedData(type: string, data: JsonObject): JsonObject {
  const hidden = HIDDEN[type];
  if (hidden === undefined) return data;
  return Object.fromEntries(Object.entries(data).filter(([name]) => !hidden.includes(name)));
}

/**
 * Whether an event is shown to owners alone, as members, their keys and webhooks are in the API.
 */
export function isForOwners(type: string, data: JsonObject): boolean {
  if (/^(Member|Webhook)/.test(type)) return true;
  return (type === 'KeyIssued' || type === 'KeyRevoked') && data['kind'] === 'mem';
}
