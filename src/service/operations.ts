import { createMetrics, type Metrics } from '../api/metrics.ts';
import { Responder } from '../api/responder.ts';
import { createApp, listen, type RunningServer } from '../api/server.ts';
import { CHECK_FRESH_MS, type Health } from '../api/health.ts';
import type { Config } from '../config.ts';
import type { WebhookDeliverer } from '../followers/webhooks/deliverer.ts';
import type { UsageIngest } from '../ingest/usage-ingest.ts';
import { Positions } from '../event-store/positions.ts';
import { sharedResult } from '../shared/shared-result.ts';
import type { Following } from './following.ts';
import { healthOf } from './health.ts';
import type { Ledger } from './ledger.ts';
import type { OpenProvisioning } from './provisioning.ts';

/** What a process tells whoever runs it, whatever else it does. */
export interface Operations {
  readonly health: Health;
  readonly metrics: Metrics;
}

/** What this process does beside its API; undefined for what it does not. */
export interface Workers {
  readonly provisioning: OpenProvisioning | undefined;
  readonly ingest: UsageIngest | undefined;
  readonly webhooks: WebhookDeliverer | undefined;
}

export function operationsOf(
  config: Pick<Config, 'roles'>,
  ledger: Ledger,
  workers: Workers,
  { streams }: Pick<Following, 'streams'>,
): Operations {
  const { administration, store } = ledger;
  const statuses = sharedResult(() => administration.statuses(), CHECK_FRESH_MS);
  return {
    health: healthOf(config, { ledger, statuses, ...workers }),
    metrics: createMetrics({
      projections: statuses,
      resumedSubscriptions: () => store.resumedSubscriptions,
      ingestedUsage: () => workers.ingest?.counts,
      webhooks: () => workers.webhooks?.counts,
      eventStreams: () => streams.status,
    }),
  };
}

/**
 * Serves health and metrics alone, in a process without an API. A port that is in use does not keep
 * the process from its work: several processes of one machine may have the same settings.
 */
export async function serveOperations(
  { host, port, corsOrigins, trustedProxies }: Config,
  { models, store, logger }: Ledger,
  operations: Operations,
): Promise<RunningServer | undefined> {
  const responder = new Responder({ models, positions: new Positions(store), logger });
  const pipeline = { run: () => Promise.reject(new Error('there are no routes here')) };
  const app = createApp({
    routes: [],
    pipeline,
    responder,
    ...operations,
    logger,
    corsOrigins,
    trustedProxies,
  });
  try {
    const server = await listen(app, host, port);
    logger.info({ host, port: server.address.port }, 'ready: health and metrics are served');
    return server;
  } catch (error) {
    logger.warn({ err: error, host, port }, 'ready, but health and metrics cannot be served');
    return undefined;
  }
}
