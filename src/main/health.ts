import type { HealthChecks, PartHealth } from '../api/health.ts';
import type { UsageIngest, UsageIngestStatus } from '../ingest/usage-ingest.ts';
import type { ProjectionStatus } from '../projections/engine/administration.ts';
import type { ProvisioningStatus } from '../reactors/provisioning.ts';
import type { Ledger } from './ledger.ts';
import type { OpenProvisioning } from './provisioning.ts';

/** How far a projection may be behind before health turns red. */
const MAX_LAG_SECONDS = 10;

export function healthChecks(
  { database, store, administration }: Ledger,
  provisioning: OpenProvisioning | undefined,
  ingest: UsageIngest | undefined,
): HealthChecks {
  return () => {
    const statuses = administration.statuses();
    const projection = (name: string) => async () => {
      const found = (await statuses).find((candidate) => candidate.name === name);
      return found === undefined ? { status: 'ok' as const } : healthOf(found);
    };
    return {
      database: async () => {
        await database.query({ text: 'select 1' });
        return { status: 'ok' };
      },
      log: async () => {
        await store.head();
        return { status: 'ok' };
      },
      ...(provisioning !== undefined && {
        provisioning: () => Promise.resolve(healthOfProvisioning(provisioning.status)),
      }),
      ...(ingest !== undefined && {
        kafka: () => Promise.resolve(healthOfIngest(ingest.status)),
      }),
      ...Object.fromEntries(
        administration.names.map((name) => [`projection:${name}`, projection(name)]),
      ),
    };
  };
}

function healthOfProvisioning(status: ProvisioningStatus): PartHealth {
  switch (status.situation) {
    case 'leading':
      return { status: 'ok', detail: 'this process asks the provider' };
    case 'standing-by':
      return {
        status: 'ok',
        detail: 'another process asks the provider, or it is being found out',
      };
    case 'failing':
      return { status: 'failing', detail: status.reason };
    case 'stopped':
      return { status: 'failing', detail: 'stopped' };
  }
}

function healthOfIngest(status: UsageIngestStatus): PartHealth {
  switch (status.situation) {
    case 'consuming': {
      const { length } = status.partitions;
      return { status: 'ok', detail: `this process takes ${length} partition(s)` };
    }
    case 'connecting':
      return { status: 'ok', detail: 'it is being found out which partitions this process takes' };
    case 'failing':
      return { status: 'failing', detail: status.reason };
    case 'stopped':
      return { status: 'failing', detail: 'stopped' };
  }
}

function healthOf(projection: ProjectionStatus): PartHealth {
  const { status, generation, lagSeconds, isStalled, isBeingBuilt, lastError } = projection;
  const behind = `${Math.round(lagSeconds)} s behind`;
  if (lastError !== undefined) {
    const { eventId, message } = lastError;
    return { status: 'failing', detail: `stopped at event ${eventId}: ${message}` };
  }
  // An admin wants it so, and the rest of the service is as it should be.
  if (status === 'paused') return { status: 'ok', detail: `paused by an admin, ${behind}` };
  if (generation === 0) return { status: 'failing', detail: 'being built from this log' };
  if (isBeingBuilt) return { status: 'ok', detail: `being built for this release, ${behind}` };
  if (isStalled) return { status: 'failing', detail: `stalled, ${behind}` };
  return lagSeconds > MAX_LAG_SECONDS ? { status: 'failing', detail: behind } : { status: 'ok' };
}
