import { Temporal } from 'temporal-polyfill';
import { z } from 'zod';
import {
  bucketEdges,
  ceilMs,
  MAX_BUCKETS,
  type BucketLength,
  type Edges,
} from '../../projections/usage/queries/buckets.ts';
import type { UsedWithin } from '../../projections/usage/queries/totals.ts';
import { LedgerError } from '../../shared/errors.ts';
import { canonicalTime, withPlusRestored } from '../../shared/time.ts';

const EXAMPLES = {
  start: '2020-02-01 / 2020-02-01T00:00:00Z',
  end: '2020-02-29 / 2020-02-29T23:00:00Z',
  every: '1day / 1hour',
  time_zone: 'Europe/Berlin / UTC',
} as const;

function parameter(description: string): z.ZodType<string | undefined> {
  return z.string().optional().meta({ description });
}

function timeParameter(description: string): z.ZodType<string | undefined> {
  return z.string().transform(withPlusRestored).optional().meta({ description });
}

/** A missing one is refused in the words of `required`, so the schema lets it pass. */
function neededParameter(
  field: z.ZodType<string | undefined>,
  example: string,
): z.ZodType<string | undefined> {
  return field.meta({ ...field.meta(), example, param: { required: true } });
}

/** Texts: what is wrong with one is said in the words that clients of such services know. */
export const rangeQuery = z.object({
  start: timeParameter('The start: a day (`2020-02-01`) or an RFC 3339 time'),
  end: timeParameter(
    'The end: a day (`2020-02-29`), which is included, or an RFC 3339 time, which is not',
  ),
  time_zone: parameter(
    'The time zone in which days begin, such as `Europe/Berlin` (default: `UTC`)',
  ),
});

export const bucketQuery = rangeQuery.extend({
  start: neededParameter(rangeQuery.shape.start, '2026-01-01'),
  end: neededParameter(
    timeParameter('The end: a day or an RFC 3339 time; a bucket that begins at it is included'),
    '2026-01-31',
  ),
  every: neededParameter(
    parameter(
      'The length of a bucket, such as `15minutes`, `1day` or `1month`, or an ISO 8601 duration ' +
        'of one unit',
    ),
    '1day',
  ),
});

type RangeQuery = z.infer<typeof rangeQuery>;

/**
 * A time as `end` is not included, so that adjacent periods add up.
 * @throws LedgerError `validation-failed`
 */
export function usedWithin(query: RangeQuery): UsedWithin {
  const timeZone = timeZoneIn(query);
  const start = query.start === undefined ? undefined : pointIn('start', query.start, timeZone);
  const end = query.end === undefined ? undefined : pointIn('end', query.end, timeZone);
  if (start !== undefined && end !== undefined) refuseBackwards(start, end, query);
  return { fromMs: start?.firstMs, toMs: end?.nextMs };
}

/**
 * The buckets that are asked for.
 * @throws LedgerError `validation-failed`
 */
export async function bucketsIn(query: z.infer<typeof bucketQuery>): Promise<{
  readonly edges: Edges;
  readonly timeZone: string;
}> {
  const timeZone = timeZoneIn(query);
  const start = pointIn('start', required('start', query.start), timeZone);
  const end = pointIn('end', required('end', query.end), timeZone);
  const every = lengthIn(required('every', query.every));
  refuseBackwards(start, end, query);
  const edges = await bucketEdges(start.instant, end.instant, every, timeZone);
  if (edges === undefined) {
    throw refused(
      'every',
      `Query parameter 'every' cannot be ${query.every} from 'start' to 'end': that is more ` +
        `than ${MAX_BUCKETS} buckets.`,
    );
  }
  return { edges, timeZone };
}

interface Point {
  /** The time itself; the beginning of a day. */
  readonly instant: Temporal.Instant;
  readonly firstMs: number;
  /** Where the day ends; of a time, the same as `firstMs`. */
  readonly nextMs: number;
}

