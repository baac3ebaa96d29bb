import { z } from 'zod';
import { closestName } from '../shared/closest-name.ts';
import { LedgerError, type FieldError } from '../shared/errors.ts';
import { withoutNullMembers } from './absent-members.ts';

/** The part of a request that a schema is for: the first part of the path of a field error. */
export type RequestPart = 'path' | 'query' | 'header' | 'body';

/** So many unknown names are listed; a body may hold them by the thousand. */
const MAX_UNKNOWN_NAMES = 20;
const MAX_SHOWN_LENGTH = 64;

/**
 * What a schema makes of a value. A member that is null counts as absent, unless the schema takes
 * null.
 * @throws LedgerError `validation-failed`, with a field error for each mistake
 */
export function validated<Output>(
  schema: z.ZodType<Output>,
  value: unknown,
  part: RequestPart,
): Output {
  // An issue does not say which names its object knows. The error map sees the object itself, and
  // the issue keeps the list of unknown names that the map was given.
  const knownNames = new Map<unknown, readonly string[]>();
  const parse = (given: unknown) =>
    schema.safeParse(given, {
      error(issue) {
        if (issue.code !== 'unrecognized_keys') return messageOf(issue);
        if (issue.inst instanceof z.ZodObject) {
          knownNames.set(issue.keys, Object.keys(issue.inst.shape));
        }
        return undefined;
      },
    });
  let result = parse(value);
  if (!result.success) {
    const rest = withoutNullMembers(value, result.error.issues);
    if (rest !== value) result = parse(rest);
  }
  if (result.success) return result.data;
  const unknown: FieldError[] = [];
  const others: FieldError[] = [];
  for (const issue of result.error.issues) {
    if (issue.code === 'unrecognized_keys') {
      const known = knownNames.get(issue.keys) ?? [];
      const names = issue.keys.slice(0, MAX_UNKNOWN_NAMES - unknown.length);
      unknown.push(...names.map((name) => unknownName(part, [...issue.path, name], known)));
    } else {
      others.push({ path: pathOf(part, issue.path), message: issue.message });
    }
  }
  // A mistyped name explains why the right one is missing.
  throw invalid([...unknown, ...others]);
}

/** An error that says what is wrong with the first field, and lists all of them. */
export function invalid(fields: readonly FieldError[]): LedgerError {
  const [first = { path: 'request', message: 'is not valid' }] = fields;
  const detail = `${subjectOf(first.path)} ${first.message}`;
  return new LedgerError('validation-failed', /[.?!]$/.test(detail) ? detail : `${detail}.`, {
    fields,
  });
}

/**
 * Names the part of the request that broke a rule, for an error of someone who does not know where
 * the text came from. Other errors stay as they are.
 */
export function refusedAt(path: string): (error: unknown) => never {
  return (error) => {
    if (!(error instanceof LedgerError) || error.code !== 'validation-failed') throw error;
    const { message, cause } = error;
    throw new LedgerError('validation-failed', message, { fields: [{ path, message }], cause });
  };
}

export function unknownName(
  part: RequestPart,
  path: readonly PropertyKey[],
  known: readonly string[],
): FieldError {
  const closest = closestName(String(path.at(-1)), known);
  const allowed = known.length === 0 ? 'none is allowed here' : `allowed are ${known.join(', ')}`;
  const advice =
    closest === undefined ? allowed : `did you mean '${closest}'? Allowed: ${known.join(', ')}`;
  return { path: pathOf(part, path), message: `is unknown: ${advice}` };
}

function pathOf(part: RequestPart, path: readonly PropertyKey[]): string {
  return [part, ...path.map((name) => shown(String(name)))].join('.');
}

function shown(name: string): string {
  return name.length > MAX_SHOWN_LENGTH ? `${name.slice(0, MAX_SHOWN_LENGTH)}…` : name;
}

function subjectOf(path: string): string {
  const [part = '', ...names] = path.split('.');
  const name = names.join('.');
  switch (part) {
    case 'query':
      return name === '' ? 'The query' : `Query parameter '${name}'`;
    case 'path':
      return name === '' ? 'The path' : `Path parameter '${name}'`;
    case 'header':
      return `Header '${name}'`;
    case 'body':
      return name === '' ? 'The body' : `Body member '${name}'`;
    default:
      return 'The request';
  }
}

/** Messages read on behind the name of a field: "Query parameter 'limit' must be …". */
function messageOf(issue: z.core.$ZodRawIssue): string | undefined {
  switch (issue.code) {
    case 'invalid_type':
      if (issue.input === undefined) return 'is missing';
      return Array.isArray(issue.input) && issue.expected !== 'object'
        ? 'must be one value, not several'
        : `must be ${NAMES_OF_TYPES[issue.expected] ?? issue.expected}`;
    case 'invalid_value':
      return `must be ${alternatives(issue.values)}`;
    case 'too_small':
      return boundOf(issue, issue.inclusive === false ? 'more than' : 'at least', issue.minimum);
    case 'too_big':
      return boundOf(issue, issue.inclusive === false ? 'less than' : 'at most', issue.maximum);
    case 'invalid_format':
      return `must be a valid ${issue.format}`;
    case 'invalid_union':
      return Array.isArray(issue.options)
        ? `must be ${alternatives(issue.options)}`
        : 'is of no allowed form';
    case 'custom':
      return 'is not valid';
    case 'unrecognized_keys':
    case 'not_multiple_of':
    case 'invalid_key':
    case 'invalid_element':
    default:
      return undefined;
  }
}

const NAMES_OF_TYPES: Readonly<Record<string, string>> = {
  string: 'text',
  number: 'a number',
  int: 'a whole number',
  boolean: 'true or false',
  object: 'an object',
  array: 'an array',
};

function alternatives(values: readonly unknown[]): string {
  return values
    .map(String)
    .join(', ')
    .replace(/, ([^,]*)$/, ' or $1');
}

function boundOf(
  { origin }: { readonly origin: string },
  comparison: string,
  bound: number | bigint,
): string {
  const isCounted = origin === 'array' || origin === 'string';
  return isCounted
    ? `must have ${comparison} ${bound} ${origin === 'array' ? 'items' : 'characters'}`
    : `must be ${comparison} ${bound}`;
}
