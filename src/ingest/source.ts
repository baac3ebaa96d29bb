import type { RejectionReason } from '../events/usage.ts';

/** A message as it was sent. */
export interface SourceMessage {
  readonly key: Buffer | null;
  readonly value: Buffer | null;
  readonly headers: MessageHeaders;
  /** The place of the message in its partition. */
  readonly offset: string;
}

export type MessageHeaders = Readonly<
  Record<string, Buffer | string | (Buffer | string)[] | undefined>
>;

/** A message that cannot be used, and why. */
export interface RejectedMessage {
  readonly message: SourceMessage;
  readonly reason: RejectionReason;
  readonly detail: string;
}

/** Messages of one partition, in their order. Each batch ends with `settle` or `leave`. */
export interface MessageBatch {
  readonly topic: string;
  readonly partition: number;
  readonly messages: readonly SourceMessage[];
  /**
   * Aborted when the source is to end, or has lost the partition: work in progress may still be
   * finished and settled, and nothing is to be tried again.
   */
  readonly signal: AbortSignal;
  /**
   * Passes on the rejected messages, then commits the batch, so that it does not come again. May be
   * repeated when it fails: a dead letter that is sent twice is known by its topic, partition and
   * offset.
   * @throws StoppedError when the batch comes again, here or elsewhere, whatever is done now
   */
  settle(rejected: readonly RejectedMessage[]): Promise<void>;
  /** Gives the batch up: it comes again. */
  leave(): void;
}

export type SourceStatus =
  | { readonly status: 'connecting' }
  /** `partitions`: those of this process. */
  | { readonly status: 'consuming'; readonly partitions: readonly number[] }
  | { readonly status: 'failing'; readonly reason: string };

/** A source of messages: each comes at least once, those of a partition in their order. */
export interface MessageSource {
  readonly status: SourceStatus;
  /**
   * Batches of several partitions may be in work at once; the next one of a partition comes when
   * the one before is settled. A lost connection is resumed by the source. Ends when `stopping` is
   * aborted and no batch is in work any more.
   */
  messages(stopping: AbortSignal): AsyncIterable<MessageBatch>;
}

/** The work on a batch is given up; what is not settled comes again. */
export class StoppedError extends Error {
  override readonly name = 'StoppedError';
}
