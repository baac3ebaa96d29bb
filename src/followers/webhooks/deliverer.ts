import type { WebhookCommands } from '../../commands/webhooks/commands.ts';
import type { WebhookStatus } from '../../commands/webhooks/decider.ts';
import type { Database } from '../../database/database.ts';
import type { EventStore, SnapshotStore } from '../../event-store/port.ts';
import type { SharedFeed } from '../../event-store/shared-feed.ts';
import { errorMessage } from '../../shared/errors.ts';
import { FairSlots } from '../../shared/fair-slots.ts';
import type { Logger } from '../../shared/logger.ts';
import { sleep } from '../../shared/sleep.ts';
import { DeliveryClient, type DeliveryClientOptions } from './delivery-client.ts';
import { LEASE_MS, LeaseLostError, WebhookProgress, type Lease } from './progress.ts';
import { WebhookRegistry, type RegisteredWebhook, type WebhookKey } from './registry.ts';
import { WebhookRun, type RetrySchedule, type RunParts } from './webhook-run.ts';

export interface DelivererOptions {
  readonly store: EventStore;
  /** The reading of the log that all followers of this process share. */
  readonly feed: Pick<SharedFeed, 'subscribe'>;
  readonly snapshots: SnapshotStore;
  readonly database: Database;
  readonly commands: WebhookCommands;
  readonly logger: Logger;
  readonly processId: string;
  readonly client: DeliveryClientOptions;
  readonly schedule?: RetrySchedule;
}

/** A day of attempts, the later ones ten minutes apart. */
const SCHEDULE: RetrySchedule = {
  minMs: 1_000,
  maxMs: 600_000,
  giveUpAfterMs: 24 * 60 * 60 * 1_000,
};
/**
 * Attempts at once in a process, and of one project among them: slow receivers must leave some to
 * others.
 */
const SLOTS = { slots: 64, slotsPerShare: 16 };
const LOOK_INTERVAL_MS = 1_000;

interface Running {
  readonly lease: Lease;
  readonly ending: AbortController;
  /** When the lease was last known to be held (performance.now()). */
  renewedAtMs: number;
  readonly ended: Promise<void>;
}

/** How the webhooks of the installation are, and what this process has sent since it started. */
export interface WebhookCounts {
  readonly byStatus: Readonly<Record<WebhookStatus['status'], number>>;
  readonly attempts: Readonly<Record<'delivered' | 'failed' | 'gone', number>>;
}

export type DelivererStatus =
  | { readonly status: 'starting' | 'running' | 'stopped' }
  | { readonly status: 'failing'; readonly reason: string };

/**
 * Sends webhooks. Every process with this role looks each second for those that no process sends,
 * and takes their leases; one that dies loses them within seconds, and the others resume
 * from the position that was recorded with its last delivery.
 */
export class WebhookDeliverer {
  readonly #options: DelivererOptions;
  readonly #registry: WebhookRegistry;
  readonly #progress: WebhookProgress;
  readonly #client: DeliveryClient;
  readonly #runParts: RunParts;
  readonly #runs = new Map<string, Running>();
  readonly #stopping = new AbortController();
  readonly #attempts = { delivered: 0, failed: 0, gone: 0 };
  #status: DelivererStatus = { status: 'starting' };
  #working: Promise<unknown> = Promise.resolve();
  #wake: () => void = () => undefined;

