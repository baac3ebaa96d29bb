import type { RequestEvent } from '../../events/requests.ts';
import type { EventStore, NewEvent, Position, RecordedEvent } from '../../event-store/port.ts';
import { parsePosition } from '../../event-store/position-text.ts';
import { LedgerError } from '../../shared/errors.ts';
import { newEventId } from '../../shared/ids.ts';
import type { Json } from '../../shared/json.ts';
import { envelope, type EventContext } from './context.ts';

/** Whose request it is, for the metadata of its events. */
export type RequestOrigin = Pick<EventContext, 'projectId' | 'actor' | 'correlationId'>;

/** An event in the stream of a request, which has no cause of its own. */
export function requestEvent(
  { projectId, actor, correlationId }: RequestOrigin,
  event: RequestEvent,
): NewEvent {
  return envelope(event, { projectId, actor, correlationId });
}

/** @throws LedgerError `idempotency-key-reused` */
export function refuseOther(first: string, second: string): void {
  if (first === second) return;
  throw new LedgerError(
    'idempotency-key-reused',
    'This Idempotency-Key was sent with another request: use a new one for each request.',
  );
}

/** In characters: of up to 3 bytes, and twice as many where all have to be escaped. */
const BODY_PART_LENGTH = 100_000;

export interface KeptApart {
  readonly id: string;
  /** To be appended one by one: together they may be larger than an append. */
  readonly parts: readonly NewEvent[];
}

/** A value that is too large for the event it belongs to, as events that hold its text. */
export function apartIfLarge(origin: RequestOrigin, value: Json): KeptApart | undefined {
  const text = JSON.stringify(value);
  if (text.length <= BODY_PART_LENGTH) return undefined;
  const id = newEventId();
  const parts: NewEvent[] = [];
  for (let from = 0; from < text.length; from += BODY_PART_LENGTH) {
    const part = text.slice(from, from + BODY_PART_LENGTH);
    const data = { bodyId: id, text: part };
    parts.push(requestEvent(origin, { type: 'RequestBodyPartKept', data }));
  }
  return { id, parts };
}

/** Puts together what `apartIfLarge` took apart. Parts of several values may stand in any order. */
export class PartsOfValues {
  readonly #texts = new Map<string, string>();

  add({ bodyId, text }: { readonly bodyId: string; readonly text: string }): void {
    this.#texts.set(bodyId, (this.#texts.get(bodyId) ?? '') + text);
  }

  value(id: string | undefined): Json | undefined {
    const text = id === undefined ? undefined : this.#texts.get(id);
    return text === undefined ? undefined : (JSON.parse(text) as Json);
  }

  forget(): void {
    this.#texts.clear();
  }
}

/**
 * A kept position, or, where the log was moved since, one of this log that is after its effects.
 */
export function positionHere(
  { logId }: EventStore,
  kept: string | null,
  recorded: RecordedEvent,
): Position | null {
  if (kept === null) return null;
  return kept.startsWith(`${logId}-`) ? parsePosition(logId, kept) : recorded.position;
}
