import { randomInt } from 'node:crypto';
import { logLevel, Kafka, Partitioners, type EachBatchPayload } from 'kafkajs';
import { newEventId } from '../../src/shared/ids.ts';
import { usageTraffic } from '../../src/cli/usage-traffic.ts';

export interface UsageTopic {
  readonly brokers: readonly string[];
  readonly name: string;
  readonly messages: number;
  /** Messages per second of a consumer that does nothing with them but to commit them. */
  consume(): Promise<number>;
  close(): Promise<void>;
}

const PARTITIONS = 6;
const MAX_SENT_AT_ONCE = 5_000;
const MAX_BYTES_PER_PARTITION = 1024 * 1024;

/** A topic that holds so many days of usage. */
export async function fillUsageTopic(
  brokers: readonly string[],
  days: number,
): Promise<UsageTopic> {
  const kafka = new Kafka({ brokers: [...brokers], logLevel: logLevel.NOTHING });
  const name = `usage-${randomInt(1_000_000)}`;
  const admin = kafka.admin();
  await admin.connect();
  await admin.createTopics({
    waitForLeaders: true,
    topics: [
      { topic: name, numPartitions: PARTITIONS },
      { topic: `${name}.dead-letter`, numPartitions: 1 },
    ],
  });
  const producer = kafka.producer({ createPartitioner: Partitioners.DefaultPartitioner });
  await producer.connect();
  const traffic = { sims: 1_000, days, startDay: '2022-02-01', badShare: 0, seed: 1 };
  const values = [...usageTraffic(traffic)].map(({ body }) => ({ value: body }));
  for (let start = 0; start < values.length; start += MAX_SENT_AT_ONCE) {
    const messages = values.slice(start, start + MAX_SENT_AT_ONCE);
    await producer.send({ topic: name, acks: -1, messages });
  }
  await producer.disconnect();

  return {
    brokers,
    name,
    messages: values.length,
    async consume() {
      const consumer = kafka.consumer({
        groupId: newEventId(),
        maxBytesPerPartition: MAX_BYTES_PER_PARTITION,
        maxWaitTimeInMs: 500,
      });
      let joinedAtMs = 0;
      consumer.on(consumer.events.GROUP_JOIN, () => {
        joinedAtMs = performance.now();
      });
      await consumer.connect();
      await consumer.subscribe({ topics: [name], fromBeginning: true });
      let count = 0;
      const elapsedMs = await new Promise<number>((resolve, reject) => {
        const eachBatch = async (payload: EachBatchPayload): Promise<void> => {
          const { topic, partition, messages } = payload.batch;
          const last = messages.at(-1)?.offset ?? '0';
          const partitions = [{ partition, offset: String(BigInt(last) + 1n) }];
          await payload.commitOffsetsIfNecessary({ topics: [{ topic, partitions }] });
          payload.resolveOffset(last);
          count += messages.length;
          if (count === values.length) resolve(performance.now() - joinedAtMs);
        };
        const partitionsConsumedConcurrently = PARTITIONS;
        consumer
          .run({
            autoCommit: false,
            eachBatchAutoResolve: false,
            partitionsConsumedConcurrently,
            eachBatch,
          })
          .catch(reject);
      });
      await consumer.disconnect();
      return (values.length * 1_000) / elapsedMs;
    },
    async close() {
      await admin.deleteTopics({ topics: [name, `${name}.dead-letter`] });
      await admin.disconnect();
    },
  };
}
