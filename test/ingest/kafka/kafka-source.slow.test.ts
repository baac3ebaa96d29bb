// @module-tag slow
import { vi } from 'vitest';
import { KafkaSource } from '../../../src/ingest/kafka/kafka-source.ts';
import { createLogger } from '../../../src/shared/logger.ts';
import { prepareWriteProcesses } from '../../commands/core/write-process.ts';
import { describeWithKafka, testBrokers } from '../../kafka/with-kafka.ts';
import { testIngestContract } from '../contract.ts';
import { createTopic } from '../kafka-fixture.ts';

vi.setConfig({ testTimeout: 240_000 });

describeWithKafka('the ingest of usage from Kafka', () => {
  testIngestContract({
    startProcess: prepareWriteProcesses(),
    async createTopic(partitions) {
      const topic = await createTopic({ partitions });
      const cluster = { brokers: testBrokers(), tls: undefined, sasl: undefined };
      const place = { cluster, topic: topic.name, groupId: topic.groupId };
      return {
        name: topic.name,
        send: (messages) =>
          topic.send(messages.map(({ headers = {}, ...rest }) => ({ ...rest, headers }))),
        source: () => new KafkaSource(place, createLogger('silent')),
        committed: () => topic.committed(),
        async deadLetters(count) {
          const letters = await topic.deadLetters(count);
          return letters.map(({ value, headers }) => ({
            value: value?.toString() ?? null,
            reason: String(headers?.['fleetledger-reason']),
            offset: String(headers?.['fleetledger-offset']),
          }));
        },
      };
    },
  });
});
