import type { Consumer, Kafka } from 'kafkajs';
import type { UsageCommands } from '../../commands/usage/commands.ts';
import type { Logger } from '../../shared/logger.ts';
import { DeadLetters } from './dead-letters.ts';
import { kafkaClient } from './client.ts';
import { HEARTBEAT_INTERVAL_MS, SESSION_TIMEOUT_MS } from './membership.ts';
import type { Refusals } from '../refusals.ts';
import { UsageBatch, type UsageCounts } from '../usage-batch.ts';
import { ensureTopics } from './topics.ts';
import { sleep } from '../../shared/sleep.ts';

export interface UsageSessionParts {
  readonly brokers: readonly string[];
  readonly topic: string;
  readonly groupId: string;
  /** Whose usage it is. */
  readonly projectId: string;
  /** Part of the names of records without ids: another one for each topic of the same name. */
  readonly source: string;
  readonly commands: Pick<UsageCommands, 'record' | 'reject'>;
  readonly logger: Logger;
}

export type UsageSessionStatus =
  | { readonly status: 'connecting' }
  /** `partitions`: those of this process. */
  | { readonly status: 'consuming'; readonly partitions: readonly number[] }
  | { readonly status: 'failing'; readonly reason: string };

/** Together they bound what is in memory; the next fetch waits until its batches are done. */
const MAX_BYTES_PER_PARTITION = 1024 * 1024;
const MAX_FETCHED_BYTES = 8 * MAX_BYTES_PER_PARTITION;
const MAX_PARTITIONS_AT_ONCE = 6;
const MAX_FETCH_WAIT_MS = 500;
/** The broker has answered nothing for so long: health says so. */
const QUIET_AFTER_MS = 6_000;
/** And then it is given up: longer than a group takes to find its members again (a minute). */
const GIVEN_UP_AFTER_MS = 90_000;
const WATCH_INTERVAL_MS = 1_000;
/** For what is being recorded, as the process ends: the store may be away, and so may the broker. */
const GIVE_UP_END_AFTER_MS = 15_000;

/** One membership in the group, from the connection to whatever ends it. */
export class UsageSession {
  readonly #parts: UsageSessionParts;
  readonly #kafka: Kafka;
  readonly #consumer: Consumer;
  readonly #deadLetters: DeadLetters;
  readonly #counts: UsageCounts;
  readonly #refusals: Refusals;
  readonly #ending = new AbortController();
  /** By partition: why it does not go on. */
  readonly #waiting = new Map<number, string>();
  #partitions: readonly number[] | undefined;
  #answeredAtMs = performance.now();

