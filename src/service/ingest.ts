import { ensureProject } from '../commands/tenancy/ensure-project.ts';
import { UsageCommands } from '../commands/usage/commands.ts';
import type { KafkaSettings } from '../config.ts';
import { KAFKA_ACTOR } from '../ingest/usage-batch.ts';
import { UsageIngest } from '../ingest/usage-ingest.ts';
import { systemClock } from '../shared/clock.ts';
import type { Ledger } from './ledger.ts';

/** Takes usage from Kafka, once it is started. */
export function openIngest(
  { store, handler, logger }: Ledger,
  { brokers, usageTopic, groupId, project, source }: KafkaSettings,
): UsageIngest {
  return new UsageIngest({
    brokers,
    topic: usageTopic,
    groupId,
    projectId: project,
    source,
    commands: new UsageCommands({ store }),
    prepare: () => ensureProject(handler, project, KAFKA_ACTOR, systemClock),
    logger,
  });
}
