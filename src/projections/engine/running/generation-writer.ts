import { type Connection, type Database, type Queryable } from '../../../database/database.ts';
import type { Batch, EventStore, Position, RecordedEvent } from '../../../event-store/port.ts';
import {
  addProgressColumns,
  lockCheckpoint,
  moveCheckpoint,
  readCheckpoint,
} from '../generations/checkpoint.ts';
import type { Generation } from '../generations/generations.ts';
import type { Lease } from './lease.ts';
import type { Projection } from '../projection.ts';
import { setForSession } from '../session-settings.ts';
import { readSkips } from './skips.ts';
import type { Stop } from './stops.ts';
import { TooSlowError, withinLimit } from './time-limit.ts';
import { errorMessage, isTransient, LedgerError } from '../../../shared/errors.ts';

export interface WriterOptions {
  readonly database: Database;
  readonly store: EventStore;
  readonly projection: Projection;
  readonly generation: Generation;
  readonly lease: Lease;
  /**
   * Whether commits need not wait for the disk. A crash then loses the last of them, each with its
   * checkpoint, and they are applied again.
   */
  readonly isBulk?: boolean;
  /** A batch that is not applied within this time is halved (decision 21). */
  readonly applyTimeoutMs?: number | undefined;
  /** Aborted when the process stops: a batch is then not halved any further. */
  readonly signal?: AbortSignal;
  /** Aborted when the turn is over: a batch is then not halved any further, either. */
  readonly turn?: AbortSignal;
  /** What an earlier writer of the generation learned; otherwise batches are tried whole. */
  readonly batchLimit?: BatchLimit;
}

/**
 * How many events are tried together. It outlives a writer that had to end while it halved a batch.
 */
export interface BatchLimit {
  events: number;
}

/** Another process writes the generation, or it is paused or retired. */
export class LeaseLostError extends Error {
  override readonly name = 'LeaseLostError';
}

/**
 * The events of a batch cannot be applied, or not in time: no fault of the database or the lease.
 */
export class NotAppliedError extends Error {
  override readonly name = 'NotAppliedError';
}

const APPLY_TIMEOUT_MS = 30_000;
/**
 * A lock that is held for longer, for example by `vacuum full`, is waited for again, and no event
 * is blamed for it.
 */
const LOCK_TIMEOUT_MS = 10_000;

/** A transaction that changes nothing takes a few milliseconds, and waits for the disk once. */
const SLOW_SERVER_MS = 1_000;

/** A process that stalls for this long within a transaction loses the transaction. */
const STALLED_AFTER_MS = 3_000;

/**
 * Writes one generation under a lease, on a connection of its own: the only way in which events get
 * into tables.
 */
export class GenerationWriter {
  readonly connection: Connection;
  readonly #options: WriterOptions;
  /** The ids of the events that an admin has skipped. */
  readonly skipped: ReadonlySet<string>;
  readonly #applyTimeoutMs: number;
  readonly #batchLimit: BatchLimit;
  #position: Position;

  private constructor(
    options: WriterOptions,
    connection: Connection,
    skipped: ReadonlySet<string>,
    position: Position,
  ) {
    this.#options = options;
    this.connection = connection;
    this.skipped = skipped;
    this.#applyTimeoutMs = options.applyTimeoutMs ?? APPLY_TIMEOUT_MS;
    this.#batchLimit = options.batchLimit ?? { events: Number.POSITIVE_INFINITY };
    this.#position = position;
  }

  static async open(options: WriterOptions): Promise<GenerationWriter> {
    const { database, store, projection, generation, isBulk = false } = options;
    const { applyTimeoutMs = APPLY_TIMEOUT_MS } = options;
    const skipped = await readSkips(store, projection.name);
    const connection = await database.connect();
    try {
      await setForSession(connection, {
        search_path: generation.schema,
        // A process that stalls in a transaction keeps its locks, and its successor waits for them.
        idle_in_transaction_session_timeout: STALLED_AFTER_MS,
        statement_timeout: applyTimeoutMs,
        lock_timeout: Math.min(LOCK_TIMEOUT_MS, applyTimeoutMs / 2),
        ...(isBulk && { synchronous_commit: 'off' }),
      });
      await addProgressColumns(connection, generation.schema);
      const { position } = await readCheckpoint(connection, generation.schema);
      return new GenerationWriter(options, connection, skipped, position);
    } catch (error) {
      await connection.close().catch(() => undefined);
      throw error;
    }
  }

  /** The checkpoint, as this writer committed it last. */
  get position(): Position {
    return this.#position;
  }

