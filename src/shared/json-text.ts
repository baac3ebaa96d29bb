import type { Json, JsonObject } from './json.ts';

/**
 * Parses JSON, after a byte order mark if there is one. An integer beyond ±(2^53 - 1), in any
 * notation, becomes infinite, as numbers beyond a 64-bit float do, so that whoever keeps the value
 * can refuse it: `JSON.parse` rounds such an integer in silence, and it could not be returned as it
 * was sent. The text is scanned, since Node 20 does not give a reviver the source of a number.
 * @throws SyntaxError
 */
export function parseJsonText(text: string): Json {
  const withoutMark = text.startsWith('\ufeff') ? text.slice(1) : text;
  const parsed = JSON.parse(withoutMark) as Json;
  if (!MAY_BE_UNSAFE.test(withoutMark)) return parsed;
  const marked = withUnsafeIntegersMarked(withoutMark);
  return marked === withoutMark ? parsed : (JSON.parse(marked) as Json);
}

/**
 * Most texts have no number of so many digits, and none with an exponent that makes it greater, so
 * they are not scanned.
 */
const MAY_BE_UNSAFE = /\d{16}|(?:^|[:,[\s])-?\d[\d.]*[eE]\+?\d/;

/** What is wrong with a number that `parseJsonText` made infinite. */
export const UNSAFE_NUMBER =
  'must be a number that can be returned as it was sent: an integer within ±(2^53 - 1), or a ' +
  'fraction';

/**
 * The path of an infinite number in a value; undefined when there is none. It does not recurse, so
 * any depth is safe.
 */
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

const MAX_SAFE_DIGITS = 16;

/** Whether the value of a number of JSON is an integer beyond ±(2^53 - 1): `12.5e1` is 125. */
function isUnsafeInteger(whole: string, fraction: string, exponent: number): boolean {
  const digits = (whole + fraction).replace(/^0+/, '');
  const significant = digits.replace(/0+$/, '');
  if (significant === '') return false;
  const zeros = digits.length - significant.length + exponent - fraction.length;
  if (zeros < 0) return false;
  if (significant.length + zeros > MAX_SAFE_DIGITS) return true;
  return !Number.isSafeInteger(Number(significant + '0'.repeat(zeros)));
}

/** Valid JSON with each integer beyond ±(2^53 - 1) replaced by a number beyond all doubles. */
function withUnsafeIntegersMarked(text: string): string {
  const number = /-?(\d+)(?:\.(\d+))?(?:[eE]([-+]?\d+))?/y;
  const parts: string[] = [];
  let copiedTo = 0;
  for (let at = 0; at < text.length;) {
    const code = text.charCodeAt(at);
    if (code === QUOTE) {
      at = endOfString(text, at);
    } else if (code === MINUS || (code >= ZERO && code <= NINE)) {
      number.lastIndex = at;
      const [token = '-', whole = '', fraction = '', exponent = '0'] = number.exec(text) ?? [];
      if (isUnsafeInteger(whole, fraction, Number(exponent))) {
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
