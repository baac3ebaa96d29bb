import { z } from 'zod';
import { hexDigits, hexPattern } from '../shared/hex-digits.ts';
import { PROJECT_ID, PROJECT_ID_RULE } from '../shared/ids.ts';
import { canonicalTime, withPlusRestored } from '../shared/time.ts';

/** The length of text in characters as people count them (code points), not UTF-16 units. */
function hasLength(text: string, min: number, max: number): boolean {
  const { length } = Array.from(text);
  return length >= min && length <= max;
}

function text(max: number, { isTrimmed = false } = {}): z.ZodString {
  const string = z.string(`must be text of 1 to ${max} characters`);
  return (isTrimmed ? string.trim() : string)
    .refine((value) => hasLength(value, 1, max), `must have 1 to ${max} characters`)
    .meta({ minLength: 1, maxLength: max });
}

/**
 * Clients and proxies resolve the segments `.` and `..` of a path also when they are
 * percent-encoded, so nothing could ask for a thing with such an id.
 */
function idText(options: { readonly isTrimmed?: boolean } = {}): z.ZodString {
  return text(256, options).refine((id) => id !== '.' && id !== '..', "must not be '.' or '..'");
}

/** Ids that clients choose: any text, percent-encoded in paths. */
export const idField = idText();
/** The id of a SIM card. Blanks around it are ignored, as they are in usage records. */
export const simCardIdField = idText({ isTrimmed: true });
export const nameField = text(200);

export const projectIdField = z.string().regex(PROJECT_ID, PROJECT_ID_RULE);

/** 16 hex digits, however they are written; kept in upper case and without separators. */
export const devEuiField = z
  .string()
  .regex(hexPattern(16, 16), 'must be 16 hex digits')
  .transform(hexDigits);

/**
 * Whether every store can hold the time. An offset can lead to a year that none holds:
 * 0001-01-01T00:00:00+01:00.
 */
function isKeepableTime(time: Date): boolean {
  const year = time.getUTCFullYear();
  return year >= 1 && year <= 9_999;
}

const epochSeconds = z
  .number()
  .min(0)
  .max(253_402_300_799)
  .transform((seconds) => new Date(Math.round(seconds * 1_000)));
const rfc3339 = z
  .string()
  .transform(canonicalTime)
  .pipe(z.iso.datetime({ offset: true }))
  .transform((value) => new Date(value))
  .meta({ override: { type: 'string', format: 'date-time' } });

/** Epoch seconds, or RFC 3339; read as a time. */
export const timestampField = z
  .union([epochSeconds, rfc3339], 'must be epoch seconds or an RFC 3339 time')
  .refine(isKeepableTime, 'must be a time of the years 1 to 9999')
  .meta({ examples: [1_767_225_600, '2026-01-01T00:00:00Z'] });

const DAY_OR_TIMESTAMP_RULE =
  'must be epoch seconds (9 or 10 digits), an RFC 3339 time or a day (2026-01-31)';

/**
 * Epoch seconds of 9 or 10 digits. Without that limit a day number of a spreadsheet (46053) or
 * 20260131 would be read as a time in 1970.
 */
const longEpochSeconds = z
  .number()
  .min(1e8, DAY_OR_TIMESTAMP_RULE)
  .lt(1e10, DAY_OR_TIMESTAMP_RULE)
  .transform((seconds) => new Date(Math.round(seconds * 1_000)));

/** The same, or a day: its midnight (UTC). In a table, epoch seconds are text. */
export const dayOrTimestampField = z
  .union(
    [
      longEpochSeconds,
      z
        .string()
        .regex(/^\d{9,10}(\.\d{1,9})?$/)
        .transform(Number)
        .pipe(longEpochSeconds),
      rfc3339,
      z.iso.date().transform((day) => new Date(`${day}T00:00:00Z`)),
    ],
    DAY_OR_TIMESTAMP_RULE,
  )
  .refine(isKeepableTime, 'must be a time of the years 1 to 9999')
  .meta({ examples: [1_767_225_600, '2026-01-01T00:00:00Z', '2026-01-01'] });

export const timeAnswer = z.iso.datetime();

/** A whole number in a path or query, in digits alone: `1e2`, `0x10` and `+5` are none. */
export function wholeNumberText(min: number, max: number): z.ZodType<number> {
  const rule = `must be a whole number from ${min} to ${max}`;
  return z
    .string(rule)
    .regex(/^\d{1,16}$/, rule)
    .transform(Number)
    .refine((number) => number >= min && number <= max, rule)
    .meta({ override: { type: 'integer', minimum: min, maximum: max } });
}

export const booleanQuery = z
  .enum(['true', 'false'], 'must be true or false')
  .transform((value) => value === 'true')
  .optional();

export const timeQuery = z
  .string()
  .transform((text) => canonicalTime(withPlusRestored(text)))
  .pipe(z.iso.datetime({ offset: true, error: 'must be an RFC 3339 time' }))
  .transform((value) => new Date(value))
  .refine(isKeepableTime, 'must be a time of the years 1 to 9999')
  .meta({ override: { type: 'string', format: 'date-time' } })
  .optional();

/** What a position looks like: the log, and the place in it. */
export const POSITION_PATTERN = '[0-9a-f]{8}-(0|[1-9][0-9]{0,18})';
const DATE_PATTERN = '[0-9]{4}-[0-9]{2}-[0-9]{2}';
const CLOCK_PATTERN = '[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]+)?([Zz]|[-+ ][0-9]{2}:[0-9]{2})';
const MOMENT_PATTERN = `^(${DATE_PATTERN}(${CLOCK_PATTERN})?|${POSITION_PATTERN})$`;

/** A time, a date or a position, as text: `Positions` resolves it. */
export function momentQuery(description: string): z.ZodType<string | undefined> {
  return z
    .string()
    .transform(withPlusRestored)
    .optional()
    .meta({ description, override: { type: 'string', pattern: MOMENT_PATTERN } });
}

export const asOfQuery = momentQuery(
  'The moment that the answer is of: an RFC 3339 time such as `2026-01-01T00:00:00Z`, a date ' +
    'such as `2026-01-01` (the end of that day in UTC), or a Fleetledger-Position',
);

/** A sum of bytes, as `exactInteger` has it. */
export const bytesAnswer = z
  .union([z.int().min(0), z.string().regex(/^\d+$/)])
  .meta({ description: 'Bytes; beyond 2^53 - 1 a string of digits, so that it is exact' });
