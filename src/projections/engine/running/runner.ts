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
  /** Whether somebody waits for a position: then nothing is put off. */
  readonly isAwaited: () => boolean;
}

/** The pause after a batch in which the next one gathers: fewer commits, and still far below 50 ms. */
const GATHER_MS = 15;
/** A batch of so many is not of the newest events only. */
const FULL_BATCH_EVENTS = 500;
/** A checkpoint that moved over events of others only is written this often. */
const IDLE_CHECKPOINT_INTERVAL_MS = 100;
const RETRY_AFTER_ERROR_MS = 500;

/** Runs one projection in this process, whenever this process holds its lease. */
export class Runner {
  readonly #options: RunnerOptions;
  readonly #logger: Logger;
  readonly #stopping = new AbortController();
  /** For what waking does not end. */
  readonly #pause = new Pause(this.#stopping.signal);
  /** What is put off until there is more of it, or somebody waits for it. */
  readonly #putOff = new Pause(this.#stopping.signal);
  #done: Promise<void> = Promise.resolve();

  constructor(options: RunnerOptions) {
    this.#options = options;
    this.#logger = options.logger.child({ projection: options.projection.name });
  }

  start(): void {
    this.#done = this.#run();
  }

  /** Finishes the batch at hand, and gives the lease back. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#done;
  }

  /** Something has changed that is looked at from time to time: it is looked at now. */
  checkForWork(): void {
    this.#pause.end();
  }

  /** Somebody waits for what is being put off. */
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
      // Again: it may have been paused after the look above and before the lease was ours, which a
      // pause takes away only from whoever holds it.
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
    // Seen, with nothing in it for us: written with what comes next, or when the time is up, which
    // runs from the first such batch: others may follow without a rest.
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
        // Behind: the next batch is read while this one is applied, and nothing has to gather.
        const isFull = batch.events.length >= FULL_BATCH_EVENTS;
        if (isFull) {
          next = batches.next();
          // It is awaited above; until then its failure is nobody's.
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
    // Skipped since this began: the next beginning leaves it out.
    if (stopped === undefined || (await this.#isSkipped(stopped))) return;
    // A holder that was stalled fails at what its successor has applied already: not a reason.
    if (!(await writeStop(writer.connection, generation, stopped, lease.token))) {
      throw new LeaseLostError();
    }
    this.#logger.error(stopped, 'projection stopped at an event that it cannot apply');
    await this.#standStill(generation, lease, writer, stopped);
  }

  /** Until the stop is cleared. The lease is kept: others could do no more with it. */
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
      // The skip may have come before the stop that it was for was written.
      if (await this.#isSkipped(stop)) return;
      stop = await readStop(writer.connection, generation);
    }
  }

  async #isSkipped({ eventId }: Stop): Promise<boolean> {
    const { store, projection } = this.#options;
    return (await readSkips(store, projection.name)).has(eventId);
  }
}
