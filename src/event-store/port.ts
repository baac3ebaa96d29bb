import type { EventMetadata } from '../events/event.ts';
import type { JsonObject } from '../shared/json.ts';
import type { StreamName } from './stream-name.ts';

/**
 * The log: what every adapter must hold is shown by `test/event-store/contract.ts`.
 *
 * One thing differs from the obvious interface: `append` takes many writes and answers each of them
 * apart. They may be stored together or one by one, in no promised order across streams; each
 * succeeds or fails on its own revision check. Two writes to one stream in one call keep their
 * order.
 */
export interface EventStore {
  /** Names this log: a position of one log means nothing in another. 8 lower-case hex digits. */
  readonly logId: string;

  /**
   * Stores events. Settles when the outcome is known and durable: an outcome lost with a connection
   * is found out by sending the same ids at the same revision again.
   * @throws LedgerError `overloaded` (nothing was sent), `store-unavailable` (the outcome could not
   *   be found out in time; the same call may be repeated safely).
   */
  append(writes: readonly Write[]): Promise<Appended[]>;

  /** The events of one stream; none when it does not exist. */
  readStream(stream: StreamName, options?: ReadStreamOptions): AsyncIterable<RecordedEvent>;

  /** What is in the log now, in batches. The position of the last batch is `until`, or the head. */
  readAll(options: ReadAllOptions): AsyncIterable<Batch>;

  /**
   * What is in the log, then what is appended, without end: nothing is skipped or given twice, in
   * order. A batch may hold no events: the position also advances when nothing matched. The next
   * batch is read when the consumer asks for it, so a slow consumer slows the reading. A lost
   * connection is resumed from the last position; a consumer that throws ends the iteration.
   */
  subscribe(options: SubscribeOptions): AsyncIterable<Batch>;

  /** The position of the last event, or `BEGINNING` of an empty log. */
  head(): Promise<Position>;

  /**
   * No position that this log has given lies beyond it: the head, or a later place where the
   * server's log also holds records of others, because a subscription moves over those.
   */
  end(): Promise<Position>;

  /**
   * The position of the last event recorded at `time` or before. Where a server's clock was put
   * back, the log in PostgreSQL also finds it behind events of a later time; the log in
   * EventStoreDB stops at the first of those (decision 13).
   */
  positionAt(time: Date): Promise<Position>;
}

/** A log as the one who opened it has it. */
export interface OpenEventStore extends EventStore {
  /** How often a subscription was lost and resumed. */
  readonly resumedSubscriptions: number;
  /** Takes the events of another log, when this one is to replace it. */
  readonly copyTarget: CopyTarget;
  /** Waits for the appends that were accepted. */
  close(): Promise<void>;
}

/**
 * Takes the events of another log as they are: their order, ids, revisions and times of recording.
 * Only into a log that holds nothing else, and by one process at a time.
 */
export interface CopyTarget {
  taken(): Promise<Taken>;
  /**
   * The next events of the log `from`, in its order. When it fails, `taken` tells how far it came.
   * @throws LedgerError `store-unavailable`; CopyRefusedError when somebody else has written
   * meanwhile
   */
  take(from: string, events: readonly RecordedEvent[]): Promise<void>;
}

/** The log cannot become the copy of that other log. */
export class CopyRefusedError extends Error {
  override readonly name = 'CopyRefusedError';
}

/** What a log holds, seen as the copy of another. */
export type Taken =
  | { readonly kind: 'nothing' }
  /** All events of the log `from` up to one of its positions. */
  | { readonly kind: 'copied'; readonly from: string; readonly position: Position }
  /** Events of its own, behind copied ones or not. */
  | { readonly kind: 'own-events' };

declare const positionBrand: unique symbol;
/** A place in the log. Totally ordered; `BEGINNING` is before the first event. */
export type Position = bigint & { readonly [positionBrand]: true };
export const BEGINNING = 0n as Position;

export type ExpectedRevision = 'any' | 'no-stream' | 'stream-exists' | bigint;

export interface NewEvent {
  /** A UUID. Appending is idempotent by it. */
  readonly id: string;
  readonly type: string;
  readonly data: JsonObject;
  readonly metadata: EventMetadata;
}

export interface Write {
  readonly stream: StreamName;
  /** One event or more, of at most 1 MiB of data and metadata together. */
  readonly events: readonly NewEvent[];
  readonly expectedRevision: ExpectedRevision;
}

export type Appended =
  /**
   * Stored, now or by an earlier append of the same ids. `revision` and `position` of the last
   * event.
   */
  | { readonly outcome: 'appended'; readonly revision: bigint; readonly position: Position }
  /** The stream can be read up to the revision that is named here. */
  | { readonly outcome: 'conflict'; readonly actualRevision: bigint | 'no-stream' }
  /** Some of the ids are in the stream already, and the rest is not where it would belong. */
  | { readonly outcome: 'partial-overlap'; readonly actualRevision: bigint };

export interface RecordedEvent extends NewEvent {
  readonly stream: StreamName;
  /** 0 for the first event of a stream. */
  readonly revision: bigint;
  readonly position: Position;
  /**
   * The log's own time, in milliseconds. It is earlier than that of an event before it only where a
   * clock was put back.
   */
  readonly recordedAt: Date;
}

export interface Batch {
  readonly events: readonly RecordedEvent[];
  /** Everything up to here has been given: the checkpoint to resume from. */
  readonly position: Position;
}

export interface ReadStreamOptions {
  /** The first revision to give (inclusive). Default: the first, or the last when backwards. */
  readonly from?: bigint;
  readonly direction?: 'forwards' | 'backwards';
  readonly limit?: number;
}

export interface ReadAllOptions {
  /** Exclusive. */
  readonly after: Position;
  /** Inclusive. Default: the head when the reading reaches it. */
  readonly until?: Position;
  /** Default: all types. */
  readonly types?: readonly string[];
  /** Only what has this correlation id: looked for in each event, as no log has an index by it. */
  readonly correlationId?: string;
}

export interface SubscribeOptions {
  /** Exclusive. */
  readonly after: Position;
  readonly types?: readonly string[];
  /** Ends the iteration, without an error. */
  readonly signal: AbortSignal;
}

/**
 * Folded states, kept so that a cold start does not read a long stream from its beginning. Derived
 * data: keyed by a version of the fold, safe to delete at any time.
 */
export interface SnapshotStore {
  load(stream: StreamName, foldVersion: string): Promise<Snapshot | undefined>;
  /** Keeps the newer of what is there and what is given. */
  save(stream: StreamName, foldVersion: string, snapshot: Snapshot): Promise<void>;
}

export interface Snapshot {
  readonly revision: bigint;
  readonly position: Position;
  readonly state: JsonObject;
}
