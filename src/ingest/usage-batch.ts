import type { EachBatchPayload, KafkaMessage } from 'kafkajs';
import type {
  MessageRejection,
  RecordedUsage,
  UsageCommands,
  UsageEntry,
} from '../commands/usage/commands.ts';
import type { RejectionReason } from '../events/usage.ts';
import { errorMessage, isTransient } from '../shared/errors.ts';
import type { Logger } from '../shared/logger.ts';
import type { DeadLetter, DeadLetters } from './kafka/dead-letters.ts';
import { Membership } from './kafka/membership.ts';
import type { Refusals } from './refusals.ts';
import { readUsageMessage } from './usage-message.ts';
import { sleep } from '../shared/sleep.ts';

/** Who records what Kafka delivers. */
export const KAFKA_ACTOR = 'system:kafka';

/** What has been taken since the process started. */
export interface UsageCounts {
  recorded: number;
  duplicates: number;
  readonly deadLetters: Record<RejectionReason, number>;
}

export interface UsageBatchParts {
  readonly commands: Pick<UsageCommands, 'record' | 'reject'>;
  readonly deadLetters: Pick<DeadLetters, 'send'>;
  readonly projectId: string;
  /** Part of the names of records without ids. */
  readonly source: string;
  readonly counts: UsageCounts;
  readonly refusals: Pick<Refusals, 'note'>;
  readonly logger: Logger;
  /** Aborted when no more is to be begun. */
  readonly ending: AbortSignal;
  /** Why a partition waits; undefined when it goes on. */
  readonly onWaiting: (partition: number, reason: string | undefined) => void;
}

/** Stored together, and then committed: so much is done again after a kill. */
const MAX_AT_ONCE = 1_000;
const MIN_PAUSE_MS = 100;
const MAX_PAUSE_MS = 2_000;

/** The work is left where it stands, as the process ends; what is not committed comes again. */
class Left extends Error {
  override readonly name = 'Left';
}

/**
 * Takes the messages of a partition: in the log first, then the dead letters, and then the offset is committed. So
 * a kill anywhere has them delivered again, and the log knows them by their names. Nothing is skipped: while the
 * store is away, or the topic of the dead letters, it is tried again.
 */
export class UsageBatch {
  readonly #parts: UsageBatchParts;
  readonly #payload: EachBatchPayload;
  readonly #membership: Membership;

  constructor(parts: UsageBatchParts, payload: EachBatchPayload) {
    this.#parts = parts;
    this.#payload = payload;
    this.#membership = new Membership(() => payload.heartbeat());
  }

