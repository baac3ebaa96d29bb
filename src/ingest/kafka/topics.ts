import type { Kafka } from 'kafkajs';
import { deadLetterTopic } from './dead-letters.ts';

/** Usage can be ingested by so many processes at once; dead letters are few. */
const USAGE_PARTITIONS = 6;
const DEAD_LETTER_PARTITIONS = 1;
/** A message of the size that brokers take, and the headers that say why it is there. */
const MAX_DEAD_LETTER_BYTES = 2 * 1024 * 1024;

/**
 * Makes the topics that are missing.
 * @throws Error naming those that are missing and may not be made
 */
export async function ensureTopics(kafka: Kafka, usageTopic: string): Promise<void> {
  const admin = kafka.admin();
  await admin.connect();
  try {
    const existing = await admin.listTopics();
    const wanted = [
      { topic: usageTopic, numPartitions: USAGE_PARTITIONS },
      {
        topic: deadLetterTopic(usageTopic),
        numPartitions: DEAD_LETTER_PARTITIONS,
        configEntries: [{ name: 'max.message.bytes', value: String(MAX_DEAD_LETTER_BYTES) }],
      },
    ];
    const missing = wanted.filter(({ topic }) => !existing.includes(topic));
    if (missing.length === 0) return;
    await admin.createTopics({ topics: missing, waitForLeaders: true }).catch((error: unknown) => {
      const names = missing.map(({ topic }) => topic).join(' and ');
      throw new Error(`${names} missing, and not to be made: ${String(error)}`, { cause: error });
    });
  } finally {
    await admin.disconnect();
  }
}
