import { sharedCheck, type Health, type HealthChecks, type PartHealth } from '../api/health.ts';
import type { Config } from '../config.ts';
import type { WebhookDeliverer } from '../followers/webhooks/deliverer.ts';
import type { UsageIngest, UsageIngestStatus } from '../ingest/usage-ingest.ts';
import type { ProjectionStatus } from '../projections/engine/administration.ts';
import type { ProvisioningStatus } from '../reactors/provisioning.ts';
import type { Ledger } from './ledger.ts';
import type { OpenProvisioning } from './provisioning.ts';

/** How far a projection may be behind before health turns red. */
const MAX_LAG_SECONDS = 10;

export interface HealthParts {
  readonly ledger: Ledger;
  /** The state of every projection, read once for all who ask at about the same time. */
  readonly statuses: () => Promise<ProjectionStatus[]>;
  readonly provisioning: OpenProvisioning | undefined;
  readonly ingest: UsageIngest | undefined;
  readonly webhooks: WebhookDeliverer | undefined;
}

export function healthOf(
  { roles }: Pick<Config, 'roles'>,
  { ledger, statuses, provisioning, ingest, webhooks }: HealthParts,
): Health {
  const stores = shared(storeChecks(ledger));
  const work = shared({
    ...(provisioning !== undefined && {
      provisioning: () => Promise.resolve(healthOfProvisioning(provisioning.status)),
    }),
    ...(ingest !== undefined && { kafka: () => Promise.resolve(healthOfIngest(ingest)) }),
    ...(webhooks !== undefined && { webhooks: () => Promise.resolve(healthOfWebhooks(webhooks)) }),
  });
  return {
    // In a process with an API, its other roles must not take it out of service.
    readiness: {
      ...stores,
      ...(!roles.includes('api') && work),
      ...(!roles.includes('api') && ingest !== undefined && { kafka: readinessOf(ingest) }),
      ...(!roles.includes('api') &&
        webhooks !== undefined && { webhooks: () => Promise.resolve(healthOfDeliverer(webhooks)) }),
    },
    everything: {
      ...stores,
      ...work,
      ...shared(projectionChecks(ledger.administration.names, statuses)),
    },
  };
}

function shared(checks: HealthChecks): HealthChecks {
  return Object.fromEntries(
    Object.entries(checks).map(([name, check]) => [name, sharedCheck(check)]),
  );
}

function storeChecks({ database, store }: Ledger): HealthChecks {
  return {
    database: async () => {
      const [row] = await database.query<{ is_standby: boolean }>({
        text: 'select pg_is_in_recovery() as is_standby',
      });
      return row?.is_standby === true
        ? { status: 'failing', detail: 'The server is a read-only standby.' }
        : { status: 'ok' };
    },
    log: async () => {
      await store.head();
      return { status: 'ok' };
    },
  };
}

function projectionChecks(
  names: readonly string[],
  statuses: () => Promise<ProjectionStatus[]>,
): HealthChecks {
  return Object.fromEntries(
    names.map((name) => [
      `projection:${name}`,
      async () => {
        const found = (await statuses()).find((candidate) => candidate.name === name);
        return found === undefined ? { status: 'ok' as const } : healthOfProjection(found);
      },
    ]),
  );
}

/** A process that only ingests is of no use before it has reached a broker. */
function readinessOf({ status }: UsageIngest): () => Promise<PartHealth> {
  return () =>
    Promise.resolve(
      status.status === 'connecting'
        ? { status: 'failing', detail: 'no broker has been reached yet' }
        : healthOfStatus(status),
    );
}

function healthOfProvisioning(status: ProvisioningStatus): PartHealth {
  switch (status.status) {
    case 'leading':
      return { status: 'ok', detail: 'this process uses the provider' };
    case 'standing-by':
      return {
        status: 'ok',
        detail: 'another process uses the provider, or the processes are electing one',
      };
    case 'failing':
      return { status: 'failing', detail: status.reason };
    case 'stopped':
      return { status: 'failing', detail: 'stopped' };
  }
}

function healthOfDeliverer({ status }: WebhookDeliverer): PartHealth {
  switch (status.status) {
    case 'starting':
    case 'running':
      return { status: 'ok' };
    case 'failing':
      return { status: 'failing', detail: status.reason };
    case 'stopped':
      return { status: 'failing', detail: 'stopped' };
  }
}

/**
 * The status, with the number of webhooks whose receivers have failed for a day: health is public,
 * and which webhooks they are concerns only their projects. Readiness ignores them, since a restart
 * would not help.
 */
function healthOfWebhooks(deliverer: WebhookDeliverer): PartHealth {
  const health = healthOfDeliverer(deliverer);
  const { failing } = deliverer.counts.byStatus;
  if (health.status === 'failing' || failing === 0) return health;
  const detail = `${failing} webhook(s) failing: nothing is sent until their owners resume them`;
  return { status: 'failing', detail };
}

/**
 * The status, failing also for a fault that needs attention. Readiness ignores that, since a
 * restart would not help.
 */
function healthOfIngest({ status, warning }: UsageIngest): PartHealth {
  const health = healthOfStatus(status);
  return warning === undefined || health.status === 'failing'
    ? health
    : { status: 'failing', detail: warning };
}

function healthOfStatus(status: UsageIngestStatus): PartHealth {
  switch (status.status) {
    case 'consuming': {
      const { length } = status.partitions;
      return { status: 'ok', detail: `this process reads ${length} partition(s)` };
    }
    case 'connecting':
      return { status: 'ok', detail: 'waiting for the assignment of partitions' };
    case 'failing':
      return { status: 'failing', detail: status.reason };
    case 'stopped':
      return { status: 'failing', detail: 'stopped' };
  }
}

function healthOfProjection(projection: ProjectionStatus): PartHealth {
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
