import type { Database } from '../../../database/database.ts';
import { projectionsIn, readPosition, render, sql, type Sql } from '../../../database/sql.ts';
import type { Position } from '../../../event-store/port.ts';
import { LedgerError } from '../../../shared/errors.ts';
import { RETIRED_TOKEN } from '../generations/checkpoint.ts';
import type { Generation } from '../generations/generations.ts';
import type { ActiveGenerations } from './active-generations.ts';
import type { ProjectionEngine } from '../engine.ts';
import type { Freshness, WaitOptions } from './freshness.ts';

/** Rows, and the position of the snapshot that they were taken from. */
export interface Versioned<Value> {
  readonly value: Value;
  readonly position: Position;
}

export interface ReadOptions {
  /** What the client has seen: the answer is at least of this position. */
  readonly minPosition?: Position;
  /** What is waited for of what this process wrote; all of it unless that is given. */
  readonly wait?: WaitOptions;
}

/** An answer as of a position needs a read model that has reached that position, too. */
export function atLeast(options: ReadOptions, asOf: Position | undefined): ReadOptions {
  if (asOf === undefined) return options;
  const { minPosition } = options;
  return {
    ...options,
    minPosition: minPosition !== undefined && minPosition > asOf ? minPosition : asOf,
  };
}

/**
 * Queries read models: it waits for their positions first, then reads rows and position in one
 * statement.
 */
export class ReadModels {
  readonly #database: Database;
  readonly #freshness: Freshness;
  readonly #active: ActiveGenerations;

  constructor(
    database: Database,
    { freshness, active }: Pick<ProjectionEngine, 'freshness' | 'active'>,
  ) {
    this.#database = database;
    this.#freshness = freshness;
    this.#active = active;
  }

  /** The newest position that this process knows of: for answers that hold no rows. */
  get newestKnown(): Position {
    return this.#freshness.newestKnown;
  }

  /** What is read of the project from now on is at least of this position. */
  answered(position: Position, projectId: string): void {
    this.#freshness.answered(position, projectId);
  }

  /**
   * A position that several read models have reached, with all that this process wrote to any of
   * them, or to `another` one, which need not have reached it. Several statements that read as of
   * this position see one moment.
   * @throws LedgerError as `read`
   */
  async commonPosition(
    projections: readonly [string, ...string[]],
    another: string,
    options: ReadOptions,
  ): Promise<Position> {
    const written = this.#freshness.ownWrite(another, options.wait);
    const { minPosition, wait } = atLeast(options, written);
    await this.#freshness.allReached(projections, minPosition, wait);
    return (await this.#readFrom(projections, sql`select`)).position;
  }

  /**
   * The rows of a `select` over tables of projections, as it orders them. All read models whose
   * tables it names are waited for, and the position is the lowest of theirs.
   * @param besides further read models and what is waited for in each. They are read as far as they
   *   have come, and the position says nothing about them.
   * @throws LedgerError `read-model-behind`, `read-too-slow`, `store-unavailable`
   */
  async read<Row extends object>(
    statement: Sql,
    { minPosition, wait }: ReadOptions = {},
    besides: Readonly<Record<string, WaitOptions>> = {},
  ): Promise<Versioned<Row[]>> {
    const others = Object.entries(besides);
    const projections = [...projectionsIn(statement)].filter((name) => !(name in besides));
    await Promise.all([
      this.#freshness.allReached(projections, this.#shownWith(others, minPosition), wait),
      ...others.map(([name, its]) => this.#freshness.reached(name, minPosition, its)),
    ]);
    return this.#readFrom(projections, statement);
  }

  /**
   * The same without waiting for what this process wrote, for a caller who adds that itself.
   * @throws LedgerError `read-model-behind` while there are no tables, `read-too-slow`,
   * `store-unavailable`
   */
  readAsIs<Row extends object>(statement: Sql): Promise<Versioned<Row[]>> {
    return this.#readFrom([...projectionsIn(statement)], statement);
  }

  /** @param projections those that the position is of; the statement may name others. */
  async #readFrom<Row extends object>(
    projections: readonly string[],
    statement: Sql,
  ): Promise<Versioned<Row[]>> {
    const named = [...projectionsIn(statement)].filter((name) => !projections.includes(name));
    const answer = await this.#active.onActive([...projections, ...named], (generations) =>
      this.#readOnce<Row>(statement, generations, projections.length),
    );
    for (const name of projections) this.#freshness.shown(name, answer.position);
    return answer;
  }

