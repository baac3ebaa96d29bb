import { randomInt } from 'node:crypto';
import type * as commandsModule from '../../src/commands/usage/commands.ts';
import type * as sourceModule from '../../src/ingest/kafka/kafka-source.ts';
import type * as ingestModule from '../../src/ingest/usage-ingest.ts';
import { newEventId } from '../../src/shared/ids.ts';
import { createLogger } from '../../src/shared/logger.ts';
import { compiled } from '../build.ts';
import type { RowOf } from './bare-inserter.ts';
import type { BenchLog } from './bench-log.ts';
import type { UsageTopic } from './usage-topic.ts';

const POLL_INTERVAL_MS = 1;

/** Events per second, from joining the group until the last message of the topic is durable. */
export async function ingestUsage(topic: UsageTopic, { store }: BenchLog): Promise<number> {
  const { UsageCommands } = await compiled<typeof commandsModule>('commands/usage/commands.ts');
  const { KafkaSource } = await compiled<typeof sourceModule>('ingest/kafka/kafka-source.ts');
  const logger = createLogger('silent');
  const { UsageIngest } = await compiled<typeof ingestModule>('ingest/usage-ingest.ts');
  const ingest = new UsageIngest({
    messages: new KafkaSource(
      {
        cluster: { brokers: topic.brokers, tls: undefined, sasl: undefined },
        topic: topic.name,
        groupId: newEventId(),
      },
      logger,
    ),
    // A project of its own: under the names of another round nothing would be stored.
    projectId: `p${randomInt(1_000_000)}`,
    source: '',
    commands: new UsageCommands({ store }),
    prepare: () => Promise.resolve(),
    logger,
  });
  ingest.start();
  await until(() => ingest.status.status === 'consuming');
  const joinedAtMs = performance.now();
  await until(() => ingest.counts.recorded + ingest.counts.duplicates === topic.messages);
  const elapsedMs = performance.now() - joinedAtMs;
  const { recorded } = ingest.counts;
  await ingest.stop();
  if (recorded !== topic.messages)
    throw new Error(`${recorded} of ${topic.messages} were recorded`);
  return (topic.messages * 1_000) / elapsedMs;
}

/** The rows that it stores. */
export function usageRows(): RowOf {
  const project = `p${randomInt(1_000_000)}`;
  const topic = `usage-${randomInt(1_000_000)}`;
  const usedAt = '2022-02-01T00:00:00.000Z';
  return (index) => [
    `usage-${project}.message/${topic}/${index % 6}/${Math.floor(index / 6)}`,
    '0',
    newEventId(),
    'UsageRecorded',
    JSON.stringify({ simCardId: `8944${index % 1_000}`, bytesUsed: index, usedAt }),
    JSON.stringify({
      projectId: project,
      actor: 'system:kafka',
      correlationId: `kafka:${topic}/${index % 6}/${Math.floor(index / 6_000)}`,
      occurredAt: usedAt,
      schemaVersion: 1,
    }),
    usedAt,
  ];
}

async function until(isSo: () => boolean): Promise<void> {
  while (!isSo()) await new Promise((resolve) => setTimeout(resolve, POLL_INTERVAL_MS));
}
