import type {
  MessageRejection,
  RecordedUsage,
  UsageCommands,
  UsageEntry,
} from '../commands/usage/commands.ts';
import type { RejectionReason } from '../events/usage.ts';
import { errorMessage, isTransient } from '../shared/errors.ts';
import type { Logger } from '../shared/logger.ts';
import { sleep } from '../shared/sleep.ts';
import { Refusals } from './refusals.ts';
import {
  StoppedError,
  type MessageBatch,
  type RejectedMessage,
  type SourceMessage,
} from './source.ts';
import { readUsageMessage } from './usage-message.ts';

/** The actor of what Kafka delivers. */
export const KAFKA_ACTOR = 'system:kafka';

/** What was taken since the process started. */
export interface UsageCounts {
  recorded: number;
  duplicates: number;
  readonly deadLetters: Record<RejectionReason, number>;
}

export interface UsageIntakeParts {
  readonly commands: Pick<UsageCommands, 'record' | 'reject'>;
  /** Whose usage it is. */
  readonly projectId: string;
  /** Part of the names of records without ids: another one for each topic of the same name. */
  readonly source: string;
  readonly logger: Logger;
}

const MIN_PAUSE_MS = 100;
const MAX_PAUSE_MS = 2_000;

/** A message that says how much a SIM card used. */
interface UsableMessage {
  readonly message: SourceMessage;
  readonly entry: UsageEntry;
}

/**
 * Decides what becomes of messages: recorded in the log first, rejections listed there next, then
 * the batch is settled. After a kill anywhere in between, the batch comes again and the log knows
 * its records by their names. Nothing is skipped: whatever fails is tried again, and health shows
 * it.
 */
export class UsageIntake {
  readonly counts: UsageCounts = {
    recorded: 0,
    duplicates: 0,
    deadLetters: { 'malformed-json': 0, 'validation-failed': 0, 'id-reused': 0 },
  };
  readonly #parts: UsageIntakeParts;
  readonly #refusals = new Refusals();
  /** Why a partition waits. */
  readonly #waiting = new Map<number, string>();

  constructor(parts: UsageIntakeParts) {
    this.#parts = parts;
  }

  /** What is wrong with the topic; undefined while nothing is. */
  get warning(): string | undefined {
    return this.#refusals.warning;
  }

  /** Why the work on some partition does not advance; undefined while all do. */
  get delay(): string | undefined {
    const [waiting] = this.#waiting;
    return waiting && `partition ${waiting[0]} waits: ${waiting[1]}`;
  }

  /** Settles the batch, or leaves it when its signal is aborted. Never rejects. */
  async take(batch: MessageBatch): Promise<void> {
    try {
      const rejected = await this.#record(batch);
      await this.#untilDone(
        batch,
        () => batch.settle(rejected),
        () => true,
      );
      for (const { reason } of rejected) this.counts.deadLetters[reason] += 1;
    } catch (error) {
      if (!(error instanceof StoppedError)) {
        this.#parts.logger.error({ err: error }, 'a batch of usage was given up, and comes again');
      }
      batch.leave();
    } finally {
      this.#waiting.delete(batch.partition);
    }
  }

  /** Records what can be used; gives what cannot. */
  async #record(batch: MessageBatch): Promise<readonly RejectedMessage[]> {
    const { commands, projectId, source } = this.#parts;
    const { topic, partition, messages } = batch;
    const correlationId = `kafka:${topic}/${partition}/${messages[0]?.offset ?? ''}`;
    const context = { projectId, actor: KAFKA_ACTOR, correlationId };
    const { usable, rejected } = this.#sorted(batch);
    const entries = usable.map(({ entry }) => entry);
    const recorded = await this.#untilDone(batch, () => commands.record(entries, context));
    if (rejected.length > 0) {
      const rejections = rejected.map((one) => rejectionOf(one, batch));
      await this.#untilDone(batch, () => commands.reject(rejections, context, source));
    }
    return [...rejected, ...this.#counted(usable, recorded)];
  }

  #sorted(batch: MessageBatch): { usable: UsableMessage[]; rejected: RejectedMessage[] } {
    const { topic, partition } = batch;
    const { source } = this.#parts;
    const usable: UsableMessage[] = [];
    const rejected: RejectedMessage[] = [];
    for (const message of batch.messages) {
      const parsed = readUsageMessage(message);
      if (parsed.kind === 'unusable') {
        rejected.push({ message, reason: parsed.reason, detail: parsed.detail });
        continue;
      }
      const { offset } = message;
      const name = parsed.name ?? ({ kind: 'message', source, topic, partition, offset } as const);
      const origin = { kind: 'kafka', topic, partition, offset } as const;
      const sent = (): Buffer => valueOf(message);
      usable.push({ message, entry: { usage: parsed.usage, name, origin, sent } });
    }
    return { usable, rejected };
  }

  /** Counts what was recorded; gives those that were refused. The command has listed them. */
  #counted(
    usable: readonly UsableMessage[],
    recorded: readonly RecordedUsage[],
  ): readonly RejectedMessage[] {
    return recorded.flatMap((result, index) => {
      const { message, entry } = usable[index] as UsableMessage;
      this.#refusals.note(result.outcome, entry.name.kind);
      if (result.outcome === 'recorded') this.counts.recorded += 1;
      else if (result.outcome === 'duplicate') this.counts.duplicates += 1;
      else return [{ message, reason: result.reason, detail: result.detail }];
      return [];
    });
  }

  /** Tries again after any failure: a record that is given up would be lost. */
  async #untilDone<Result>(
    { topic, partition, signal }: MessageBatch,
    work: () => Promise<Result>,
    isUsual: (error: unknown) => boolean = isTransient,
  ): Promise<Result> {
    for (let pauseMs = MIN_PAUSE_MS; ; pauseMs = Math.min(pauseMs * 2, MAX_PAUSE_MS)) {
      try {
        const result = await work();
        this.#waiting.delete(partition);
        return result;
      } catch (error) {
        if (error instanceof StoppedError) throw error;
        const isFirst = pauseMs === MIN_PAUSE_MS;
        const level = isUsual(error) ? 'warn' : 'error';
        const about = { err: error, topic, partition };
        this.#parts.logger[isFirst ? level : 'debug'](about, 'usage waits, and is tried again');
        this.#waiting.set(partition, errorMessage(error));
      }
      await sleep(pauseMs, signal);
      if (signal.aborted) throw new StoppedError();
    }
  }
}

function rejectionOf(
  { message, reason, detail }: RejectedMessage,
  { topic, partition }: MessageBatch,
): MessageRejection {
  const origin = { kind: 'kafka', topic, partition, offset: message.offset } as const;
  return { reason, detail, origin, record: valueOf(message) };
}

function valueOf({ value }: SourceMessage): Buffer {
  return value ?? Buffer.alloc(0);
}
