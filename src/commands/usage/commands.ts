import pLimit from 'p-limit';
import { usageContract, type RejectionReason, type UsageOrigin } from '../../events/usage.ts';
import type {
  Appended,
  EventStore,
  Position,
  RecordedEvent,
  Write,
} from '../../event-store/port.ts';
import { streamName, type StreamName } from '../../event-store/stream-name.ts';
import { newEventId, sha256 } from '../../shared/ids.ts';
import { isSameJson } from '../../shared/json.ts';
import { isKeepableText } from '../../shared/text.ts';
import { answeredOnce, appendOne, type OnceWrite } from '../core/append.ts';
import type { CommandParts } from '../core/command-parts.ts';
import { envelope, type CommandContext, type CommandIdentity } from '../core/context.ts';
import { KeyedQueue } from '../../shared/keyed-queue.ts';
import type { OwnName, SimUsage } from './record.ts';

/**
 * What names a record, so that whatever comes again under the same name is the same record: its own
 * name, else the message or the request that it came in; else it is new each time.
 */
export type RecordName =
  | OwnName
  | {
      readonly kind: 'message';
      /** Tells topics of one name apart; '' for the first of them. */
      readonly source: string;
      readonly topic: string;
      readonly partition: number;
      readonly offset: string;
    }
  | { readonly kind: 'request'; readonly identity: CommandIdentity }
  | { readonly kind: 'new' };

export interface UsageEntry {
  readonly usage: SimUsage;
  readonly name: RecordName;
  /** The identity of its request, if that has one: the request recognises its own work by it. */
  readonly identity?: CommandIdentity;
  readonly origin: UsageOrigin;
  /** As it came: asked for when it is refused. */
  readonly sent: () => Buffer;
}

export type RecordedUsage =
  | { readonly outcome: 'recorded'; readonly position: Position }
  /** Recorded before, under the same name. */
  | { readonly outcome: 'duplicate'; readonly position: Position }
  /** Its name stands for another record: refused, and listed. */
  | {
      readonly outcome: 'refused';
      readonly position: Position;
      readonly reason: RejectionReason;
      /** In the words that whoever sent it is told, and that the list of rejections shows. */
      readonly detail: string;
    };

interface Rejection {
  readonly reason: RejectionReason;
  readonly detail: string;
  readonly origin: UsageOrigin;
  /** As it came. */
  readonly record: Buffer;
}

export interface MessageRejection extends Rejection {
  readonly origin: Extract<UsageOrigin, { kind: 'kafka' }>;
}

type UsageContext = Pick<CommandContext, 'projectId' | 'actor' | 'correlationId'>;

/** What is beyond it is cut from a rejected record: the dead letter itself has all of it. */
const MAX_KEPT_BYTES = 8 * 1024;
/** Streams that are looked into at once, to see what a name stands for. */
const MAX_COMPARED_AT_ONCE = 32;

/**
 * Keeps usage, each record once however often it comes: its name names its stream, which takes one
 * event. There is no state to decide on, and nothing to load. Rejected: SIM and time as the name,
 * since producers send several records for one SIM and minute, and each of them is usage.
 */
export class UsageCommands {
  readonly #store: EventStore;
  readonly #comparing = pLimit(MAX_COMPARED_AT_ONCE);

  constructor({ store }: Pick<CommandParts, 'store'>) {
    this.#store = store;
  }

