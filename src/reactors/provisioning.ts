import type { EventStore, SnapshotStore } from '../event-store/port.ts';
import { BatchRun, type BatchRunParts } from './batch-run.ts';
import { BatchRuns } from './batch-runs.ts';
import { OpenBatches, type OpenBatch } from './open-batches.ts';
import { sleep } from '../shared/sleep.ts';
import { errorMessage } from '../shared/errors.ts';

export interface ProvisioningParts extends BatchRunParts {
  readonly store: EventStore;
  readonly snapshots: SnapshotStore;
  /** Waits until this process alone asks the provider; undefined when `signal` ends that. */
  readonly lead: (signal: AbortSignal) => Promise<LeadingTerm | undefined>;
}

export interface LeadingTerm {
  /** Aborted when another process may lead. */
  readonly lost: AbortSignal;
  end(): Promise<void>;
}

export type ProvisioningStatus =
  | { readonly status: 'stopped' }
  /** Another process leads, or none can be asked who does. */
  | { readonly status: 'standing-by' }
  | { readonly status: 'leading' }
  | { readonly status: 'failing'; readonly reason: string };

/**
 * When one process loses the lead to another, its requests may take so long, and are then aborted;
 * the other sends its first request only after more than that. So there are never more in flight
 * than one process may have.
 */
const LAST_REQUESTS_MS = 500;
const HANDOVER_MS = 1_000;
const RESTART_AFTER_MS = 1_000;
/** How long outcomes are kept that cannot be recorded, once the process is to end. */
const GIVE_UP_AFTER_MS = 15_000;

/**
 * The reactor that registers DevEUIs: batches in the log, requests to the provider, outcomes into
 * the log. One process leads for each provider; it works on all batches that are with it, side by
 * side.
 */
export class Provisioning {
  readonly #parts: ProvisioningParts;
  readonly #stopping = new AbortController();
  readonly #givingUp = new AbortController();
  #takesOn: (batch: OpenBatch) => boolean = () => true;
  #status: ProvisioningStatus = { status: 'stopped' };
  #done: Promise<void> = Promise.resolve();

  constructor(parts: ProvisioningParts) {
    this.#parts = parts;
  }

  get status(): ProvisioningStatus {
    return this.#status;
  }

  /** `takesOn`: which of the batches that are with the provider; all, if it is not given. */
  start(takesOn?: (batch: OpenBatch) => boolean): void {
    if (takesOn !== undefined) this.#takesOn = takesOn;
    this.#done = this.#run();
  }

  /** No new requests; those in flight finish. The next start resumes what is left. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    const giveUp = setTimeout(() => this.#givingUp.abort(), GIVE_UP_AFTER_MS);
    await this.#done;
    clearTimeout(giveUp);
    this.#status = { status: 'stopped' };
  }

  async #run(): Promise<void> {
    const { lead, logger } = this.#parts;
    const { signal } = this.#stopping;
    this.#status = { status: 'standing-by' };
    while (!signal.aborted) {
      const term = await lead(signal);
      if (term === undefined) return;
      let lastRequests: NodeJS.Timeout | undefined;
      term.lost.addEventListener('abort', () => {
        lastRequests = setTimeout(() => this.#parts.provider.abort(), LAST_REQUESTS_MS);
      });
      try {
        await this.#serve(AbortSignal.any([signal, term.lost]));
        this.#status = { status: 'standing-by' };
      } catch (error) {
        logger.warn({ err: error }, 'provisioning waits for a retry');
        const reason = errorMessage(error);
        this.#status = { status: 'failing', reason };
        await sleep(RESTART_AFTER_MS, signal);
      } finally {
        clearTimeout(lastRequests);
        await term.end().catch(() => undefined);
      }
    }
  }

  /** Until `signal`, or until the log cannot be followed. */
  async #serve(signal: AbortSignal): Promise<void> {
    const open = new OpenBatches(this.#parts.store, this.#parts.snapshots);
    const runs = new BatchRuns((batch) => new BatchRun(this.#parts, batch, this.#givingUp.signal));
    signal.addEventListener('abort', () => runs.haltAll());
    const take = (batch: OpenBatch): void => {
      if (!this.#parts.provider.isAt(batch.provider)) runs.halt(batch.stream);
      else if (this.#takesOn(batch)) runs.start(batch, () => open.drained(batch.stream));
    };
    try {
      await open.follow(signal, {
        onReady: async () => {
          await this.#handOver(open.all);
          this.#status = { status: 'leading' };
          for (const batch of open.all) take(batch);
        },
        onChanged: take,
      });
    } finally {
      await runs.ended();
    }
    await open.keep().catch(() => undefined);
  }

  /** What is in flight was sent by a process that led before. */
  async #handOver(batches: readonly OpenBatch[]): Promise<void> {
    const { commands, provider, logger } = this.#parts;
    let isInFlight = false;
    for (const batch of batches.filter(this.#takesOn)) {
      const { stream, provider: address } = batch;
      if (!provider.isAt(address)) {
        logger.warn({ stream, provider: address }, 'batch waits: it began with another provider');
        continue;
      }
      const state = await commands.state(stream);
      isInFlight ||=
        state.status !== 'missing' && state.open.some(({ phase }) => phase === 'in-flight');
    }
    const { signal } = this.#stopping;
    if (isInFlight) await sleep(HANDOVER_MS, signal);
  }
}
