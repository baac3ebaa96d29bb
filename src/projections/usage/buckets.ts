import { Temporal } from 'temporal-polyfill';

/** How long a bucket is. Minutes and hours are so many of them on the clock; days and more are the calendar's. */
export interface BucketLength {
  readonly count: number;
  readonly unit: 'minute' | 'hour' | 'day' | 'week' | 'month';
}

/** A bucket is from its edge to the next one; so there is one edge more than buckets. Epoch milliseconds. */
export type Edges = readonly number[];

export const MAX_BUCKETS = 20_000;

/** At least so long is one of each, whatever a clock change does. */
const UNIT_MS = {
  minute: 60_000,
  hour: 3_600_000,
  day: 24 * 3_600_000,
  week: 7 * 24 * 3_600_000,
  month: 28 * 24 * 3_600_000,
} as const;

/**
 * The buckets that begin at or after `start`, and at or before `end`. The first begins with the first minute, hour,
 * day, Monday or month of the zone that does, and each where the one before it ends. So a day is 23 or 25 hours
 * long where clocks change, and begins when its first hour does, also where midnight comes twice or not at all.
 *
 * Undefined when there would be more than `MAX_BUCKETS`.
 */
export function bucketEdges(
  start: Temporal.Instant,
  end: Temporal.Instant,
  { count, unit }: BucketLength,
  timeZone: string,
): Edges | undefined {
  const endMs = end.epochMilliseconds;
  const stepMs = count * UNIT_MS[unit];
  if ((endMs - start.epochMilliseconds) / stepMs > 1.2 * MAX_BUCKETS) return undefined;
  const edges =
    unit === 'minute' || unit === 'hour' || (timeZone === 'UTC' && unit !== 'month')
      ? onTheClock(firstOf(start, unit, timeZone), endMs, stepMs)
      : onTheCalendar(firstOf(start, unit, timeZone), endMs, { [`${unit}s`]: count });
  return edges.length > MAX_BUCKETS + 1 ? undefined : edges;
}

/** A time as bucket answers have it: on the clocks of the zone, such as `2020-02-01:00:00:00`. */
export function bucketLabel(epochMs: number, timeZone: string): string {
  if (timeZone === 'UTC') return new Date(epochMs).toISOString().slice(0, 19).replace('T', ':');
  const local = Temporal.Instant.fromEpochMilliseconds(epochMs).toZonedDateTimeISO(timeZone);
  return local.toPlainDateTime().toString({ smallestUnit: 'second' }).replace('T', ':');
}

function onTheClock(first: Temporal.ZonedDateTime, endMs: number, stepMs: number): number[] {
  const edges: number[] = [];
  let edge = first.epochMilliseconds;
  for (; edge <= endMs; edge += stepMs) edges.push(edge);
  return [...edges, edge];
}

function onTheCalendar(
  first: Temporal.ZonedDateTime,
  endMs: number,
  step: Temporal.DurationLike,
): number[] {
  const edges: number[] = [];
  const zone = first.timeZoneId;
  let day = first.toPlainDate();
  let edge = first.epochMilliseconds;
  while (edge <= endMs) {
    // A day that a zone left out, as it changed sides of the date line, begins and ends with the next one.
    if (edge !== edges.at(-1)) edges.push(edge);
    day = day.add(step);
    edge = day.toZonedDateTime(zone).epochMilliseconds;
  }
  return [...edges, edge];
}

/** The first one of a unit that begins at `start` or after it. */
function firstOf(
  start: Temporal.Instant,
  unit: BucketLength['unit'],
  timeZone: string,
): Temporal.ZonedDateTime {
  const local = start.toZonedDateTimeISO(timeZone);
  if (unit === 'minute' || unit === 'hour') {
    return local.round({ smallestUnit: unit, roundingMode: 'ceil' });
  }
  const today = local.startOfDay();
  const day = (today.equals(local) ? local : local.add({ days: 1 })).toPlainDate();
  return firstDayOf(unit, day).toZonedDateTime(timeZone);
}

function firstDayOf(unit: 'day' | 'week' | 'month', day: Temporal.PlainDate): Temporal.PlainDate {
  if (unit === 'day') return day;
  if (unit === 'week') return day.add({ days: (8 - day.dayOfWeek) % 7 });
  return day.day === 1 ? day : day.with({ day: 1 }).add({ months: 1 });
}
