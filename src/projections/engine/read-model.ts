import type { Database } from '../../database/database.ts';
import type { EventStore, Position } from '../../event-store/port.ts';
import type { Freshness } from './freshness.ts';
import { liveSchema } from './projection.ts';

export type { Position };

/** Rows, and the position of the snapshot that they were taken from. */
export interface Fresh<Value> {
  readonly value: Value;
  readonly position: Position;
}

export interface ReadQuery {
  /** Names the prepared statement. */
  readonly name: string;
  /** A `select` whose tables carry the live schema. */
  readonly text: string;
  readonly values: readonly unknown[];
  /** Another projection whose tables it reads: waited for, too; the position is the lower one. */
  readonly joins?: string;
  /** The order of the answer, by columns of the result: `sensor_id` or `position desc`. */
  readonly orderBy?: string;
}

export interface ReadOptions {
  /** What the client has seen: the answer is at least of this position. */
  readonly minPosition?: Position;
}

/** For an answer as of a position: the read model must have reached that, too. */
export function atLeast(options: ReadOptions, asOf: Position | undefined): ReadOptions {
  if (asOf === undefined) return options;
  const { minPosition } = options;
  return { minPosition: minPosition !== undefined && minPosition > asOf ? minPosition : asOf };
}

/** Read models are queried through this: waiting first, then one statement for rows and position. */
export class ReadModels {
  readonly #database: Database;
  readonly #freshness: Freshness;
  readonly store: EventStore;

  constructor(database: Database, freshness: Freshness, store: EventStore) {
    this.#database = database;
    this.#freshness = freshness;
    this.store = store;
  }

  /** The newest position that this process knows of: for answers that hold no rows. */
  get newestKnown(): Position {
    return this.#freshness.newestKnown;
  }

  /**
   * @throws LedgerError `read-model-behind`, `store-unavailable`
   */
  async read<Row extends object>(
    projection: string,
    query: ReadQuery,
    { minPosition }: ReadOptions = {},
  ): Promise<Fresh<Row[]>> {
    const projections = query.joins === undefined ? [projection] : [projection, query.joins];
    await this.#freshness.allReached(projections, minPosition);
    const checkpoints = projections.map((name) => `${liveSchema(name)}.checkpoint ${name}`);
    const positions = projections.map((name) => `${name}.position`);
    // One statement, hence one snapshot: rows and checkpoint of one generation and one moment.
    const rows = await this.#database.query<Row & { read_position: bigint; is_row: true | null }>({
      name: query.name,
      text: `
        select least(${positions.join(', ')}) as read_position, found.*
        from ${checkpoints.join(' cross join ')}
        left join (
          select true as is_row, result.*
          from (${query.text}) result
        ) found on true
        ${query.orderBy === undefined ? '' : `order by ${query.orderBy}`}`,
      values: query.values,
    });
    const [first] = rows;
    if (first === undefined) throw new Error(`the checkpoint of '${projection}' holds no row`);
    return {
      value: rows.filter(({ is_row: isRow }) => isRow === true),
      position: first.read_position as Position,
    };
  }
}
