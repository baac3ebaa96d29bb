import { Readable } from 'node:stream';
import type { Consumer, Kafka } from 'kafkajs';
import type { Logger } from '../../shared/logger.ts';
import { sleep } from '../../shared/sleep.ts';
import type { MessageBatch, SourceStatus } from '../source.ts';
import { kafkaClient, type KafkaCluster } from './client.ts';
import { DeadLetters } from './dead-letters.ts';
import { deliverAll } from './delivery.ts';
import { HEARTBEAT_INTERVAL_MS, SESSION_TIMEOUT_MS } from './membership.ts';
import { ensureTopics } from './topics.ts';

export interface KafkaTopic {
  readonly cluster: KafkaCluster;
  readonly topic: string;
  readonly groupId: string;
}

/** Together these bound what is in memory; the next fetch waits until its batches are done. */
const MAX_BYTES_PER_PARTITION = 1024 * 1024;
const MAX_FETCHED_BYTES = 8 * MAX_BYTES_PER_PARTITION;
const MAX_PARTITIONS_AT_ONCE = 6;
const MAX_FETCH_WAIT_MS = 500;
/** Health says that the broker is silent after so long. */
const QUIET_AFTER_MS = 6_000;
/** The session is given up after so long: a group takes a minute to find its members again. */
const GIVEN_UP_AFTER_MS = 90_000;
const WATCH_INTERVAL_MS = 1_000;
/** How long work in progress may take when the process ends: store or broker may be unavailable. */
const GIVE_UP_END_AFTER_MS = 15_000;

/** One membership in the consumer group, from the connection to whatever ends it. */
export class KafkaSession {
  readonly #topic: string;
  readonly #logger: Logger;
  readonly #kafka: Kafka;
  readonly #consumer: Consumer;
  readonly #deadLetters: DeadLetters;
  readonly #ending = new AbortController();
  #partitions: readonly number[] | undefined;
  #answeredAtMs = performance.now();

  constructor({ cluster, topic, groupId }: KafkaTopic, logger: Logger) {
    this.#topic = topic;
    this.#logger = logger;
    this.#kafka = kafkaClient(cluster, logger);
    this.#deadLetters = new DeadLetters(this.#kafka, topic);
    this.#consumer = this.#kafka.consumer({
      groupId,
      sessionTimeout: SESSION_TIMEOUT_MS,
      heartbeatInterval: HEARTBEAT_INTERVAL_MS,
      maxBytesPerPartition: MAX_BYTES_PER_PARTITION,
      maxBytes: MAX_FETCHED_BYTES,
      maxWaitTimeInMs: MAX_FETCH_WAIT_MS,
      allowAutoTopicCreation: false,
    });
  }

  get status(): SourceStatus {
    if (this.#partitions === undefined) return { status: 'connecting' };
    const quietMs = performance.now() - this.#answeredAtMs;
    if (quietMs > QUIET_AFTER_MS) {
      const reason = `no broker has answered for ${Math.round(quietMs / 1_000)} s`;
      return { status: 'failing', reason };
    }
    return { status: 'consuming', partitions: this.#partitions };
  }

  /**
   * Delivers until `stopping` is aborted.
   * @throws what ended the session before; what was not committed comes again
   */
  async *batches(stopping: AbortSignal): AsyncIterable<MessageBatch> {
    const delivered = new Readable({ objectMode: true, read: () => undefined });
    const stop = (): void => this.#ending.abort();
    stopping.addEventListener('abort', stop);
    if (stopping.aborted) stop();
    Promise.race([this.#ended(), this.#consume(delivered)]).then(
      () => delivered.push(null),
      (error: unknown) => delivered.destroy(error as Error),
    );
    try {
      yield* delivered as AsyncIterable<MessageBatch>;
    } finally {
      stopping.removeEventListener('abort', stop);
      stop();
      await this.#leave();
    }
  }

  /** Never resolves before the session ends. */
  async #consume(delivered: Readable): Promise<void> {
    await ensureTopics(this.#kafka, this.#topic);
    await this.#deadLetters.connect();
    await this.#consumer.connect();
    // What was sent before the group existed is usage, too.
    await this.#consumer.subscribe({ topics: [this.#topic], fromBeginning: true });
    const { signal } = this.#ending;
    if (signal.aborted) return;
    await this.#consumer.run({
      autoCommit: false,
      eachBatchAutoResolve: false,
      partitionsConsumedConcurrently: MAX_PARTITIONS_AT_ONCE,
      eachBatch: (payload) =>
        deliverAll(payload, {
          deadLetters: this.#deadLetters,
          ending: signal,
          deliver: (batch) => {
            if (delivered.destroyed) batch.leave();
            else delivered.push(batch);
          },
        }),
    });
    await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()));
  }

  /** Resolves when the session is to end; rejects when kafkajs gave it up or has hung. */
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
    // A fetch does not count as an answer: an empty one may be one that kafkajs gave up.
    this.#consumer.on(events.HEARTBEAT, answered);
    this.#consumer.on(events.COMMIT_OFFSETS, answered);
    this.#consumer.on(events.END_BATCH_PROCESS, ({ payload }) => {
      if (payload.batchSize === 0) this.#passOver(payload);
    });
    this.#consumer.on(events.GROUP_JOIN, ({ payload }) => {
      answered();
      this.#partitions = payload.memberAssignment[this.#topic] ?? [];
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
   * Commits a batch that holds only markers of transactions or messages of aborted ones: otherwise
   * the partition would seem to lag for ever. If that fails, the next commit includes it.
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
      this.#logger.debug({ err: error, topic, partition }, 'empty batch not committed');
    });
  }

  /** Waits for the batches in work, for a while: a broken connection may never end. */
  async #leave(): Promise<void> {
    const giveUp = new AbortController();
    const left = this.#consumer
      .disconnect()
      .catch(() => undefined)
      // Last, since the batches in work may have dead letters.
      .then(() => this.#deadLetters.disconnect())
      .catch(() => undefined);
    await Promise.race([left, sleep(GIVE_UP_END_AFTER_MS, giveUp.signal)]);
    giveUp.abort();
  }
}
