import {
  isPassing,
  type Connection,
  type Database,
  type Queryable,
} from '../../database/database.ts';
import type { Batch, EventStore, Position, RecordedEvent } from '../../event-store/port.ts';
import { readCheckpoint, type Generation, type Stop } from './generations.ts';
import type { Lease } from './lease.ts';
import type { Projection } from './projection.ts';
import { readSkips } from './skips.ts';

export interface WriterOptions {
  readonly database: Database;
  readonly store: EventStore;
  readonly projection: Projection;
  readonly generation: Generation;
  readonly lease: Lease;
  /** Whether commits need not be on disk: a crash then loses the last of them, whole, with their checkpoint. */
  readonly isBulk?: boolean;
}

/** Somebody else writes the generation by now, or nobody does. */
export class LeaseLostError extends Error {
  override readonly name = 'LeaseLostError';
}

/** A process that pauses for so long between two statements of a transaction has lost it. */
const STALLED_AFTER_MS = 3_000;

/**
 * Writes one generation under a lease, on a connection of its own: the only way in which events get
 * into tables.
 */
export class GenerationWriter {
  readonly connection: Connection;
  readonly #options: WriterOptions;
  /** Ids of the events that are left out. */
  readonly skipped: ReadonlySet<string>;
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
    this.#position = position;
  }

  static async open(options: WriterOptions): Promise<GenerationWriter> {
    const { database, store, projection, generation, isBulk = false } = options;
    const skipped = await readSkips(store, projection.name);
    const connection = await database.connect();
    try {
      await connection.query({ text: `set search_path to ${generation.schema}` });
      // A process that stalls in a transaction keeps its locks, and who took over waits for them.
      await connection.query({
        text: `set idle_in_transaction_session_timeout to ${STALLED_AFTER_MS}`,
      });
      if (isBulk) await connection.query({ text: 'set synchronous_commit to off' });
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
   * Applies a batch and moves the checkpoint, in one transaction. A batch that fails is applied event
   * by event: what is given back is the event that cannot be applied, behind all that came before it.
   * @throws LeaseLostError, and what passes (the database is away)
   */
  async write(batch: Batch): Promise<Stop | undefined> {
    try {
      await this.#commit(batch);
      return undefined;
    } catch (error) {
      if (error instanceof LeaseLostError || isPassing(error)) throw error;
    }
    for (const event of batch.events) {
      try {
        await this.#commit({ events: [event], position: event.position });
      } catch (error) {
        if (error instanceof LeaseLostError || isPassing(error)) throw error;
        return stopAt(event, error);
      }
    }
    await this.#commit({ events: [], position: batch.position });
    return undefined;
  }

  /** Applies a batch in a transaction of the caller's, who knows the checkpoint that it comes after. */
  async writeIn(tx: Queryable, from: Position, batch: Batch): Promise<void> {
    const { projection, lease } = this.#options;
    // First: it fences before any work is done, and takes the locks in the order of readers and swaps.
    const moved = await tx.query({
      name: 'move-checkpoint',
      text: `
        update checkpoint
        set position = $1, /* to */
            updated_at = now()
        where position = $2 /* from */
          and token = $3 /* lease */
        returning position`,
      values: [batch.position, from, lease.token],
    });
    if (moved.length === 0) throw new LeaseLostError();
    const events = batch.events.filter(({ id }) => !this.skipped.has(id));
    if (events.length > 0) await projection.apply(events, tx);
  }

  async #commit(batch: Batch): Promise<void> {
    const { events, position } = batch;
    if (events.length === 0 && position === this.#position) return;
    await this.connection.transaction((tx) => this.writeIn(tx, this.#position, batch));
    this.#options.lease.meter.count(events.length, this.#position, position);
    this.#position = position;
  }
}

function stopAt(event: RecordedEvent, error: unknown): Stop {
  return {
    eventId: event.id,
    position: event.position.toString(),
    message: error instanceof Error ? error.message : String(error),
  };
}
