import { isPassing, type Connection, type Database } from '../../database/database.ts';
import type { Batch, EventStore, Position, RecordedEvent } from '../../event-store/port.ts';
import type { Logger } from '../../shared/logger.ts';
import {
  ensureLiveGeneration,
  readCheckpoint,
  readStop,
  writeStop,
  type Generation,
  type Stop,
} from './generations.ts';
import { RETRY_INTERVAL_MS, type Lease, type Leases } from './lease.ts';
import type { Projection } from './projection.ts';

/** What a runner is doing. */
export type RunnerStatus =
  /** Another process holds the lease. */
  | { readonly situation: 'standby' }
  | { readonly situation: 'running' }
  | { readonly situation: 'stopped'; readonly stop: Stop }
  /** The database is away, or something else that passes; it goes on by itself. */
  | { readonly situation: 'waiting'; readonly message: string };

export interface RunnerOptions {
  readonly database: Database;
  readonly store: EventStore;
  readonly leases: Leases;
  readonly projection: Projection;
  readonly logger: Logger;
  /** Called after each commit that moved the checkpoint. */
  readonly onMoved: (position: Position) => void;
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
/** A process that pauses for so long between two statements of a transaction has lost it. */
const STALLED_AFTER_MS = 3_000;

class LeaseLostError extends Error {
  override readonly name = 'LeaseLostError';
}

/** Runs one projection in this process, whenever this process holds its lease. */
export class Runner {
  readonly #options: RunnerOptions;
  readonly #logger: Logger;
  readonly #stopping = new AbortController();
  #status: RunnerStatus = { situation: 'standby' };
  #endPause: () => void = () => undefined;
  #endPutOff: () => void = () => undefined;
  #done: Promise<void> = Promise.resolve();

  constructor(options: RunnerOptions) {
    this.#options = options;
    this.#logger = options.logger.child({ projection: options.projection.name });
  }

  get status(): RunnerStatus {
    return this.#status;
  }

  start(): void {
    this.#done = this.#run();
  }

  /** Finishes the batch at hand, and gives the lease back. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    this.#endPause();
    await this.#done;
  }

  /** Somebody waits for what is being put off. Other pauses wait for what no hurry brings about. */
  hurry(): void {
    this.#endPutOff();
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      try {
        await this.#runWithLease();
      } catch (error) {
        if (error instanceof LeaseLostError) {
          this.#status = { situation: 'standby' };
          this.#logger.warn('another process took over the projection');
          continue;
        }
        const message = error instanceof Error ? error.message : String(error);
        this.#status = { situation: 'waiting', message };
        this.#logger.warn({ err: error }, 'the projection waits, and then goes on');
        await this.#pause(RETRY_AFTER_ERROR_MS);
      }
    }
  }

