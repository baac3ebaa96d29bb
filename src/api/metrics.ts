import { Router, type RequestHandler, type Response } from 'express';
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client';
import type { WebhookCounts } from '../followers/webhooks/deliverer.ts';
import type { OpenStreams } from '../followers/open-streams.ts';
import type { ProjectionStatus } from '../projections/engine/administration.ts';
import { sharedResult } from '../shared/shared-result.ts';
import { EVENT_STREAM } from './event-stream-type.ts';
import { registerStreamMetrics } from './events/stream-metrics.ts';
import { CHECK_FRESH_MS } from './health.ts';
import { page } from './page.ts';
import type { Route } from './route.ts';

/** `/metrics` in the text format of Prometheus. */
export interface Metrics {
  readonly router: Router;
  readonly middleware: RequestHandler;
  /** Files the request under its route: paths hold ids, and would be metrics without number. */
  nameRoute(response: Response, route: Route): void;
}

export interface MetricsSources {
  readonly projections: () => Promise<ProjectionStatus[]>;
  /** How often a subscription to the log was lost and resumed. */
  readonly resumedSubscriptions: () => number;
  /** Undefined where this process takes none. */
  readonly ingestedUsage: () => IngestedUsage | undefined;
  /** Undefined where this process sends none. */
  readonly webhooks: () => WebhookCounts | undefined;
  readonly eventStreams: () => OpenStreams['status'];
}

/** What has come from Kafka, by what became of it. */
export interface IngestedUsage {
  readonly recorded: number;
  readonly duplicates: number;
  readonly deadLetters: Readonly<Record<string, number>>;
}

export function createMetrics({
  projections,
  resumedSubscriptions,
  ingestedUsage,
  webhooks,
  eventStreams,
}: MetricsSources): Metrics {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  const durations = new Histogram({
    name: 'fleetledger_http_request_duration_seconds',
    help: 'Time from the head of a request to the end of its answer.',
    labelNames: ['method', 'route', 'status'] as const,
    buckets: [0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
    registers: [registry],
  });
  const lagEvents = new Gauge({
    name: 'fleetledger_projection_lag_events',
    help: 'About how many events of the log lie beyond the checkpoint of the projection.',
    labelNames: ['projection'] as const,
    registers: [registry],
  });
  const lagSeconds = new Gauge({
    name: 'fleetledger_projection_lag_seconds',
    help: 'How long the first event beyond the checkpoint has been waiting.',
    labelNames: ['projection'] as const,
    registers: [registry],
  });
  const stopped = new Gauge({
    name: 'fleetledger_projection_stopped',
    help: '1 while the projection is stopped by an event that it cannot apply.',
    labelNames: ['projection'] as const,
    registers: [registry],
  });
  const resumed = new Counter({
    name: 'fleetledger_log_subscriptions_resumed_total',
    help: 'Subscriptions to the log that were lost and resumed; usual under load.',
    registers: [],
    // Read when it is asked for.
    collect() {
      this.reset();
      this.inc(resumedSubscriptions());
    },
  });
  registry.registerMetric(resumed);
  const usageRecords = new Counter({
    name: 'fleetledger_usage_records_total',
    help: 'Usage records from Kafka since the process started; a duplicate was recorded before.',
    labelNames: ['outcome'] as const,
    registers: [],
    collect() {
      const usage = ingestedUsage();
      if (usage === undefined) return;
      this.reset();
      this.inc({ outcome: 'recorded' }, usage.recorded);
      this.inc({ outcome: 'duplicate' }, usage.duplicates);
    },
  });
  registry.registerMetric(usageRecords);
  const deadLetters = new Counter({
    name: 'fleetledger_usage_dead_letters_total',
    help: 'Messages of usage that could not be taken, and went to the topic of the dead letters.',
    labelNames: ['reason'] as const,
    registers: [],
    collect() {
      this.reset();
      for (const [reason, count] of Object.entries(ingestedUsage()?.deadLetters ?? {})) {
        this.inc({ reason }, count);
      }
    },
  });
  registry.registerMetric(deadLetters);
  registerStreamMetrics(registry, eventStreams);

  for (const metric of webhookMetrics(webhooks)) registry.registerMetric(metric);

  // A text of some thousand lines takes milliseconds to write, and strangers may ask for it.
  const text = sharedResult(async () => {
    // While the store is unavailable, what the process knows of itself is still served.
    for (const projection of await projections().catch(() => [])) {
      const { name, status } = projection;
      lagEvents.set({ projection: name }, projection.lagEvents);
      lagSeconds.set({ projection: name }, projection.lagSeconds);
      stopped.set({ projection: name }, status === 'stopped' ? 1 : 0);
    }
    return registry.metrics();
  }, CHECK_FRESH_MS);

  const router = Router();
  page(router, '/metrics', async (_request, response) => {
    const metrics = await text();
    response.setHeader('Content-Type', registry.contentType);
    response.end(metrics);
  });

  return {
    router,
    middleware: (request, response, next) => {
      const startedAtMs = performance.now();
      response.on('finish', () => {
        // An event stream is answered for as long as its client stays.
        if (response.getHeader('Content-Type') === EVENT_STREAM) return;
        const route = String(response.locals['route'] ?? 'other');
        durations.observe(
          { method: request.method, route, status: response.statusCode },
          (performance.now() - startedAtMs) / 1_000,
        );
      });
      next();
    },
    nameRoute: (response, route) => {
      response.locals['route'] = route.path;
    },
  };
}

/** Read when they are asked for. */
function webhookMetrics(webhooks: MetricsSources['webhooks']): readonly (Gauge | Counter)[] {
  const byStatus = new Gauge({
    name: 'fleetledger_webhooks',
    help:
      'Webhooks of the installation by status. Nothing is sent to one that is failing until it ' +
      'is resumed.',
    labelNames: ['status'] as const,
    registers: [],
    collect() {
      for (const [status, count] of Object.entries(webhooks()?.byStatus ?? {})) {
        this.set({ status }, count);
      }
    },
  });
  const attempts = new Counter({
    name: 'fleetledger_webhook_attempts_total',
    help:
      'Attempts of this process to deliver webhooks, since it started; gone: the receiver ' +
      'answered 410.',
    labelNames: ['outcome'] as const,
    registers: [],
    collect() {
      this.reset();
      for (const [outcome, count] of Object.entries(webhooks()?.attempts ?? {})) {
        this.inc({ outcome }, count);
      }
    },
  });
  return [byStatus, attempts];
}