  /** @throws what kafkajs throws, for kafkajs to mend: it fetches again from the last offset that was resolved. */
  async take(): Promise<void> {
    const payload = this.#payload;
    const { messages, partition } = payload.batch;
    try {
      for (let start = 0; start < messages.length; start += MAX_AT_ONCE) {
        if (this.#parts.ending.aborted || !payload.isRunning() || payload.isStale()) return;
        this.#membership.check();
        const together = messages.slice(start, start + MAX_AT_ONCE);
        await this.#record(together);
        await this.#commit(together.at(-1) as KafkaMessage);
      }
    } catch (error) {
      if (!(error instanceof Left)) throw error;
    } finally {
      this.#parts.onWaiting(partition, undefined);
      this.#membership.end();
    }
  }

  async #record(messages: readonly KafkaMessage[]): Promise<void> {
    const { commands, deadLetters, counts, refusals, projectId, source } = this.#parts;
    const { topic, partition } = this.#payload.batch;
    const first = messages[0]?.offset ?? '';
    const correlationId = `kafka:${topic}/${partition}/${first}`;
    const context = { projectId, actor: KAFKA_ACTOR, correlationId };
    const { usable, letters } = this.#sorted(messages);
    const recorded = await this.#untilDone(() =>
      commands.record(
        usable.map(({ entry }) => entry),
        context,
      ),
    );
    if (letters.length > 0) {
      await this.#untilDone(() => commands.reject(letters.map(rejectionOf), context, source));
    }
    for (const [index, { message, entry }] of usable.entries()) {
      const { outcome } = recorded[index] as RecordedUsage;
      refusals.note(outcome, entry.name.kind);
      if (outcome === 'recorded') counts.recorded += 1;
      else if (outcome === 'duplicate') counts.duplicates += 1;
      else {
        const detail =
          entry.name.kind === 'message'
            ? 'the topic had another record at this offset before: it was recreated (see KAFKA_SOURCE)'
            : 'the same id was used before, with another record';
        letters.push({ message, topic, partition, reason: 'id-reused', detail });
      }
    }
    if (letters.length === 0) return;
    await this.#untilDone(
      () => deadLetters.send(letters),
      () => true,
    );
    for (const { reason } of letters) counts.deadLetters[reason] += 1;
  }

  #sorted(messages: readonly KafkaMessage[]): {
    readonly usable: { readonly message: KafkaMessage; readonly entry: UsageEntry }[];
    readonly letters: DeadLetter[];
  } {
    const { topic, partition } = this.#payload.batch;
    const { source } = this.#parts;
    const usable: { message: KafkaMessage; entry: UsageEntry }[] = [];
    const letters: DeadLetter[] = [];
    for (const message of messages) {
      const parsed = readUsageMessage(message);
      const { offset } = message;
      if (parsed.kind === 'unusable') {
        letters.push({ message, topic, partition, reason: parsed.reason, detail: parsed.detail });
        continue;
      }
      const name = parsed.name ?? ({ kind: 'message', source, topic, partition, offset } as const);
      const origin = { kind: 'kafka', topic, partition, offset } as const;
      usable.push({
        message,
        entry: { usage: parsed.usage, name, origin, sent: () => valueOf(message) },
      });
    }
    return { usable, letters };
  }

  /**
   * By the batch's own way to commit: the consumer's passes a commit over in silence when it is stopping, and what
   * was stored while it drains would be delivered again. With the last message goes what follows it in the batch and
   * is no message: the markers of transactions have offsets, too.
   */
  async #commit({ offset: lastOffset }: KafkaMessage): Promise<void> {
    const payload = this.#payload;
    const { batch } = payload;
    const { topic, partition } = batch;
    const isAll = lastOffset === batch.messages.at(-1)?.offset;
    const offset = String(BigInt(isAll ? batch.lastOffset() : lastOffset) + 1n);
    await payload.commitOffsetsIfNecessary({
      topics: [{ topic, partitions: [{ partition, offset }] }],
    });
    payload.resolveOffset(lastOffset);
  }

  /** Whatever the failure: a record that is given up is lost, and one that waits is seen in health. */
  async #untilDone<Result>(
    work: () => Promise<Result>,
    isUsual: (error: unknown) => boolean = isTransient,
  ): Promise<Result> {
    const { ending, onWaiting, logger } = this.#parts;
    const { topic, partition } = this.#payload.batch;
    for (let pauseMs = MIN_PAUSE_MS; ; pauseMs = Math.min(pauseMs * 2, MAX_PAUSE_MS)) {
      try {
        const result = await work();
        onWaiting(partition, undefined);
        return result;
      } catch (error) {
        const isFirst = pauseMs === MIN_PAUSE_MS;
        const level = isUsual(error) ? 'warn' : 'error';
        logger[isFirst ? level : 'debug'](
          { err: error, topic, partition },
          'usage waits, and is tried again',
        );
        onWaiting(partition, errorMessage(error));
      }
      await sleep(pauseMs, ending);
      if (ending.aborted) throw new Left();
      this.#membership.check();
    }
  }
}

function rejectionOf({ message, topic, partition, reason, detail }: DeadLetter): MessageRejection {
  const origin = { kind: 'kafka', topic, partition, offset: message.offset } as const;
  return { reason, detail, origin, record: valueOf(message) };
}

function valueOf({ value }: KafkaMessage): Buffer {
  return value ?? Buffer.alloc(0);
}
