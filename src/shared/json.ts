/** A value that JSON (RFC 8259) can hold. */
export type Json = null | boolean | number | string | Json[] | JsonObject;
export type JsonObject = { [key: string]: Json };

export function isJsonObject(value: Json | undefined): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/**
 * Whether two values hold the same, whatever the order of keys. For JSON that clients send: the
 * libraries for it call `valueOf` and `toString` or compare `constructor`, which are keys here.
 */
export function isSameJson(a: Json | undefined, b: Json | undefined): boolean {
  if (a === b) return true;
  if (Array.isArray(a)) {
    return (
      Array.isArray(b) &&
      a.length === b.length &&
      a.every((item, index) => isSameJson(item, b[index]))
    );
  }
  if (!isJsonObject(a) || !isJsonObject(b)) return false;
  const keys = Object.keys(a);
  return (
    keys.length === Object.keys(b).length &&
    keys.every((key) => Object.hasOwn(b, key) && isSameJson(a[key], b[key]))
  );
}

/**
 * Gives a whole number as every reader of JSON can take it: as text beyond ±(2^53 - 1), since most
 * readers would round it.
 */
export function exactInteger(value: bigint): number | string {
  const rounded = Number(value);
  return Number.isSafeInteger(rounded) ? rounded : String(value);
}

/**
 * Canonical text of a JSON value: object keys sorted, no white space. Two values that differ only
 * in the order of their keys have the same text, so its digest identifies the content (the idea of
 * RFC 8785, without its number formatting: both sides here come from the same `JSON.stringify`).
 * Not recursive: a client's value may nest deeper than the stack.
 */
export function canonicalJson(value: Json): string {
  const texts: string[] = [];
  // What is still to be written, the next at the end: text, or a value in a list of one.
  const rest: (string | readonly [Json])[] = [[value]];
  for (let next = rest.pop(); next !== undefined; next = rest.pop()) {
    if (typeof next === 'string') texts.push(next);
    else if (Array.isArray(next[0])) pushItems(rest, next[0]);
    else if (isJsonObject(next[0])) pushMembers(rest, next[0]);
    else texts.push(JSON.stringify(next[0]));
  }
  return texts.join('');
}

function pushItems(rest: (string | readonly [Json])[], items: Json[]): void {
  rest.push(']');
  for (const [index, item] of [...items.entries()].toReversed()) {
    rest.push([item]);
    if (index > 0) rest.push(',');
  }
  rest.push('[');
}

function pushMembers(rest: (string | readonly [Json])[], object: JsonObject): void {
  rest.push('}');
  for (const [index, key] of [...Object.keys(object).toSorted().entries()].toReversed()) {
    rest.push([object[key] as Json], `${index > 0 ? ',' : ''}${JSON.stringify(key)}:`);
  }
  rest.push('{');
}
