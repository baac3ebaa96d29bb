import { randomBytes } from 'node:crypto';
import { logLevel, Kafka, Partitioners, type KafkaMessage, type Message } from 'kafkajs';
import { onTestFinished, vi } from 'vitest';
import type { EventStore, RecordedEvent } from '../../src/event-store/port.ts';
import { UsageCommands } from '../../src/commands/usage/commands.ts';
import { KafkaSource } from '../../src/ingest/kafka/kafka-source.ts';
import { UsageIngest, type UsageIngestParts } from '../../src/ingest/usage-ingest.ts';
import { createLogger } from '../../src/shared/logger.ts';
import { testBrokers } from '../kafka/with-kafka.ts';
import { EVENTUALLY } from './taken.ts';

/** A topic that the test has for itself, and what is in it. */
export interface TestTopic {
  readonly name: string;
  readonly groupId: string;
  /** As they are, in their order, with `acks` of all. */
  send(messages: readonly Message[]): Promise<void>;
  /** In a transaction that is committed, or aborted. */
  sendInTransaction(messages: readonly Message[], end: 'commit' | 'abort'): Promise<void>;
  /** Behind the last of each partition, whatever it is. */
  ends(): Promise<Map<number, string>>;
  /** Another topic of the same name. */
  recreate(): Promise<void>;
  /** The dead letters, when there are so many. */
  deadLetters(count: number): Promise<KafkaMessage[]>;
  /** The committed offset of each partition that has one. */
  committed(): Promise<Map<number, string>>;
  resetGroup(): Promise<void>;
}

export async function createTopic({
  partitions = 3,
  maxDeadLetterBytes = 2_097_152,
  brokers = testBrokers(),
} = {}): Promise<TestTopic> {
  const kafka = new Kafka({ brokers: [...brokers], logLevel: logLevel.NOTHING });
  const name = `usage-${randomBytes(6).toString('hex')}`;
  const groupId = `group-${name}`;
  const admin = kafka.admin();
  await admin.connect();
  const producer = kafka.producer({ createPartitioner: Partitioners.DefaultPartitioner });
  await producer.connect();
  onTestFinished(async () => {
    await producer.disconnect();
    await admin.disconnect();
  });
  const usageTopic = { topic: name, numPartitions: partitions };
  await admin.createTopics({
    waitForLeaders: true,
    topics: [
      usageTopic,
      {
        topic: `${name}.dead-letter`,
        numPartitions: 1,
        configEntries: [{ name: 'max.message.bytes', value: String(maxDeadLetterBytes) }],
      },
    ],
  });
  const offsets = () => admin.fetchOffsets({ groupId, topics: [name] });
  return {
    name,
    groupId,
    async send(messages) {
      await producer.send({ topic: name, acks: -1, messages: [...messages] });
    },
    async sendInTransaction(messages, end) {
      const transactional = kafka.producer({
        createPartitioner: Partitioners.DefaultPartitioner,
        transactionalId: `transactions-${name}-${randomBytes(4).toString('hex')}`,
        maxInFlightRequests: 1,
        idempotent: true,
      });
      await transactional.connect();
      const transaction = await transactional.transaction();
      await transaction.send({ topic: name, acks: -1, messages: [...messages] });
      await transaction[end]();
      await transactional.disconnect();
    },
    async ends() {
      const found = await admin.fetchTopicOffsets(name);
      return new Map(found.map(({ partition, high }) => [partition, high]));
    },
    async recreate() {
      await admin.deleteTopics({ topics: [name] });
      await vi.waitFor(() => admin.createTopics({ waitForLeaders: true, topics: [usageTopic] }), {
        ...EVENTUALLY,
      });
    },
    async deadLetters(count) {
      const letters: KafkaMessage[] = [];
      const consumer = kafka.consumer({
        groupId: `${groupId}-letters-${randomBytes(4).toString('hex')}`,
        maxWaitTimeInMs: 200,
      });
      await consumer.connect();
      await consumer.subscribe({ topic: `${name}.dead-letter`, fromBeginning: true });
      await consumer.run({
        autoCommit: false,
        eachMessage: ({ message }) => {
          letters.push(message);
          return Promise.resolve();
        },
      });
      try {
        await vi.waitFor(() => {
          if (letters.length < count) throw new Error(`${letters.length} dead letters`);
        }, EVENTUALLY);
      } finally {
        await consumer.disconnect();
      }
      return letters;
    },
    async committed() {
      const [topic] = await offsets();
      const known = (topic?.partitions ?? []).filter(({ offset }) => offset !== '-1');
      return new Map(known.map(({ partition, offset }) => [partition, offset]));
    },
    async resetGroup() {
      await admin.resetOffsets({ groupId, topic: name, earliest: true });
    },
  };
}

interface IngestChanges extends Partial<UsageIngestParts> {
  readonly brokers?: readonly string[];
}

/** The ingest of one process, running until its test ends. */
export function startIngest(
  { store }: { readonly store: EventStore },
  { name, groupId }: Pick<TestTopic, 'name' | 'groupId'>,
  { brokers = testBrokers(), ...changes }: IngestChanges = {},
): UsageIngest {
  const logger = createLogger(process.env['TEST_LOG_LEVEL'] ?? 'silent');
  const cluster = { brokers, tls: undefined, sasl: undefined };
  const ingest = new UsageIngest({
    messages: new KafkaSource({ cluster, topic: name, groupId }, logger),
    projectId: 'acme',
    source: '',
    commands: new UsageCommands({ store }),
    prepare: () => Promise.resolve(),
    logger,
    ...changes,
  });
  ingest.start();
  onTestFinished(() => ingest.stop());
  return ingest;
}

/** The bytes of each SIM, summed over the log by hand. */
export function sums(recorded: readonly RecordedEvent[]): Map<string, number> {
  const bytes = new Map<string, number>();
  for (const { data } of recorded) {
    const { simCardId, bytesUsed } = data as { simCardId: string; bytesUsed: number };
    bytes.set(simCardId, (bytes.get(simCardId) ?? 0) + bytesUsed);
  }
  return bytes;
}
