import type { Queryable } from '../../database/database.ts';
import type { NewEvent, RecordedEvent } from '../../event-store/port.ts';

/**
 * A projection: the tables of a read model, and how events fill them.
 *
 * `tables`, `indexes` and the SQL of `apply` name tables without a schema: the engine puts each
 * generation in a schema of its own, and sets the search path to it. Queries name tables by handles
 * (`tablesOf`); `ReadModels` adds the schema of the live generation.
 */
export interface Projection {
  readonly name: string;
  /** Raised with any change of what the tables hold: a new generation is then built. */
  readonly version: number;
  /** The types of the events that `apply` is given. */
  readonly handles: readonly string[];
  /**
   * Names the subject of an event, so that readers of one subject need not wait for other writes in
   * the project. No subject of another project has the same name.
   */
  readonly subjectOf?: (event: NewEvent) => string | undefined;
  /** DDL of the tables, with the keys that `apply` needs. */
  readonly tables: string;
  /**
   * DDL of what only queries need; a rebuild runs it after the bulk. Each table must have a primary
   * key by then, since a verification compares rows by it.
   */
  readonly indexes: string;
  /**
   * Applies events, in order, in few set-based statements. Runs in the transaction that moves the
   * checkpoint, so each event takes effect once. Depends on nothing but the events and the tables.
   */
  apply(events: readonly RecordedEvent[], tx: Queryable): Promise<void>;
}
