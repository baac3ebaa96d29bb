import type { Queryable } from '../../database/database.ts';
import type { NewEvent, RecordedEvent } from '../../event-store/port.ts';

/**
 * A projection: read models, and how events become them.
 *
 * `tables`, `indexes` and the SQL of `apply` name tables without a schema: the engine puts each
 * generation in a schema of its own, and sets the search path to it. Queries name the one that
 * answers, `read_<name>.<table>`; `ReadModels` knows which that is.
 */
export interface Projection {
  readonly name: string;
  /** Raised with any change of what the tables hold: a new generation is then built. */
  readonly version: number;
  /** The types of the events that `apply` is given. */
  readonly handles: readonly string[];
  /**
   * What an event is about, where readers of one subject need not wait for what else was written in the
   * project: a text that no subject of another project has.
   */
  readonly subjectOf?: (event: NewEvent) => string | undefined;
  /** DDL of the tables, with the keys that `apply` needs. */
  readonly tables: string;
  /**
   * DDL of what only queries need: made after the bulk of a rebuild. Each table has a primary key by
   * then: rows are compared by it.
   */
  readonly indexes: string;
  /**
   * Applies events, in order, in few set-based statements. Runs in the transaction that moves the
   * checkpoint, so each event takes effect once. Depends on nothing but the events and the tables.
   */
  apply(events: readonly RecordedEvent[], tx: Queryable): Promise<void>;
}
