import { createHash } from 'node:crypto';

/**
 * A statement as it is sent. One with a `name` is kept prepared by each connection that runs it.
 */
export interface Statement {
  readonly name?: string;
  readonly text: string;
  readonly values?: readonly unknown[];
}

type Scalar = string | number | bigint | boolean | Date | Uint8Array | null | undefined;
/** What stands in a template: a value becomes a parameter, all else becomes part of the text. */
export type SqlValue = Scalar | readonly Scalar[] | Sql | Table | typeof readPosition;

/**
 * SQL as a template: `` sql`select * from ${state.sensors} where sensor_id = ${sensorId}` ``.
 * Values become parameters where they stand; `undefined` is null. Templates can stand in templates.
 *
 * Names that are known only when a statement runs stay open until then: each generation of a
 * projection has a schema of its own, so the same query has one text for each.
 */
export class Sql {
  readonly strings: readonly string[];
  readonly values: readonly SqlValue[];

  /** There is one string more than values. */
  constructor(strings: readonly string[], values: readonly SqlValue[]) {
    this.strings = strings;
    this.values = values;
  }
}

/** A table of a projection. */
export class Table {
  readonly projection: string;
  readonly name: string;

  constructor(projection: string, name: string) {
    this.projection = projection;
    this.name = name;
  }
}

/** In a read of several read models: the position up to which all of them have come. */
export const readPosition = Symbol('the position of the answer');

export function sql(strings: TemplateStringsArray, ...values: readonly SqlValue[]): Sql {
  return new Sql(strings, values);
}

/** The parts with a separator between each two. */
sql.join = (parts: readonly Sql[], separator = ', '): Sql => {
  if (parts.length === 0) return new Sql([''], []);
  return new Sql(['', ...parts.slice(1).map(() => separator), ''], parts);
};

/** Text of our own as it is: never anything that a client sent. */
sql.raw = (text: string): Sql => new Sql([text], []);

/** Handles of the tables of a projection, by their names. */
export function tablesOf<Name extends string>(
  projection: string,
  names: readonly Name[],
): Readonly<Record<Name, Table>> {
  const entries = names.map((name) => [name, new Table(projection, name)]);
  return Object.fromEntries(entries) as Record<Name, Table>;
}

/** What the open names of a statement stand for. */
export interface Names {
  table(table: Table): string;
  readonly readPosition?: string;
}

/** As a projection writes: the search path leads to the generation. */
const IN_SEARCH_PATH: Names = { table: ({ name }) => name };

/**
 * The statement as it is sent. One with parameters is kept prepared under a name made from its
 * text, so that no two texts ever share a name.
 */
export function render(statement: Sql, names: Names = IN_SEARCH_PATH): Statement {
  const parameters: unknown[] = [];
  const text = append('', statement, names, parameters);
  if (parameters.length === 0) return { text };
  return { name: preparedName(text), text, values: parameters };
}

function append(before: string, { strings, values }: Sql, names: Names, into: unknown[]): string {
  let text = before + (strings[0] ?? '');
  for (const [index, value] of values.entries()) {
    if (value instanceof Sql) text = append(text, value, names, into);
    else if (value instanceof Table) text += names.table(value);
    else if (value === readPosition) text += requireReadPosition(names);
    else text += `$${into.push(value)}`;
    text += strings[index + 1] ?? '';
  }
  return text;
}

function requireReadPosition({ readPosition }: Names): string {
  if (readPosition !== undefined) return readPosition;
  throw new Error('only a read of read models has a position');
}

/** The projections whose tables a statement names, in the order in which it names them. */
export function projectionsIn({ values }: Sql, found = new Set<string>()): ReadonlySet<string> {
  for (const value of values) {
    if (value instanceof Table) found.add(value.projection);
    else if (value instanceof Sql) projectionsIn(value, found);
  }
  return found;
}

/** Texts are few, but for those that name generations: these come and go. */
const MAX_NAMES = 5_000;
const preparedNames = new Map<string, string>();

function preparedName(text: string): string {
  const known = preparedNames.get(text);
  if (known !== undefined) return known;
  if (preparedNames.size === MAX_NAMES) preparedNames.clear();
  const name = createHash('sha256').update(text).digest('base64url').slice(0, 22);
  preparedNames.set(text, name);
  return name;
}
