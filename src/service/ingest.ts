import { ensureProject } from '../commands/tenancy/ensure-project.ts';
import { UsageCommands } from '../commands/usage/commands.ts';
import type { KafkaSettings } from '../config.ts';
import { UsageIngest } from '../ingest/usage-ingest.ts';
import { systemClock } from '../shared/clock.ts';
import type { Ledger } from './ledger.ts';

/** Takes usage from Kafka, once it is started. */
export function openIngest(
  { log, handler, logger }: Ledger,
  { brokers, usageTopic, groupId, project, source }: KafkaSettings,
): UsageIngest {
  return new UsageIngest({
    brokers,
    topic: usageTopic,
    groupId,
    projectId: project,
    source,
    // Not as this process's own writes: no client waits to read them, and reads would wait for the topic.
    commands: new UsageCommands(log),
    prepare: () => ensureProject(handler, project, 'system:kafka', systemClock),
    logger,
  });
}