  async close(): Promise<void> {
    await this.connection.close().catch(() => undefined);
  }

  /**
   * Applies a batch and moves the checkpoint, in one transaction. A batch that cannot be applied,
   * or not in time, is halved until one event is left.
   * @returns the event that cannot be applied, after all events before it were applied.
   * @throws LeaseLostError, the reason of the `signal` or `turn` that is aborted, and what is
   * transient: the database is unavailable, or a lock is held for too long
   */
  async write(batch: Batch): Promise<Stop | undefined> {
    let rest = batch;
    while (rest.events.length > this.#batchLimit.events) {
      const [first, others] = split(rest, this.#batchLimit.events);
      const stopped = await this.#writeHalving(first);
      if (stopped !== undefined) return stopped;
      rest = others;
    }
    const stopped = await this.#writeHalving(rest);
    // Slow events come in runs, so the limit grows again after them.
    this.#batchLimit.events *= 2;
    return stopped;
  }

  async #writeHalving(batch: Batch): Promise<Stop | undefined> {
    this.#options.turn?.throwIfAborted();
    const failure = await this.#tryCommit(batch);
    if (failure === undefined) return undefined;
    const [event, ...others] = batch.events;
    if (event === undefined) throw failure;
    if (others.length > 0) {
      const middle = Math.ceil(batch.events.length / 2);
      this.#batchLimit.events = middle;
      const [first, second] = split(batch, middle);
      return (await this.#writeHalving(first)) ?? (await this.#writeHalving(second));
    }
    // A server that was stalled uses up the time of one attempt, whatever the event. The second
    // attempt belongs to the same turn: with a new turn for each, there would never be a result.
    const isSure = !(failure.cause instanceof TooSlowError);
    const confirmed = isSure ? failure : await this.#tryCommit(batch);
    if (confirmed === undefined) return undefined;
    if (!isSure && (await this.#isServerSlow())) throw serverIsSlow(confirmed);
    return stopAt(event, confirmed);
  }

  /** Whether the server also takes long for a transaction that changes nothing. */
  async #isServerSlow(): Promise<boolean> {
    const startedAt = performance.now();
    const { schema } = this.#options.generation;
    await this.connection.transaction((tx) => lockCheckpoint(tx, schema));
    return performance.now() - startedAt > SLOW_SERVER_MS;
  }

  /**
   * Applies a batch in the transaction of the caller, from the checkpoint that the caller knows.
   * @param limitMs the `statement_timeout` of the transaction.
   * @throws NotAppliedError, LeaseLostError
   */
  async writeIn(
    tx: Queryable,
    from: Position,
    batch: Batch,
    limitMs = this.#applyTimeoutMs,
  ): Promise<void> {
    const { projection, lease } = this.#options;
    const move = { from, to: batch.position, events: batch.events.length };
    if (!(await moveCheckpoint(tx, move, lease.token))) throw new LeaseLostError();
    const events = batch.events.filter(({ id }) => !this.skipped.has(id));
    if (events.length === 0) return;
    try {
      await withinLimit(tx, limitMs, (limited) => projection.apply(events, limited));
    } catch (error) {
      if (isTransient(error)) throw error;
      const message = errorMessage(error);
      throw new NotAppliedError(message, { cause: error });
    }
  }

  /** Why the batch cannot be applied; undefined when it is. */
  async #tryCommit(batch: Batch): Promise<NotAppliedError | undefined> {
    this.#options.signal?.throwIfAborted();
    try {
      await this.#commit(batch);
      return undefined;
    } catch (error) {
      if (error instanceof NotAppliedError) return error;
      throw error;
    }
  }

  async #commit(batch: Batch): Promise<void> {
    const { events, position } = batch;
    if (events.length === 0 && position === this.#position) return;
    await this.connection.transaction((tx) => this.writeIn(tx, this.#position, batch));
    this.#position = position;
  }
}

/** The first `count` events, which are fewer than all, and the others. */
function split({ events, position }: Batch, count: number): [Batch, Batch] {
  const first = events.slice(0, count);
  return [
    { events: first, position: first.at(-1)?.position ?? position },
    { events: events.slice(count), position },
  ];
}

function stopAt(event: RecordedEvent, { message }: NotAppliedError): Stop {
  return { eventId: event.id, position: event.position.toString(), message };
}

function serverIsSlow(cause: unknown): LedgerError {
  const detail = 'The database is too slow to apply events: the batch is tried again.';
  return new LedgerError('store-unavailable', detail, { cause });
}