  /**
   * Reads rows and checkpoints in one statement: one snapshot of one generation at one moment.
   * @param positioned how many of the generations, from the first, the position is taken from.
   * @returns undefined when one of the generations is retired.
   */
  async #readOnce<Row extends object>(
    statement: Sql,
    generations: readonly Generation[],
    positioned: number,
  ): Promise<Versioned<Row[]> | undefined> {
    const schemas = new Map(generations.map(({ projection, schema }) => [projection, schema]));
    const rendered = render(withPosition(statement, generations), {
      table: ({ projection, name }) => `${schemas.get(projection)}.${name}`,
      readPosition: positionOf(positioned),
    });
    interface Beside {
      answer_position: bigint;
      answer_is_retired: boolean;
      answer_row: bigint | null;
    }
    const rows = await this.#database.query<Row & Beside>(rendered).catch((error: unknown) => {
      throw isCancelled(error) ? tooSlow(error) : error;
    });
    const [first] = rows;
    if (first === undefined) throw new Error(`no checkpoint of ${[...schemas.keys()].join(', ')}`);
    if (first.answer_is_retired) return undefined;
    const value: Row[] = [];
    for (const { answer_position: _, answer_is_retired: __, answer_row: number, ...row } of rows) {
      if (number !== null) value.push(row as Row);
    }
    return { value, position: first.answer_position as Position };
  }

  /** What this process wrote to the other projections shows up to the position of the answer. */
  #shownWith(
    besides: readonly (readonly [string, WaitOptions])[],
    minPosition: Position | undefined,
  ): Position | undefined {
    return besides
      .map(([name, wait]) => this.#freshness.ownWrite(name, wait))
      .reduce((most, its) => (most === undefined || its > most ? its : most), minPosition);
  }
}

/** The position of an answer is the lowest of those of the read models that it is from. */
function positionOf(positioned: number): string {
  const positions = Array.from({ length: positioned }, (_, index) => `c${index}.position`);
  return `least(${positions.join(', ')})`;
}

/**
 * A `select` together with the position of its rows and the mark of a retired generation, which
 * there are also when there are no rows. The rows are numbered where they are in order: a join may
 * give them in another one.
 */
function withPosition(statement: Sql, generations: readonly Generation[]): Sql {
  const checkpoints = generations.map(({ schema }, index) => `${schema}.checkpoint c${index}`);
  const tokens = generations.map((_, index) => `c${index}.token`);
  return sql`
    select
      ${readPosition} as answer_position,
      ${sql.raw(`${RETIRED_TOKEN} in (${tokens.join(', ')})`)} as answer_is_retired,
      found.*
    from ${sql.raw(checkpoints.join(' cross join '))}
    left join lateral (
      select row_number() over () as answer_row, answer.*
      from (${statement}) answer
    ) found on true
    order by found.answer_row`;
}

/** Whether the server cancelled the statement because it exceeded the limit of its session. */
function isCancelled(error: unknown): error is LedgerError {
  if (!(error instanceof LedgerError)) return false;
  const { cause } = error;
  return cause instanceof Error && 'code' in cause && cause.code === '57014';
}

function tooSlow({ cause }: LedgerError): LedgerError {
  return new LedgerError(
    'read-too-slow',
    'The read took too long and was cancelled: ask for less, for example for a shorter time.',
    { cause },
  );
}