  /**
   * Records are stored together, and answered one by one, in their order.
   * @throws LedgerError `overloaded`, `store-unavailable`: some may have been stored; the same call
   * may be repeated
   *   safely for those whose names are not `new`.
   */
  async record(entries: readonly UsageEntry[], context: UsageContext): Promise<RecordedUsage[]> {
    const writes = entries.map((entry) => recordingOf(entry, context));
    const appended = await this.#store.append(writes);
    return Promise.all(
      entries.map(async (entry, index): Promise<RecordedUsage> => {
        const answer = appended[index] as Appended;
        return answer.outcome === 'appended'
          ? { outcome: 'recorded', position: answer.position }
          : this.#comparing(() =>
              this.#refused(entry, writes[index] as OnceWrite, answer, context),
            );
      }),
    );
  }

  /**
   * The same, where each record has its own outcome: one that fails says nothing about the others.
   * Records of one name are stored in their order.
   */
  recordEach(
    entries: readonly UsageEntry[],
    context: UsageContext,
  ): Promise<PromiseSettledResult<RecordedUsage>[]> {
    const queue = new KeyedQueue();
    return Promise.allSettled(
      entries.map((entry) =>
        queue.run([streamOf(context.projectId, entry.name)], async () => {
          const [recorded] = await this.record([entry], context);
          return recorded as RecordedUsage;
        }),
      ),
    );
  }

  /**
   * Lists messages that cannot be used, each once. `source`: as in the names of records.
   * @throws LedgerError as `record`; may always be repeated
   */
  async reject(
    rejections: readonly MessageRejection[],
    context: UsageContext,
    source = '',
  ): Promise<void> {
    await this.#store.append(
      rejections.map((rejection) => {
        const parts = ['rejected', ...partsOfMessage({ source, ...rejection.origin })];
        return rejectionOf(rejection, parts, context);
      }),
    );
  }

  /** Its name was taken before, unless only by events of another application. */
  async #refused(
    entry: UsageEntry,
    write: OnceWrite,
    answer: Appended,
    context: UsageContext,
  ): Promise<RecordedUsage> {
    const once = await answeredOnce(this.#store, write, answer);
    return once.outcome === 'appended'
      ? { outcome: 'recorded', position: once.position }
      : this.#compare(entry, write, once.first, context);
  }

  /** The name was taken before: by this record, or by another one. */
  async #compare(
    { name, identity, origin, sent }: UsageEntry,
    { stream, events: [event] }: Write,
    first: RecordedEvent,
    context: UsageContext,
  ): Promise<RecordedUsage> {
    const { position, metadata } = first;
    const { data } = usageContract.read(first);
    if (isSameJson(data, event?.data)) {
      const isOwn =
        identity !== undefined &&
        metadata.causationId === identity.id &&
        (metadata.causationOrdinal ?? 0) === (identity.ordinal ?? 0);
      return { outcome: isOwn ? 'recorded' : 'duplicate', position };
    }
    const refusal = { reason: 'id-reused', detail: refusalOf(name, first.id) } as const;
    const rejection = { ...refusal, origin, record: sent() };
    // Named after what it says, not where it came from: sent again, it is the same refusal.
    const parts = ['rejected', 'id-reused', sha256(`${stream} ${JSON.stringify(event?.data)}`)];
    const refused = await appendOne(this.#store, rejectionOf(rejection, parts, context));
    return {
      outcome: 'refused',
      position: refused.outcome === 'appended' ? refused.position : position,
      ...refusal,
    };
  }
}

/** Why a record is refused whose name the event `firstId` has. */
function refusalOf({ kind }: RecordName, firstId: string): string {
  return kind === 'message'
    ? `The topic had another record at this offset before (event ${firstId}), so it was ` +
        'recreated: set KAFKA_SOURCE to another name.'
    : `The id was used before by another record (event ${firstId}): ` +
        'send this one with an id of its own.';
}

function recordingOf(
  { usage: { simCardId, bytesUsed, usedAt }, name, identity }: UsageEntry,
  { projectId, actor, correlationId }: UsageContext,
): OnceWrite {
  const data = { simCardId, bytesUsed, usedAt: usedAt.toISOString() };
  const cause = identity && { identity };
  const event = envelope(
    { type: 'UsageRecorded', data },
    { projectId, actor, correlationId, ...cause, occurredAt: usedAt },
  );
  return { stream: streamOf(projectId, name), expectedRevision: 'no-stream', events: [event] };
}

function streamOf(projectId: string, name: RecordName): StreamName {
  switch (name.kind) {
    case 'id':
      return streamName('usage', projectId, 'id', name.id);
    case 'cloud-event':
      // The name holds a digest, as the two together may be too long for a name.
      return streamName(
        'usage',
        projectId,
        'event',
        sha256(JSON.stringify([name.source, name.id])),
      );
    case 'message':
      return streamName('usage', projectId, ...partsOfMessage(name));
    case 'request':
      return streamName(
        'usage',
        projectId,
        'request',
        name.identity.id,
        String(name.identity.ordinal ?? 0),
      );
    case 'new':
      return streamName('usage', projectId, 'new', newEventId());
  }
}

/**
 * What names a message. Without a source as before there were any, so that records keep their
 * names.
 */
function partsOfMessage({
  source,
  topic,
  partition,
  offset,
}: Pick<Extract<RecordName, { kind: 'message' }>, 'source' | 'topic' | 'partition' | 'offset'>): [
  string,
  ...string[],
] {
  return ['message', ...(source === '' ? [] : [source]), topic, String(partition), offset];
}

function rejectionOf(
  { record, ...rejection }: Rejection,
  parts: readonly string[],
  { projectId, actor, correlationId }: UsageContext,
): Write {
  const data = { ...rejection, record: keptRecord(record) };
  const event = envelope({ type: 'UsageRejected', data }, { projectId, actor, correlationId });
  const stream = streamName('usage', projectId, ...(parts as [string, ...string[]]));
  return { stream, expectedRevision: 'no-stream', events: [event] };
}

function keptRecord(record: Buffer): {
  readonly encoding: 'utf-8' | 'base64';
  readonly content: string;
  readonly isCut: boolean;
} {
  const isCut = record.length > MAX_KEPT_BYTES;
  const kept = record.subarray(0, MAX_KEPT_BYTES);
  // A cut may go through a character: what comes before it is text all the same.
  const text = new TextDecoder('utf-8', { ignoreBOM: true }).decode(kept, { stream: isCut });
  const isText = isKeepableText(text) && !text.includes('\ufffd');
  return isText
    ? { encoding: 'utf-8', content: text, isCut }
    : { encoding: 'base64', content: kept.toString('base64'), isCut };
}
