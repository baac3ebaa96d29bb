import { LedgerError } from '../shared/errors.ts';

/** The parameters of a query; a parameter that is given more than once has a list of values. */
export type QueryTexts = Readonly<Record<string, string | string[]>>;

/**
 * Reads the query of a request target as forms encode it (`+` is a blank). Express and Node replace
 * what is not UTF-8 by U+FFFD, which would search for something that nobody asked for.
 * @throws LedgerError `validation-failed`
 */
export function parseQueryText(target: string): QueryTexts {
  const [, text = ''] = /\?([^#]*)/.exec(target) ?? [];
  // Without a prototype, a parameter may have any name.
  const texts = Object.create(null) as Record<string, string | string[]>;
  for (const pair of text.split('&')) {
    if (pair === '') continue;
    const end = pair.includes('=') ? pair.indexOf('=') : pair.length;
    const name = decoded(pair.slice(0, end));
    const value = decoded(pair.slice(end + 1));
    const earlier = texts[name];
    if (earlier === undefined) texts[name] = value;
    else if (Array.isArray(earlier)) earlier.push(value);
    else texts[name] = [earlier, value];
  }
  return texts;
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text.replaceAll('+', ' '));
  } catch {
    throw new LedgerError(
      'validation-failed',
      'The percent-encoding of the query is not valid UTF-8: encode it again.',
      { fields: [{ path: 'query', message: 'must be percent-encoded UTF-8' }] },
    );
  }
}