  constructor(options: DelivererOptions) {
    this.#options = options;
    const { store, feed, snapshots, database, processId, schedule = SCHEDULE } = options;
    this.#registry = new WebhookRegistry(store, feed, snapshots);
    this.#progress = new WebhookProgress(database, store.logId, processId);
    this.#client = new DeliveryClient(options.client);
    this.#runParts = {
      store,
      feed,
      commands: options.commands,
      client: this.#client,
      progress: this.#progress,
      registry: this.#registry,
      schedule,
      slots: new FairSlots(SLOTS),
      onAttempt: (status) => {
        this.#attempts[status] += 1;
      },
    };
  }

  get status(): DelivererStatus {
    return this.#status;
  }

  get counts(): WebhookCounts {
    const byStatus = { active: 0, failing: 0, ended: 0 };
    for (const { webhook } of this.#registry.all) byStatus[webhook.condition.status] += 1;
    return { byStatus, attempts: { ...this.#attempts } };
  }

  start(): void {
    this.#working = Promise.all([this.#follow(), this.#renew()]);
  }

  /** Attempts that are under way are cut off: whoever takes over makes them again. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    this.#endRuns();
    this.#wake();
    await this.#working;
    await Promise.all([...this.#runs.values()].map(({ ended }) => ended));
    await this.#registry.keep().catch(() => undefined);
    this.#client.close();
    this.#status = { status: 'stopped' };
  }

  /**
   * Follows the registry and acquires leases as long as the process lives; what fails is retried.
   */
  async #follow(): Promise<void> {
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      const attempt = new AbortController();
      const stop = (): void => attempt.abort();
      signal.addEventListener('abort', stop, { once: true });
      let acquiring: Promise<void> = Promise.resolve();
      try {
        await this.#registry.follow(attempt.signal, {
          onReady: () => {
            acquiring = this.#acquireRepeatedly(attempt.signal).finally(stop);
          },
          onChanged: (key) => this.#changed(key),
        });
      } catch (error) {
        this.#failing(error, 'webhooks cannot be followed; it is tried again');
      } finally {
        attempt.abort();
        signal.removeEventListener('abort', stop);
        // No run would learn of what happens to its webhook while the log is not followed; neither
        // would one that begins meanwhile, of a lease that was asked for before.
        await acquiring;
        this.#endRuns();
      }
      await sleep(LOOK_INTERVAL_MS, signal);
    }
  }

  async #acquireRepeatedly(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const wakened = new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      try {
        await this.#acquire();
        this.#status = { status: 'running' };
      } catch (error) {
        this.#failing(error, 'webhooks cannot be acquired; it is tried again');
      }
      const waiting = new AbortController();
      await Promise.race([
        wakened,
        sleep(LOOK_INTERVAL_MS, AbortSignal.any([signal, waiting.signal])),
      ]);
      waiting.abort();
    }
  }

  async #acquire(): Promise<void> {
    const free = this.#registry.all.filter(
      (registered) =>
        registered.webhook.condition.status === 'active' && !this.#runs.has(nameOf(registered)),
    );
    const acquiredAtMs = performance.now();
    const wanted = new Map(free.map((registered) => [nameOf(registered), registered]));
    for (const lease of await this.#progress.acquire(free)) {
      const registered = wanted.get(nameOf(lease));
      // What has changed meanwhile is acquired again, as it is now.
      const isCurrent = registered?.webhook === this.#registry.find(lease)?.webhook;
      if (registered !== undefined && isCurrent) this.#begin(lease, registered, acquiredAtMs);
      else await this.#progress.release(lease);
    }
  }

  #begin(lease: Lease, registered: RegisteredWebhook, renewedAtMs: number): void {
    const name = nameOf(lease);
    const ending = new AbortController();
    const run = new WebhookRun(this.#runParts, {
      lease,
      registered,
      signal: ending.signal,
      stopping: this.#stopping.signal,
      isHeld: () => performance.now() - running.renewedAtMs < LEASE_MS,
    });
    const ended = run
      .run()
      .catch((error: unknown) => this.#runFailed(lease, error))
      .then(async () => {
        ending.abort();
        await this.#progress.release(lease).catch(() => undefined);
        this.#runs.delete(name);
        this.#wake();
      });
    const running: Running = { lease, ending, renewedAtMs, ended };
    this.#runs.set(name, running);
    if (this.#stopping.signal.aborted) ending.abort();
  }

  #endRuns(): void {
    for (const { ending } of this.#runs.values()) ending.abort();
  }

  async #runFailed(lease: Lease, error: unknown): Promise<void> {
    const { projectId, webhookId } = lease;
    const level = error instanceof LeaseLostError ? 'debug' : 'warn';
    this.#options.logger[level](
      { err: error, projectId, webhookId },
      'the sending of a webhook was interrupted; it resumes after its last delivery',
    );
    // The lease is kept meanwhile, so that a failure which lasts is not met again at once.
    await sleep(LOOK_INTERVAL_MS, this.#stopping.signal);
  }

  /** Its run begins again with what it is now, or is over. */
  #changed(key: WebhookKey): void {
    const running = this.#runs.get(nameOf(key));
    running?.ending.abort();
    if (this.#registry.find(key) === undefined) {
      const forget = (): Promise<void> => this.#progress.forget(key);
      // What cannot be deleted now is left behind: nothing finds it any more.
      (running?.ended ?? Promise.resolve()).then(forget).catch(() => undefined);
    }
    this.#wake();
  }

  async #renew(): Promise<void> {
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      await sleep(LOOK_INTERVAL_MS, signal);
      const runs = [...this.#runs.values()];
      if (runs.length === 0) continue;
      const askedAtMs = performance.now();
      try {
        const renewed = await this.#progress.renew(runs.map(({ lease }) => lease));
        const held = new Set(renewed.map(({ token }) => token));
        for (const running of runs) {
          if (held.has(running.lease.token)) running.renewedAtMs = askedAtMs;
          else running.ending.abort();
        }
      } catch (error) {
        this.#failing(error, 'leases of webhooks cannot be renewed; it is tried again');
      }
    }
  }

  #failing(error: unknown, message: string): void {
    if (this.#stopping.signal.aborted) return;
    const reason = errorMessage(error);
    if (this.#status.status !== 'failing') this.#options.logger.warn({ reason }, message);
    this.#status = { status: 'failing', reason };
  }
}

function nameOf({ projectId, webhookId }: WebhookKey): string {
  return `${projectId}/${webhookId}`;
}
