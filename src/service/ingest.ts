import type { KafkaSettings } from '../config.ts';
import { KAFKA_ACTOR } from '../ingest/usage-batch.ts';
import { UsageIngest } from '../ingest/usage-ingest.ts';
import { systemClock } from '../shared/clock.ts';
import type { Ledger } from './ledger.ts';

/** Takes usage from Kafka, once it is started. */
export function openIngest(
  { commands, logger }: Ledger,
  { brokers, usageTopic, groupId, project, source }: KafkaSettings,
): UsageIngest {
  return new UsageIngest({
    brokers,
    topic: usageTopic,
    groupId,
    projectId: project,
    source,
    commands: commands.usage,
    prepare: () => commands.tenancy.ensureProject(project, KAFKA_ACTOR, systemClock),
    logger,
  });
}
