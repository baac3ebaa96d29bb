import type { Json, JsonObject } from './json.ts';

/**
 * Parses JSON, after a byte order mark if there is one. An integer beyond ±(2^53 - 1) becomes infinite, as numbers
 * beyond a 64-bit float do, so that whoever keeps the value can refuse it: `JSON.parse` rounds such an integer in
 * silence. The text is scanned, since Node 20 does not give a reviver the source of a number.
 * @throws SyntaxError
 */
export function parseJsonText(text: string): Json {
  const withoutMark = text.startsWith('\ufeff') ? text.slice(1) : text;
  const parsed = JSON.parse(withoutMark) as Json;
  // Most texts have no number of so many digits, and are scanned no further.
  if (!/\d{16}/.test(withoutMark)) return parsed;
  const marked = withUnsafeIntegersMarked(withoutMark);
  return marked === withoutMark ? parsed : (JSON.parse(marked) as Json);
}

/** What is wrong with a number that `parseJsonText` made infinite. */
export const UNSAFE_NUMBER =
  'must be a number that can be returned as it was sent: an integer within ±(2^53 - 1), or a 64-bit float';

/** Where an infinite number is in a value; undefined when there is none. Without recursion, so of any depth. */
export function pathOfUnsafeNumber(value: Json): readonly string[] | undefined {
  interface Place {
    readonly value: Json;
    readonly key: string;
    readonly within: Place | undefined;
  }
  const places: Place[] = [{ value, key: '', within: undefined }];
  for (let place = places.pop(); place !== undefined; place = places.pop()) {
    const { value: found } = place;
    if (typeof found === 'number' && !Number.isFinite(found)) {
      const path: string[] = [];
      for (let part = place; part.within !== undefined; part = part.within) path.unshift(part.key);
      return path;
    }
    if (typeof found !== 'object' || found === null) continue;
    for (const key of Object.keys(found).toReversed()) {
      places.push({ value: (found as JsonObject)[key] as Json, key, within: place });
    }
  }
  return undefined;
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const MINUS = 0x2d;
const ZERO = 0x30;
const NINE = 0x39;
const INFINITE = '1e999';

/** Valid JSON with each integer that a double does not hold exactly replaced by a number beyond all doubles. */
function withUnsafeIntegersMarked(text: string): string {
  const number = /-?\d+(\.\d+)?([eE][-+]?\d+)?/y;
  const parts: string[] = [];
  let copiedTo = 0;
  for (let at = 0; at < text.length;) {
    const code = text.charCodeAt(at);
    if (code === QUOTE) {
      at = endOfString(text, at);
    } else if (code === MINUS || (code >= ZERO && code <= NINE)) {
      number.lastIndex = at;
      const [token = '-', fraction, exponent] = number.exec(text) ?? [];
      const isInteger = fraction === undefined && exponent === undefined;
      if (isInteger && !Number.isSafeInteger(Number(token))) {
        parts.push(text.slice(copiedTo, at), INFINITE);
        copiedTo = at + token.length;
      }
      at += token.length;
    } else {
      at += 1;
    }
  }
  return copiedTo === 0 ? text : parts.join('') + text.slice(copiedTo);
}

/** The place behind a string that begins at `start`. */
function endOfString(text: string, start: number): number {
  for (let end = text.indexOf('"', start + 1); end !== -1; end = text.indexOf('"', end + 1)) {
    let backslashes = 0;
    while (text.charCodeAt(end - 1 - backslashes) === BACKSLASH) backslashes += 1;
    if (backslashes % 2 === 0) return end + 1;
  }
  return text.length;
}
