/** What is needed of an issue of zod. */
interface Issue {
  readonly path: readonly PropertyKey[];
}

/**
 * The value without the members that are null where a schema does not take null: `null` for an
 * optional member means that it is absent, and a member that is needed is missing then. The same
 * value when there are none.
 */
export function withoutNullMembers(value: unknown, issues: readonly Issue[]): unknown {
  return issues.reduce((rest, { path }) => withoutNullAt(rest, path.map(String)), value);
}

function withoutNullAt(value: unknown, [key, ...rest]: readonly string[]): unknown {
  if (key === undefined || typeof value !== 'object' || value === null) return value;
  if (!Object.hasOwn(value, key)) return value;
  const member = (value as Record<string, unknown>)[key];
  if (rest.length > 0) {
    const changed = withoutNullAt(member, rest);
    return changed === member ? value : replaced(value, key, changed);
  }
  // An item of an array has its place, which no other may take.
  return member === null && !Array.isArray(value) ? without(value, key) : value;
}

function replaced(value: object, key: string, member: unknown): unknown {
  const copy = Array.isArray(value) ? [...(value as unknown[])] : { ...value };
  Object.defineProperty(copy, key, {
    value: member,
    enumerable: true,
    configurable: true,
    writable: true,
  });
  return copy;
}

function without(value: object, key: string): unknown {
  const copy = { ...value };
  Reflect.deleteProperty(copy, key);
  return copy;
}
