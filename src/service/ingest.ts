import type { KafkaSettings } from '../config.ts';
import { KafkaSource } from '../ingest/kafka/kafka-source.ts';
import { KAFKA_ACTOR } from '../ingest/usage-intake.ts';
import { UsageIngest } from '../ingest/usage-ingest.ts';
import { systemClock } from '../shared/clock.ts';
import type { Ledger } from './ledger.ts';

/** Takes usage from Kafka after it is started. */
export function openIngest(
  { commands, logger }: Ledger,
  { cluster, usageTopic, groupId, project, source }: KafkaSettings,
): UsageIngest {
  return new UsageIngest({
    messages: new KafkaSource({ cluster, topic: usageTopic, groupId }, logger),
    projectId: project,
    source,
    commands: commands.usage,
    prepare: () => commands.tenancy.ensureProject(project, KAFKA_ACTOR, systemClock),
    logger,
  });
}