  constructor(
    parts: UsageSessionParts,
    { counts, refusals }: { readonly counts: UsageCounts; readonly refusals: Refusals },
  ) {
    this.#parts = parts;
    this.#counts = counts;
    this.#refusals = refusals;
    this.#kafka = kafkaClient(parts.brokers, parts.logger);
    this.#deadLetters = new DeadLetters(this.#kafka, parts.topic);
    this.#consumer = this.#kafka.consumer({
      groupId: parts.groupId,
      sessionTimeout: SESSION_TIMEOUT_MS,
      heartbeatInterval: HEARTBEAT_INTERVAL_MS,
      maxBytesPerPartition: MAX_BYTES_PER_PARTITION,
      maxBytes: MAX_FETCHED_BYTES,
      maxWaitTimeInMs: MAX_FETCH_WAIT_MS,
      allowAutoTopicCreation: false,
    });
  }

  get status(): UsageSessionStatus {
    if (this.#partitions === undefined) return { status: 'connecting' };
    const quietMs = performance.now() - this.#answeredAtMs;
    if (quietMs > QUIET_AFTER_MS) {
      const reason = `no broker has answered for ${Math.round(quietMs / 1_000)} s`;
      return { status: 'failing', reason };
    }
    const [waiting] = this.#waiting;
    if (waiting !== undefined) {
      const [partition, reason] = waiting;
      return { status: 'failing', reason: `partition ${partition} waits: ${reason}` };
    }
    return { status: 'consuming', partitions: this.#partitions };
  }

  /**
   * Until `stopping`.
   * @throws what ended it before; nothing that was not committed is lost
   */
  async run(stopping: AbortSignal): Promise<void> {
    const stop = (): void => this.#ending.abort();
    stopping.addEventListener('abort', stop);
    if (stopping.aborted) stop();
    const ended = this.#ended();
    try {
      await Promise.race([ended, this.#begin().then(() => ended)]);
    } finally {
      stopping.removeEventListener('abort', stop);
      stop();
      await this.#leave();
    }
  }

  async #begin(): Promise<void> {
    const { topic } = this.#parts;
    await ensureTopics(this.#kafka, topic);
    await this.#deadLetters.connect();
    await this.#consumer.connect();
    // What was sent before the group was there is usage, too.
    await this.#consumer.subscribe({ topics: [topic], fromBeginning: true });
    if (this.#ending.signal.aborted) return;
    await this.#consumer.run({
      autoCommit: false,
      eachBatchAutoResolve: false,
      partitionsConsumedConcurrently: MAX_PARTITIONS_AT_ONCE,
      eachBatch: (payload) => {
        const parts = {
          ...this.#parts,
          counts: this.#counts,
          refusals: this.#refusals,
          deadLetters: this.#deadLetters,
          ending: this.#ending.signal,
          onWaiting: (partition: number, reason: string | undefined) => {
            if (reason === undefined) this.#waiting.delete(partition);
            else this.#waiting.set(partition, reason);
          },
        };
        return new UsageBatch(parts, payload).take();
      },
    });
  }

  /** Settles when the session is to end, rejects when kafkajs gave it up or has hung. */
  async #ended(): Promise<void> {
    const { signal } = this.#ending;
    const { events } = this.#consumer;
    let crash: Error | undefined;
    const answered = (): void => {
      this.#answeredAtMs = performance.now();
    };
    this.#consumer.on(events.CRASH, ({ payload }) => {
      crash = payload.error;
    });
    // Not what was fetched: an empty fetch may be one that kafkajs gave up.
    this.#consumer.on(events.HEARTBEAT, answered);
    this.#consumer.on(events.COMMIT_OFFSETS, answered);
    this.#consumer.on(events.END_BATCH_PROCESS, ({ payload }) => {
      if (payload.batchSize === 0) this.#passOver(payload);
    });
    this.#consumer.on(events.GROUP_JOIN, ({ payload }) => {
      answered();
      this.#partitions = payload.memberAssignment[this.#parts.topic] ?? [];
    });
    while (!signal.aborted) {
      if (crash !== undefined) throw crash;
      if (performance.now() - this.#answeredAtMs > GIVEN_UP_AFTER_MS) {
        throw new Error(`no broker has answered for ${GIVEN_UP_AFTER_MS / 1_000} s`);
      }
      await sleep(WATCH_INTERVAL_MS, signal);
    }
  }

  /**
   * Commits a batch that has no messages, but markers of transactions, or messages of aborted ones: otherwise its
   * partition would stay behind for ever to whoever watches the group. If that fails, the next commit has it.
   */
  #passOver({
    topic,
    partition,
    lastOffset,
  }: {
    readonly topic: string;
    readonly partition: number;
    readonly lastOffset: string;
  }): void {
    const offset = String(BigInt(lastOffset) + 1n);
    this.#consumer.commitOffsets([{ topic, partition, offset }]).catch((error: unknown) => {
      this.#parts.logger.debug({ err: error, topic, partition }, 'empty batch not committed');
    });
  }

  /** Waits for the batches in hand. Whatever is left of a broken connection is of no use to anybody. */
  async #leave(): Promise<void> {
    const giveUp = new AbortController();
    const left = this.#consumer
      .disconnect()
      .catch(() => undefined)
      // Not before: the batches in hand may have dead letters.
      .then(() => this.#deadLetters.disconnect())
      .catch(() => undefined);
    await Promise.race([left, sleep(GIVE_UP_END_AFTER_MS, giveUp.signal)]);
    giveUp.abort();
  }
}
