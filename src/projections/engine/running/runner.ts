import type { Database } from '../../../database/database.ts';
import type { EventStore, Position } from '../../../event-store/port.ts';
import type { Logger } from '../../../shared/logger.ts';
import { GenerationWriter, LeaseLostError } from './generation-writer.ts';
import { ownLiveGeneration, type Generation } from '../generations/generations.ts';
import { RETRY_INTERVAL_MS, type Lease, type Leases } from './lease.ts';
import { isPaused } from './paused-projections.ts';
import { Pause } from './pause.ts';
import type { Projection } from '../projection.ts';
import type { SharedFeed } from '../../../event-store/shared-feed.ts';
import { readSkips } from './skips.ts';
import { clearStop, readStop, writeStop, type Stop } from './stops.ts';

export interface RunnerOptions {
  readonly database: Database;
  readonly store: EventStore;
  readonly feed: SharedFeed;
  readonly leases: Leases;
  readonly projection: Projection;
  readonly logger: Logger;
  readonly applyTimeoutMs?: number | undefined;
  /** Called after each commit that moved the checkpoint of the generation. */
  readonly onMoved: (generation: Generation, position: Position) => void;
  /** Whether a query waits for a position: then nothing is put off. */
  readonly isAwaited: () => boolean;
}

/**
 * How long events gather for the next batch: fewer commits, and still far below 50 ms.
 */
const GATHER_MS = 15;
/** A batch of this size shows that the runner is behind. */
const FULL_BATCH_EVENTS = 500;
/** How often a checkpoint is written that moved only over events of other projections. */
const IDLE_CHECKPOINT_INTERVAL_MS = 100;
const RETRY_AFTER_ERROR_MS = 500;

/** Runs one projection in this process, whenever this process holds its lease. */
export class Runner {
  readonly #options: RunnerOptions;
  readonly #logger: Logger;
  readonly #stopping = new AbortController();
  /** The wait before another attempt. `wake` does not end it. */
  readonly #pause = new Pause(this.#stopping.signal);
  /** The wait for more events before a commit. `wake` ends it. */
  readonly #putOff = new Pause(this.#stopping.signal);
  #done: Promise<void> = Promise.resolve();

  constructor(options: RunnerOptions) {
    this.#options = options;
    this.#logger = options.logger.child({ projection: options.projection.name });
  }

  start(): void {
    this.#done = this.#run();
  }

  /** Finishes the current batch and releases the lease. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#done;
  }

  /** Looks now whether it can run, instead of from time to time. */
  checkForWork(): void {
    this.#pause.end();
  }

  /** A query waits for what is put off: it is written now. */
  wake(): void {
    this.#putOff.end();
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      try {
        await this.#runWithLease();
      } catch (error) {
        if (signal.aborted) return;
        if (error instanceof LeaseLostError) {
          this.#logger.info('projection ended here: taken over, paused, or replaced by a rebuild');
          continue;
        }
        this.#logger.warn({ err: error }, 'projection waits for a retry');
        await this.#pause.for(RETRY_AFTER_ERROR_MS);
      }
    }
  }

  async #runWithLease(): Promise<void> {
    const { database, store, leases, projection } = this.#options;
    const generation = await ownLiveGeneration(database, projection, store.logId);
    if (generation === undefined || (await isPaused(database, projection.name))) {
      await this.#pause.for(RETRY_INTERVAL_MS);
      return;
    }
    const lease = await leases.tryAcquire(generation);
    if (lease === undefined) {
      await this.#pause.for(RETRY_INTERVAL_MS);
      return;
    }
    let writer: GenerationWriter | undefined;
    try {
      // It may have been paused since the look above: a pause takes the lease away only from its
      // holder, and this process did not hold it yet.
      if (await isPaused(database, projection.name)) return;
      const { signal } = this.#stopping;
      writer = await GenerationWriter.open({ ...this.#options, generation, lease, signal });
      await this.#follow(generation, lease, writer);
    } finally {
      await writer?.close();
      await lease.release().catch(() => undefined);
    }
  }

  async #follow(generation: Generation, lease: Lease, writer: GenerationWriter): Promise<void> {
    const stop = await readStop(writer.connection, generation);
    if (stop !== undefined && !writer.skipped.has(stop.eventId)) {
      return this.#standStill(generation, lease, writer, stop);
    }
    if (stop !== undefined) await clearStop(writer.connection, generation, stop);
    const reading = new AbortController();
    const signal = AbortSignal.any([this.#stopping.signal, lease.signal, reading.signal]);
    const { feed, projection } = this.#options;
    // A batch without events for this projection only moves the position. It is written together
    // with the next one, or when its time is over, which begins with the first such batch.
    let seen = writer.position;
    let dueAtMs = 0;
    let stopped: Stop | undefined;
    const subscription = feed.subscribe({ after: seen, types: projection.handles, signal });
    const batches = subscription[Symbol.asyncIterator]();
    let next = batches.next();
    try {
      for (;;) {
        const arrived =
          seen === writer.position || this.#options.isAwaited()
            ? await next
            : await Promise.race([next, this.#putOff.for(dueAtMs - performance.now())]);
        if (arrived?.done === true) break;
        const batch = arrived?.value ?? { events: [], position: seen };
        if (seen === writer.position) dueAtMs = performance.now() + IDLE_CHECKPOINT_INTERVAL_MS;
        seen = batch.position;
        const isDue = performance.now() >= dueAtMs || this.#options.isAwaited();
        if (arrived !== undefined && batch.events.length === 0 && !isDue) {
          next = batches.next();
          continue;
        }
        // When the runner is behind, it reads the next batch while it applies this one.
        const isFull = batch.events.length >= FULL_BATCH_EVENTS;
        if (isFull) {
          next = batches.next();
          // It is awaited above; a failure before that must not count as unhandled.
          next.catch(() => undefined);
        }
        stopped = await writer.write(batch);
        if (stopped !== undefined) break;
        this.#options.onMoved(generation, writer.position);
        if (arrived === undefined || isFull) continue;
        if (!this.#options.isAwaited()) await this.#putOff.for(GATHER_MS);
        next = batches.next();
      }
    } finally {
      reading.abort();
      await next.catch(() => undefined);
      await batches.return?.();
    }
    if (lease.signal.aborted) throw new LeaseLostError();
    // It was skipped since this began: the next beginning leaves it out.
    if (stopped === undefined || (await this.#isSkipped(stopped))) return;
    // A holder that was stalled may fail at what its successor has applied: that is no stop.
    if (!(await writeStop(writer.connection, generation, stopped, lease.token))) {
      throw new LeaseLostError();
    }
    this.#logger.error(stopped, 'projection stopped at an event that it cannot apply');
    await this.#standStill(generation, lease, writer, stopped);
  }

  /** Waits until the stop is cleared. It keeps the lease: another process would stop as well. */
  async #standStill(
    generation: Generation,
    lease: Lease,
    writer: GenerationWriter,
    first: Stop,
  ): Promise<void> {
    let stop: Stop | undefined = first;
    while (stop !== undefined) {
      await this.#pause.for(RETRY_AFTER_ERROR_MS);
      if (lease.signal.aborted || this.#stopping.signal.aborted) return;
      // The skip may have been recorded before the stop was written.
      if (await this.#isSkipped(stop)) return;
      stop = await readStop(writer.connection, generation);
    }
  }

  async #isSkipped({ eventId }: Stop): Promise<boolean> {
    const { store, projection } = this.#options;
    return (await readSkips(store, projection.name)).has(eventId);
  }
}
