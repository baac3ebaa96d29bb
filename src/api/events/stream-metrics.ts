import { Counter, Gauge, type Registry } from 'prom-client';
import type { OpenStreams } from '../../followers/open-streams.ts';

/** Registers what is known of event streams. It is read when it is asked for. */
export function registerStreamMetrics(
  registry: Registry,
  status: () => OpenStreams['status'],
): void {
  const open = new Gauge({
    name: 'fleetledger_event_streams_open',
    help: 'Event streams, and requests that wait for events, that this process has open.',
    registers: [],
    collect() {
      this.set(status().open);
    },
  });
  const lag = new Gauge({
    name: 'fleetledger_event_streams_lag_seconds',
    help: 'How far the event stream that is the furthest behind is behind the log.',
    registers: [],
    collect() {
      this.set(status().lagSeconds);
    },
  });
  const ended = new Counter({
    name: 'fleetledger_event_streams_ended_total',
    help: 'Event streams that have ended, by reason: the client left, or was slow, revoked, …',
    labelNames: ['reason'] as const,
    registers: [],
    collect() {
      this.reset();
      for (const [reason, count] of Object.entries(status().ended)) this.inc({ reason }, count);
    },
  });
  for (const metric of [open, lag, ended]) registry.registerMetric(metric);
}
