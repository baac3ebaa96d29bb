import type { Position } from '../../event-store/port.ts';
import { nameBasedId } from '../../shared/ids.ts';
import type { JsonObject } from '../../shared/json.ts';
import type { Entry } from '../entry.ts';

/** One request of a webhook: some events, in the order of the log. */
export interface Message {
  /** `webhook-id`: of this webhook and these events, so the same message has the same id again. */
  readonly id: string;
  readonly body: string;
  readonly events: number;
  readonly firstPosition: Position;
  readonly lastPosition: Position;
}

export const CONTENT_TYPE = 'application/cloudevents-batch+json; charset=utf-8';

const MAX_EVENTS = 100;
/** A single event may be larger: up to what one append takes. */
const MAX_BYTES = 256 * 1024;
/** Turns what a message consists of into its id (RFC 9562, version 5). */
const MESSAGE_NAMESPACE = 'c1b7a6de-53a1-4c7e-9d0e-8f5a1f0a6b1d';

/** What names the webhook and its replay in the ids of messages: a replay sends its events anew. */
export interface MessageScope {
  readonly projectId: string;
  readonly webhookId: string;
  readonly startSeries: number;
  readonly formatPosition: (position: Position) => string;
}

/** The entries as messages, each within its limits. */
export function* messagesOf(entries: readonly Entry[], scope: MessageScope): Generator<Message> {
  let taken: Entry[] = [];
  let texts: string[] = [];
  let bytes = 0;
  for (const entry of entries) {
    const text = JSON.stringify(cloudEventOf(entry, scope));
    const size = Buffer.byteLength(text);
    if (taken.length === MAX_EVENTS || (taken.length > 0 && bytes + size > MAX_BYTES)) {
      yield messageOf(taken, texts, scope);
      taken = [];
      texts = [];
      bytes = 0;
    }
    taken.push(entry);
    texts.push(text);
    bytes += size;
  }
  if (taken.length > 0) yield messageOf(taken, texts, scope);
}

function messageOf(
  entries: readonly Entry[],
  texts: readonly string[],
  { webhookId, startSeries }: MessageScope,
): Message {
  const [first, last] = [entries[0], entries.at(-1)];
  if (first === undefined || last === undefined) throw new Error('a message has an event');
  const ids = entries.map(({ shown }) => shown['event_id']);
  return {
    id: nameBasedId(MESSAGE_NAMESPACE, JSON.stringify([webhookId, startSeries, ...ids])),
    body: `[${texts.join(',')}]`,
    events: entries.length,
    firstPosition: first.position,
    lastPosition: last.position,
  };
}

/**
 * The event in the JSON format of CloudEvents 1.0. What `GET /events` shows beside id, type,
 * subject, time and data is in extension attributes, whose names have no underscore.
 */
function cloudEventOf({ shown, position }: Entry, scope: MessageScope): JsonObject {
  const { event_id: id, type, subject, recorded_at: time, data } = shown;
  const { domain, stream, revision, actor, occurred_at: occurredAt } = shown;
  return {
    specversion: '1.0',
    id: id ?? null,
    source: `/api/v1/projects/${scope.projectId}`,
    type: type ?? null,
    subject: subject ?? null,
    time: time ?? null,
    datacontenttype: 'application/json',
    domain: domain ?? null,
    stream: stream ?? null,
    revision: revision ?? null,
    position: scope.formatPosition(position),
    actor: actor ?? null,
    ...(typeof occurredAt === 'string' && { occurredat: occurredAt }),
    data: data ?? null,
  };
}
