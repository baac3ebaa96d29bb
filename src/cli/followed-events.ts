import { createParser, type EventSourceMessage } from 'eventsource-parser';
import type { JsonObject } from '../shared/json.ts';

/** What the command shows of an event; the rest is printed as it came. */
export interface FollowedEvent {
  readonly recorded_at: string;
  readonly type: string;
  readonly domain: string;
  readonly subject: string;
  readonly data: JsonObject;
}

interface FollowedMessage {
  /** The position that was reached. */
  readonly id?: string | undefined;
  readonly event?: FollowedEvent;
  /** After how long the server wants to be asked again, in milliseconds. */
  readonly retryMs?: number;
}

/** The service refuses the request, and will refuse it again. */
export class FollowRefusedError extends Error {
  override readonly name = 'FollowRefusedError';
}

/** A service sends a comment every 15 seconds: silence for longer is a lost connection. */
const SILENCE_MS = 45_000;

/**
 * One connection to an event stream, until it ends.
 * @throws FollowRefusedError; other errors when the connection is lost, after which the client
 * resumes
 */
export async function* followEvents({
  address,
  key,
  lastEventId,
  signal,
}: {
  readonly address: URL;
  readonly key: string;
  readonly lastEventId: string | undefined;
  readonly signal: AbortSignal;
}): AsyncGenerator<FollowedMessage, void, undefined> {
  const silence = new AbortController();
  const timer = setTimeout(() => silence.abort(new Error('the service is silent')), SILENCE_MS);
  try {
    const response = await fetch(address, {
      headers: {
        accept: 'text/event-stream',
        authorization: `Bearer ${key}`,
        ...(lastEventId !== undefined && { 'last-event-id': lastEventId }),
      },
      signal: AbortSignal.any([signal, silence.signal]),
    });
    await requireOk(response);
    const messages: FollowedMessage[] = [];
    const parser = createParser({
      onEvent: (message) => messages.push(messageOf(message)),
      onRetry: (retryMs) => messages.push({ retryMs }),
    });
    yield { id: response.headers.get('fleetledger-position') ?? undefined };
    const decoder = new TextDecoder();
    // Node reads it by iteration, which the types of the standard library do not know.
    for await (const bytes of (response.body ?? []) as AsyncIterable<Uint8Array>) {
      timer.refresh();
      parser.feed(decoder.decode(bytes, { stream: true }));
      yield* messages.splice(0);
    }
  } finally {
    clearTimeout(timer);
  }
}

function messageOf({ id, data }: EventSourceMessage): FollowedMessage {
  return { id, event: JSON.parse(data) as FollowedEvent };
}

/** @throws FollowRefusedError; Error for what another attempt may get past */
async function requireOk(response: Response): Promise<void> {
  if (response.ok) return;
  const text = await response.text();
  const detail = /"detail":("(?:[^"\\]|\\.)*")/.exec(text)?.[1];
  const reason = detail === undefined ? text.trim() : (JSON.parse(detail) as string);
  const message = `${response.url} answers ${response.status}: ${reason}`;
  if (response.status >= 500 || response.status === 429) throw new Error(message);
  throw new FollowRefusedError(message);
}
