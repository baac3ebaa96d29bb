import { parseStreamName } from '../event-store/stream-name.ts';
import type { Position, RecordedEvent } from '../event-store/port.ts';
import { isForOwners, publishedData, publishedDomain, type Domain } from '../events/published.ts';
import { domainEvent } from '../events/registry.ts';
import type { JsonObject } from '../shared/json.ts';

/**
 * An event of the log as followers pass it on: what clients are shown, and what filters look at.
 */
export interface Entry {
  readonly position: Position;
  readonly projectId: string;
  readonly domain: Domain;
  readonly type: string;
  /** Only owners are shown it. */
  readonly isForOwners: boolean;
  /** The data of the event in its present version, with what clients are not shown. */
  readonly data: JsonObject;
  /** The answer for clients, but for its position. */
  readonly shown: JsonObject;
}

/** Followers get the same event, which is turned into an entry once for all of them. */
const entries = new WeakMap<RecordedEvent, Entry | null>();

/**
 * The entry of an event; undefined for an event that no client is shown.
 * @throws LedgerError `newer-event-version`
 */
export function entryOf(recorded: RecordedEvent): Entry | undefined {
  let entry = entries.get(recorded);
  if (entry === undefined) {
    entry = toEntry(recorded) ?? null;
    entries.set(recorded, entry);
  }
  return entry ?? undefined;
}

function toEntry(recorded: RecordedEvent): Entry | undefined {
  const { type, stream, position, metadata } = recorded;
  const domain = publishedDomain(type);
  const parsed = parseStreamName(stream);
  if (domain === undefined || parsed === undefined) return undefined;
  const { data } = domainEvent(recorded);
  return {
    position,
    projectId: parsed.projectId,
    domain,
    type,
    isForOwners: isForOwners(type, data),
    data,
    shown: {
      event_id: recorded.id,
      type,
      domain,
      stream,
      revision: Number(recorded.revision),
      subject: subjectOf(data, parsed),
      occurred_at: metadata.occurredAt ?? null,
      recorded_at: recorded.recordedAt.toISOString(),
      actor: metadata.actor,
      data: publishedData(type, data),
    },
  };
}

/** What names the subject of an event in its data, and the collection of the API that holds it. */
const SUBJECTS = [
  ['sensorId', 'sensors'],
  ['deviceId', 'devices'],
  ['devEui', 'deveuis'],
  ['batchId', 'batches'],
  ['memberId', 'members'],
  ['webhookId', 'webhooks'],
  ['projection', 'admin/projections'],
] as const;
const HOLDERS: Readonly<Record<string, string>> = { dev: 'devices', mem: 'members', adm: 'keys' };

/**
 * What an event is about, as a path below `/api/v1`: `sensors/pump-1`, `devices/d7`, `batches/…`. A
 * key is its holder's, and what names nothing else is about its project.
 */
function subjectOf(data: JsonObject, { category, projectId }: ParsedStream): string {
  const { holder, kind } = data;
  if (typeof holder === 'string' && typeof kind === 'string') {
    return `${HOLDERS[kind] ?? 'keys'}/${pathPart(holder)}`;
  }
  const { deviceId } = data;
  // A device names its links in its own events.
  if (category === 'device' && typeof deviceId === 'string') return `devices/${pathPart(deviceId)}`;
  for (const [member, collection] of SUBJECTS) {
    const id = data[member];
    if (typeof id === 'string') return `${collection}/${pathPart(id)}`;
  }
  const { simCardId } = data;
  return typeof simCardId === 'string' ? `simcard/${pathPart(simCardId)}` : `projects/${projectId}`;
}

/** Ids may hold halves of surrogate pairs, which no URL can. */
function pathPart(id: string): string {
  return encodeURIComponent(id.toWellFormed());
}

interface ParsedStream {
  readonly category: string;
  readonly projectId: string;
}