  async #runWithLease(): Promise<void> {
    const { database, store, leases, projection } = this.#options;
    const generation = await ensureLiveGeneration(database, projection, store.logId);
    const lease = await leases.tryAcquire(generation);
    if (lease === undefined) {
      this.#status = { situation: 'standby' };
      await this.#pause(RETRY_INTERVAL_MS);
      return;
    }
    let connection: Connection | undefined;
    try {
      connection = await database.connect();
      await connection.query({ text: `set search_path to ${generation.schema}` });
      // A process that stalls in a transaction keeps its locks, and who took over waits for them.
      await connection.query({
        text: `set idle_in_transaction_session_timeout to ${STALLED_AFTER_MS}`,
      });
      await this.#follow(generation, lease, connection);
    } finally {
      await connection?.close().catch(() => undefined);
      await lease.release().catch(() => undefined);
    }
  }

  async #follow(generation: Generation, lease: Lease, connection: Connection): Promise<void> {
    const stop = await readStop(connection, generation);
    if (stop !== undefined) return this.#standStill(generation, lease, connection, stop);
    this.#status = { situation: 'running' };
    const reading = new AbortController();
    const signal = AbortSignal.any([this.#stopping.signal, lease.signal, reading.signal]);
    const { store, projection } = this.#options;
    let committed = await readCheckpoint(connection, generation.schema);
    // Seen, with nothing in it for us: written with what comes next, or when the time is up, which
    // runs from the first such batch: others may follow without a rest.
    let seen = committed;
    let dueAtMs = 0;
    let stopped: Stop | undefined;
    const subscription = store.subscribe({ after: committed, types: projection.handles, signal });
    const batches = subscription[Symbol.asyncIterator]();
    let next = batches.next();
    try {
      for (;;) {
        const arrived =
          seen === committed || this.#options.isAwaited()
            ? await next
            : await Promise.race([next, this.#putOff(dueAtMs - performance.now())]);
        if (arrived?.done === true) break;
        const batch = arrived?.value ?? { events: [], position: seen };
        if (seen === committed) dueAtMs = performance.now() + IDLE_CHECKPOINT_INTERVAL_MS;
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
        stopped = await this.#applyOrStop(generation, lease, connection, committed, batch);
        if (stopped !== undefined) break;
        committed = seen;
        this.#options.onMoved(committed);
        if (arrived === undefined || isFull) continue;
        if (!this.#options.isAwaited()) await this.#putOff(GATHER_MS);
        next = batches.next();
      }
    } finally {
      reading.abort();
      await next.catch(() => undefined);
    }
    if (lease.signal.aborted) throw new LeaseLostError();
    if (stopped !== undefined) await this.#standStill(generation, lease, connection, stopped);
  }

  /** Applies a batch; one that fails is applied event by event, to find the one that cannot be. */
  async #applyOrStop(
    generation: Generation,
    lease: Lease,
    connection: Connection,
    from: Position,
    batch: Batch,
  ): Promise<Stop | undefined> {
    try {
      await this.#commit(lease, connection, from, batch);
      return undefined;
    } catch (error) {
      if (error instanceof LeaseLostError || isPassing(error)) throw error;
    }
    let position = from;
    for (const event of batch.events) {
      try {
        await this.#commit(lease, connection, position, {
          events: [event],
          position: event.position,
        });
        position = event.position;
      } catch (error) {
        if (error instanceof LeaseLostError || isPassing(error)) throw error;
        const stop = stopAt(event, error);
        // A holder that was stalled fails at what its successor has applied already: not a reason.
        if (!(await writeStop(connection, generation, stop, lease.token))) {
          throw new LeaseLostError();
        }
        this.#logger.error(
          { err: error, ...stop },
          'the projection stopped at an event it cannot apply',
        );
        return stop;
      }
    }
    await this.#commit(lease, connection, position, { events: [], position: batch.position });
    return undefined;
  }

  /** Events and checkpoint in one transaction, if the checkpoint is where we left it and ours. */
  async #commit(
    lease: Lease,
    connection: Connection,
    from: Position,
    { events, position }: Batch,
  ): Promise<void> {
    if (events.length === 0 && position === from) return;
    await connection.transaction(async (tx) => {
      if (events.length > 0) await this.#options.projection.apply(events, tx);
      const moved = await tx.query({
        name: 'move-checkpoint',
        text: `
          update checkpoint
          set position = $1, /* to */
              updated_at = now()
          where position = $2 /* from */
            and token = $3 /* lease */
          returning position`,
        values: [position, from, lease.token],
      });
      if (moved.length === 0) throw new LeaseLostError();
    });
  }

  /** Until the stop is cleared. The lease is kept: others could do no more with it. */
  async #standStill(
    generation: Generation,
    lease: Lease,
    connection: Connection,
    first: Stop,
  ): Promise<void> {
    let stop: Stop | undefined = first;
    while (stop !== undefined) {
      this.#status = { situation: 'stopped', stop };
      await this.#pause(RETRY_AFTER_ERROR_MS);
      if (lease.signal.aborted || this.#stopping.signal.aborted) return;
      stop = await readStop(connection, generation);
    }
  }

  /** Waits, unless it is hurried or stopped. */
  #putOff(timeoutMs: number): Promise<undefined> {
    const pause = this.#pause(timeoutMs);
    this.#endPutOff = this.#endPause;
    return pause;
  }

  /** Waits, unless it is stopped. */
  #pause(timeoutMs: number): Promise<undefined> {
    if (this.#stopping.signal.aborted) return Promise.resolve(undefined);
    return new Promise((resolve) => {
      const timer = setTimeout(end, timeoutMs);
      function end(): void {
        clearTimeout(timer);
        resolve(undefined);
      }
      this.#endPause = end;
    });
  }
}

function stopAt(event: RecordedEvent, error: unknown): Stop {
  return {
    eventId: event.id,
    position: event.position.toString(),
    message: error instanceof Error ? error.message : String(error),
  };
}
