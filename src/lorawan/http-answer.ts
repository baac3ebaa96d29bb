import type { IncomingMessage } from 'node:http';
import type { ProviderAnswer } from './provider.ts';

/** 204: some provider may find that there is nothing to add. */
const REGISTERED: ReadonlySet<number> = new Set([200, 201, 204]);
const IN_USE = 422;

/**
 * The request was not even looked at, or found not to be one. Any other answer may follow upon an
 * effect.
 */
const REFUSED: ReadonlySet<number> = new Set([400, 401, 403, 404, 405, 413, 415, 429]);

/** Those that ask to be left alone, perhaps with a `Retry-After`. */
const LATER: ReadonlySet<number> = new Set([429, 503]);

/** What a response says of a DevEUI; `body` is its beginning, which reasons quote. */
export function answerOf(
  { statusCode: status = 0, headers }: IncomingMessage,
  body: Buffer,
): ProviderAnswer {
  if (REGISTERED.has(status)) return { outcome: 'registered', status };
  const quoted = excerptOf(body);
  const reason = `the provider answered ${status}${quoted === '' ? '' : `: ${quoted}`}`;
  if (status === IN_USE) return { outcome: 'in-use', status, reason };
  const retryAfterMs = LATER.has(status) ? durationMs(headers['retry-after']) : undefined;
  return {
    outcome: 'failed',
    status,
    reason,
    mayBeRegistered: !REFUSED.has(status),
    ...(retryAfterMs !== undefined && { retryAfterMs }),
  };
}

/** No answer came. Over a connection, the request may have; it does not matter how that ended. */
export function failureOf(error: Error | undefined, isConnected: boolean): ProviderAnswer {
  return {
    outcome: 'failed',
    status: null,
    reason: reasonOf(error, isConnected),
    mayBeRegistered: isConnected,
  };
}

/** The bytes of a body that `excerptOf` needs: characters of UTF-8 have up to four. */
export const QUOTED_BYTES = 1_024;
const QUOTED_CHARACTERS = 200;

/** The text of a body in one line. PostgreSQL stores no NUL, so control characters are left out. */
function excerptOf(body: Buffer): string {
  const text = body.toString('utf8').replaceAll(/[\s\p{Cc}]+/gu, ' ');
  const characters = Array.from(text.trim());
  if (characters.length <= QUOTED_CHARACTERS) return characters.join('');
  return `${characters.slice(0, QUOTED_CHARACTERS).join('')}…`;
}

const REASONS: ReadonlyMap<string, string> = new Map([
  ['ECONNREFUSED', 'connection refused'],
  ['ENOTFOUND', 'the name of the host is not known'],
  ['EAI_AGAIN', 'the name of the host could not be looked up'],
  ['EHOSTUNREACH', 'the host cannot be reached'],
  ['ENETUNREACH', 'the host cannot be reached'],
  ['ETIMEDOUT', 'the host does not respond'],
]);

function reasonOf(error: Error | undefined, isConnected: boolean): string {
  const code = error !== undefined && 'code' in error ? String(error.code) : undefined;
  // Ours, whose message says it.
  if (code === undefined) return error?.message ?? 'the connection was closed';
  if (code.startsWith('HPE_')) return 'the answer was not HTTP';
  const known = REASONS.get(code);
  if (known !== undefined) return `${known} (${code})`;
  if (isConnected) {
    const isReset = code === 'ECONNRESET' || code === 'EPIPE';
    return isReset ? 'the connection was reset' : `the connection failed (${code})`;
  }
  const isOfCertificate = /CERT|VERIFY|HOSTNAME/.test(code);
  return isOfCertificate ? `its certificate is not trusted (${code})` : `no connection (${code})`;
}

const MAX_SECONDS_DIGITS = 9;

/** The milliseconds of a Retry-After, which has seconds or a date; undefined if it has neither. */
function durationMs(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (/^\d+$/.test(text)) {
    return text.length <= MAX_SECONDS_DIGITS ? Number(text) * 1_000 : undefined;
  }
  // All forms of HTTP dates begin with the day of the week; Date.parse finds dates in almost
  // anything.
  if (!/^(Mon|Tue|Wed|Thu|Fri|Sat|Sun)/.test(text)) return undefined;
  const atMs = Date.parse(text);
  return Number.isNaN(atMs) ? undefined : Math.max(0, atMs - Date.now());
}
