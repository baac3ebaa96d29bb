import type {
  AllStreamRecordedEvent,
  EventData,
  RecordedEvent as Received,
} from '@eventstore/db-client';
import type { EventMetadata } from '../../events/event.ts';
import type { JsonObject } from '../../shared/json.ts';
import type { NewEvent, Position, RecordedEvent } from '../port.ts';
import { isStreamName, type StreamName } from '../stream-name.ts';

/** Where an event was first recorded, when it was copied from another log. */
export interface Origin {
  readonly logId: string;
  readonly position: string;
  /** The server's own time cannot be set, so `as_of` goes by this. */
  readonly recordedAt: string;
}

/** Beside what all events carry: a name that starts with `$` is none of ours otherwise. */
type WireMetadata = EventMetadata & { readonly $copiedFrom?: Origin };

/** Gives the streams of one ledger their names on the server, and back. */
export class StreamNames {
  readonly #prefix: string;
  readonly #categories: ReadonlySet<string>;

  constructor(prefix: string, categories: readonly string[]) {
    this.#prefix = prefix;
    this.#categories = new Set(categories);
  }

  /** What the names of all our streams begin with, on the server. */
  get prefixes(): string[] {
    return [...this.#categories].map((category) => `${this.#prefix}${category}-`);
  }

  onServer(name: string): string {
    return this.#prefix + name;
  }

  /** Undefined for streams of the server itself, of other ledgers, and of other applications. */
  ours(onServer: string): StreamName | undefined {
    if (!onServer.startsWith(this.#prefix)) return undefined;
    const name = onServer.slice(this.#prefix.length);
    const category = name.slice(0, Math.max(0, name.indexOf('-')));
    return this.#categories.has(category) && isStreamName(name) ? name : undefined;
  }
}

export function eventData({ id, type, data, metadata }: NewEvent): EventData {
  return { id, type, contentType: 'application/json', data, metadata: { ...metadata } };
}

/** The event as its copy is appended. */
export function withOrigin(event: RecordedEvent, logId: string): NewEvent {
  const { id, type, data, position, recordedAt } = event;
  const origin: Origin = {
    logId,
    position: position.toString(),
    recordedAt: recordedAt.toISOString(),
  };
  const metadata: WireMetadata = { ...event.metadata, $copiedFrom: origin };
  return { id, type, data, metadata };
}

/**
 * The position of an event: the server has two numbers for it, which are the same for every event
 * that is appended by gRPC.
 */
export function positionOf({ position }: Received | AllStreamRecordedEvent): Position {
  if (position === undefined) throw new Error('the server gave an event without its position');
  return position.commit as Position;
}

/** Undefined for what somebody else put into a stream of ours: it has not our metadata. */
export function recordedEvent(stream: StreamName, received: Received): RecordedEvent | undefined {
  const wireMetadata: unknown = received.metadata;
  if (!received.isJson || !isWireMetadata(wireMetadata)) return undefined;
  const { $copiedFrom: _origin, ...metadata } = wireMetadata;
  return {
    id: received.id,
    type: received.type,
    data: received.data as JsonObject,
    metadata,
    stream,
    revision: received.revision,
    position: positionOf(received),
    recordedAt: eventTime(received),
  };
}

/** When it was recorded: of a copied event, for the first time. */
export function eventTime(received: Received): Date {
  const origin = originOf(received);
  return origin === undefined ? received.created : new Date(origin.recordedAt);
}

export function originOf({ metadata }: Received): Origin | undefined {
  return isWireMetadata(metadata) ? metadata.$copiedFrom : undefined;
}

function isWireMetadata(metadata: unknown): metadata is WireMetadata {
  return typeof metadata === 'object' && metadata !== null && 'projectId' in metadata;
}