function pointIn(name: 'start' | 'end', text: string, timeZone: string): Point {
  try {
    if (/^\d{4}-\d{2}-\d{2}$/.test(text)) {
      const day = Temporal.PlainDate.from(text);
      const instant = day.toZonedDateTime(timeZone).toInstant();
      const next = day.add({ days: 1 }).toZonedDateTime(timeZone);
      return within(instant, next.epochMilliseconds);
    }
    const time = canonicalTime(text);
    const instant = z.iso.datetime({ offset: true }).safeParse(time).success
      ? Temporal.Instant.from(time)
      : z.iso.datetime({ local: true }).safeParse(time).success
        ? Temporal.PlainDateTime.from(time).toZonedDateTime(timeZone).toInstant()
        : undefined;
    if (instant !== undefined) return within(instant);
  } catch (error) {
    // A day that the calendar does not have.
    if (!(error instanceof RangeError)) throw error;
  }
  throw cannotBe(name, text);

  function within(instant: Temporal.Instant, nextMs?: number): Point {
    const { year } = instant.toZonedDateTimeISO('UTC');
    if (year < 1 || year > 9_998) throw cannotBe(name, text);
    const firstMs = ceilMs(instant);
    return { instant, firstMs, nextMs: nextMs ?? firstMs };
  }
}

const UNITS = {
  minutes: 'minute',
  hours: 'hour',
  days: 'day',
  weeks: 'week',
  months: 'month',
} as const;
const MAX_COUNT = 10_000;

function lengthIn(text: string): BucketLength {
  const [, digits, unit] = /^(\d*)(minute|hour|day|week|month)s?$/.exec(text) ?? [];
  const length =
    digits !== undefined && unit !== undefined
      ? { count: digits === '' ? 1 : Number(digits), unit: unit as BucketLength['unit'] }
      : isoLength(text);
  if (length !== undefined && length.count >= 1 && length.count <= MAX_COUNT) return length;
  throw cannotBe('every', text);
}

/** A duration of one unit, such as `PT1H`: buckets of a day and a half have no fixed start. */
function isoLength(text: string): BucketLength | undefined {
  if (!text.startsWith('P')) return undefined;
  try {
    const duration = Temporal.Duration.from(text);
    const names = Object.keys(UNITS) as (keyof typeof UNITS)[];
    const name = names.find((unit) => duration[unit] !== 0);
    if (name === undefined) return undefined;
    const count = duration[name];
    const isAll = Temporal.Duration.from({ [name]: count }).toString() === duration.toString();
    return isAll ? { count, unit: UNITS[name] } : undefined;
  } catch (error) {
    if (error instanceof RangeError) return undefined;
    throw error;
  }
}

function timeZoneIn({ time_zone: text = 'UTC' }: RangeQuery): string {
  try {
    return new Intl.DateTimeFormat('en', { timeZone: text }).resolvedOptions().timeZone;
  } catch {
    throw cannotBe('time_zone', text);
  }
}

function refuseBackwards(start: Point, end: Point, query: RangeQuery): void {
  if (start.firstMs <= end.firstMs || start.firstMs < end.nextMs) return;
  throw refused('end', `Query parameter 'end' cannot be ${query.end}, before 'start'.`);
}

function required(name: 'start' | 'end' | 'every', text: string | undefined): string {
  if (text !== undefined) return text;
  throw refused(name, `Query parameter '${name}' is missing. (ex: ${EXAMPLES[name]})`);
}

function cannotBe(name: keyof typeof EXAMPLES, text: string): LedgerError {
  const said = text === '' ? 'empty' : text;
  return refused(name, `Query parameter '${name}' cannot be ${said}. (ex: ${EXAMPLES[name]})`);
}

function refused(name: string, message: string): LedgerError {
  return new LedgerError('validation-failed', message, {
    fields: [{ path: `query.${name}`, message }],
  });
}
