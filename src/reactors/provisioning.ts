import { setTimeout as delay } from 'node:timers/promises';
import { batchDecider } from '../commands/deveui.ts';
import type { EventStore, SnapshotStore } from '../event-store/port.ts';
import type { StreamName } from '../event-store/stream-name.ts';
import { BatchRun, type BatchRunParts } from './batch-run.ts';
import { OpenBatches, type OpenBatch } from './open-batches.ts';

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

/**
 * Between two who lead, when the first did not end by itself: for so long its requests may go on, and then
 * they are broken off; and only after more than that does the second send any. So there are never more in
 * flight than one process may have.
 */
const LAST_REQUESTS_MS = 500;
const HANDOVER_MS = 1_000;
const RESTART_AFTER_MS = 1_000;

/**
 * The reactor that registers DevEUIs: batches in the log, requests to the provider, outcomes into the log. One
 * process leads for each provider; it works on all batches that are with it, side by side.
 */
export class Provisioning {
  readonly #parts: ProvisioningParts;
  readonly #stopping = new AbortController();
  #done: Promise<void> = Promise.resolve();

  constructor(parts: ProvisioningParts) {
    this.#parts = parts;
  }

  start(): void {
    this.#done = this.#run();
  }

  /** No new requests; those in flight finish. What is left goes on with the next start. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#done;
  }

  async #run(): Promise<void> {
    const { lead, logger } = this.#parts;
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      const term = await lead(signal);
      if (term === undefined) return;
      let lastRequests: NodeJS.Timeout | undefined;
      term.lost.addEventListener('abort', () => {
        lastRequests = setTimeout(() => this.#parts.provider.abort(), LAST_REQUESTS_MS);
      });
      try {
        await this.#serve(AbortSignal.any([signal, term.lost]));
      } catch (error) {
        logger.warn({ err: error }, 'provisioning waits, and then goes on');
        await delay(RESTART_AFTER_MS, undefined, { signal }).catch(() => undefined);
      } finally {
        clearTimeout(lastRequests);
        await term.end().catch(() => undefined);
      }
    }
  }

  /** Until `signal`, or until the log cannot be followed. */
  async #serve(signal: AbortSignal): Promise<void> {
    const open = new OpenBatches(this.#parts.store, this.#parts.snapshots);
    const runs = new Runs(this.#parts);
    const ending = new AbortController();
    const following = AbortSignal.any([signal, ending.signal]);
    signal.addEventListener('abort', () => runs.haltAll());
    try {
      await open.follow(
        following,
        async () => {
          await this.#handOver(open.all);
          for (const batch of open.all) runs.start(batch);
        },
        (stream, batch) => (batch === undefined ? runs.halt(stream) : runs.start(batch)),
      );
    } finally {
      ending.abort();
      await runs.ended();
    }
    await open.keep().catch(() => undefined);
  }

  /** What is in flight was sent by a process that led before. */
  async #handOver(batches: readonly OpenBatch[]): Promise<void> {
    const { handler, provider, logger } = this.#parts;
    let isInFlight = false;
    for (const { stream, provider: address } of batches) {
      if (address !== provider.address) {
        logger.warn({ stream, provider: address }, 'a batch is with another provider: it waits');
        continue;
      }
      const { state } = await handler.peek(batchDecider, stream, 0);
      isInFlight ||=
        state.situation !== 'missing' && state.open.some(({ phase }) => phase === 'in-flight');
    }
    const { signal } = this.#stopping;
    if (isInFlight) await delay(HANDOVER_MS, undefined, { signal }).catch(() => undefined);
  }
}

/** The batches being worked on, each by one run at a time. */
class Runs {
  readonly #parts: BatchRunParts;
  readonly #running = new Map<StreamName, BatchRun>();
  /** Everything that was started, until it has ended. */
  readonly #ending = new Map<StreamName, Promise<void>>();
  #isHalted = false;

  constructor(parts: BatchRunParts) {
    this.#parts = parts;
  }

  start(batch: OpenBatch): void {
    const { stream, provider } = batch;
    this.halt(stream);
    if (provider !== this.#parts.provider.address) return;
    const before = this.#ending.get(stream) ?? Promise.resolve();
    const ended = before.then(async () => {
      if (this.#isHalted) return;
      const run = new BatchRun(this.#parts, batch);
      this.#running.set(stream, run);
      await run.done;
      if (this.#running.get(stream) === run) this.#running.delete(stream);
    });
    this.#ending.set(stream, ended);
    void ended.finally(() => {
      if (this.#ending.get(stream) === ended) this.#ending.delete(stream);
    });
  }

  halt(stream: StreamName): void {
    this.#running.get(stream)?.halt();
  }

  haltAll(): void {
    this.#isHalted = true;
    for (const run of this.#running.values()) run.halt();
  }

  async ended(): Promise<void> {
    this.haltAll();
    await Promise.all(this.#ending.values());
  }
}
