import type { EventStore, NewEvent, RecordedEvent } from '../../event-store/port.ts';
import { streamName, type StreamName } from '../../event-store/stream-name.ts';
import { nameBasedId } from '../../shared/ids.ts';
import { appendOnce } from '../core/append.ts';
import { envelope, type CommandContext, type CommandIdentity } from '../core/context.ts';

/** Turns a message's identity into a UUID (RFC 9562, version 5). */
const MESSAGE_NAMESPACE = '5f0e7b0a-95a4-4c53-9d0e-7a3b8f1c6d21';

export interface MessageClaim {
  /** The identity of the patch that the message carries. */
  readonly identity: CommandIdentity;
  /** Made by this very request, now or when it ran before: a patch found there is its own. */
  readonly isOwn: boolean;
}

interface Message {
  readonly sensorId: string;
  readonly messageId: string;
  /** Undefined before any strategy was set that forgets. */
  readonly memory?: string | undefined;
}

/**
 * Claims a message id, for a sensor that goes by them. The first claim takes the stream of that id;
 * a later one is refused by the log, and learns from the first where the patch must stand, if it
 * was ever written: between claim and patch a process may die, and the redelivery then writes it.
 */
export async function claimMessage(
  store: EventStore,
  message: Message,
  sensorRevision: bigint | 'no-stream',
  context: CommandContext,
): Promise<MessageClaim> {
  const { sensorId, messageId, memory } = message;
  const stream =
    memory === undefined
      ? streamName('message', context.projectId, sensorId, messageId)
      : streamName('message', context.projectId, sensorId, messageId, memory);
  const id = nameBasedId(MESSAGE_NAMESPACE, stream);
  const claim = claimEvent(stream, message, sensorRevision, context);
  const write = { stream, expectedRevision: 'no-stream', events: [claim] } as const;
  const claimed = await appendOnce(store, write);
  if (claimed.outcome === 'appended') {
    const isOwn = context.identity !== undefined;
    return { identity: { id, reservedAt: claimed.position }, isOwn };
  }
  return { identity: claimedBy(claimed.first, id), isOwn: false };
}

function claimEvent(
  stream: StreamName,
  { sensorId, messageId }: Message,
  sensorRevision: bigint | 'no-stream',
  { projectId, actor, correlationId, identity }: CommandContext,
): NewEvent {
  const revision = sensorRevision === 'no-stream' ? null : sensorRevision.toString();
  return envelope(
    { type: 'MessageClaimed', data: { sensorId, messageId, sensorRevision: revision } },
    { projectId, actor, correlationId, ...(identity && { identity }) },
    // A request that is repeated repeats its claim, and is answered as the first time.
    identity && nameBasedId(identity.id, `${identity.ordinal ?? 0}:${stream}`),
  );
}

function claimedBy(first: RecordedEvent, id: string): CommandIdentity {
  const revision = first.data['sensorRevision'];
  return {
    id,
    reservedAt: first.position,
    reservedAtRevision: typeof revision === 'string' ? BigInt(revision) : 'no-stream',
  };
}
