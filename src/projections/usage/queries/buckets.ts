import { setImmediate as nextTurn } from 'node:timers/promises';
import { Temporal } from 'temporal-polyfill';

/**
 * How long a bucket is. Minutes and hours are so many of them on the clock; days and more are the
 * calendar's.
 */
export interface BucketLength {
  readonly count: number;
  readonly unit: 'minute' | 'hour' | 'day' | 'week' | 'month';
}

/**
 * A bucket is from its edge to the next one; so there is one edge more than buckets. Epoch
 * milliseconds.
 */
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
 * The buckets that begin at or after `start`, and at or before `end`. The first begins with the
 * first minute, hour, day, Monday or month of the zone that does, and each where the one before it
 * ends. So a day is 23 or 25 hours long where clocks change, and begins when its first hour does,
 * also where midnight comes twice or not at all.
 *
 * Undefined when there would be more than `MAX_BUCKETS`.
 */
export async function bucketEdges(
  start: Temporal.Instant,
  end: Temporal.Instant,
  { count, unit }: BucketLength,
  timeZone: string,
): Promise<Edges | undefined> {
  const startMs = ceilMs(start);
  const endMs = end.epochMilliseconds;
  const stepMs = count * UNIT_MS[unit];
  if ((endMs - startMs) / stepMs > 1.2 * MAX_BUCKETS) return undefined;
  const edges =
    unit === 'minute' || unit === 'hour'
      ? onTheClock(firstOnTheClock(startMs, UNIT_MS[unit], timeZone), endMs, stepMs)
      : unit !== 'month' && timeZone === 'UTC'
        ? onTheClock(beginningOf(firstDay(startMs, unit, timeZone), timeZone), endMs, stepMs)
        : await onTheCalendar(firstDay(startMs, unit, timeZone), endMs, { count, unit }, timeZone);
  return edges.length > MAX_BUCKETS + 1 ? undefined : edges;
}

/** The first millisecond that is not before a time: records are kept to the millisecond. */
export function ceilMs(instant: Temporal.Instant): number {
  return instant.round({ smallestUnit: 'millisecond', roundingMode: 'ceil' }).epochMilliseconds;
}

/** A time as bucket answers have it: on the clocks of the zone, such as `2020-02-01:00:00:00`. */
export function bucketLabel(epochMs: number, timeZone: string): string {
  if (timeZone === 'UTC') return new Date(epochMs).toISOString().slice(0, 19).replace('T', ':');
  const local = Temporal.Instant.fromEpochMilliseconds(epochMs).toZonedDateTimeISO(timeZone);
  return local.toPlainDateTime().toString({ smallestUnit: 'second' }).replace('T', ':');
}

function onTheClock(firstMs: number, endMs: number, stepMs: number): number[] {
  const edges: number[] = [];
  let edge = firstMs;
  for (; edge <= endMs; edge += stepMs) edges.push(edge);
  return [...edges, edge];
}

/**
 * After so many changes of clocks, which take a millisecond at most each, other work gets a turn.
 */
const CHANGES_PER_TURN = 8;

/**
 * Clocks change some times a year, so most days begin as long after the one before as the calendar
 * says: only where a change lies between them is the zone asked, which takes a millisecond. Asked
 * for each of
 * 20,000 days, it takes a second.
 */
async function onTheCalendar(
  first: Temporal.PlainDate,
  endMs: number,
  length: { readonly count: number; readonly unit: 'day' | 'week' | 'month' },
  timeZone: string,
): Promise<number[]> {
  const edges: number[] = [];
  let changes = 0;
  // Midnight on the clocks, as if they were those of UTC.
  let clockMs = beginningOf(first, 'UTC');
  let clocks = clocksFrom(first.toZonedDateTime(timeZone));
  for (;;) {
    let edge = clockMs - clocks.offsetMs;
    if (edge >= clocks.untilMs || edge < clocks.fromMs) {
      const day = zonedAt(clockMs, 'UTC').toPlainDate();
      clocks = clocksFrom(day.toZonedDateTime(timeZone));
      edge = clocks.fromMs;
      changes += 1;
      if (changes % CHANGES_PER_TURN === 0) await nextTurn();
    }
    // A day that a zone left out, as it changed sides of the date line, begins and ends with the
    // next one.
    if (edge !== edges.at(-1)) edges.push(edge);
    if (edge > endMs) return edges;
    clockMs = later(clockMs, length);
  }
}

/** From a time until clocks change: what they show is `offsetMs` ahead of UTC. */
interface Clocks {
  readonly fromMs: number;
  readonly untilMs: number;
  readonly offsetMs: number;
}

function clocksFrom(time: Temporal.ZonedDateTime): Clocks {
  return {
    fromMs: time.epochMilliseconds,
    untilMs: time.getTimeZoneTransition('next')?.epochMilliseconds ?? Number.POSITIVE_INFINITY,
    offsetMs: offsetOf(time),
  };
}

function later(
  clockMs: number,
  { count, unit }: { readonly count: number; readonly unit: 'day' | 'week' | 'month' },
): number {
  if (unit !== 'month') return clockMs + count * UNIT_MS[unit];
  const date = new Date(clockMs);
  return date.setUTCMonth(date.getUTCMonth() + count);
}

/**
 * When the clocks of the zone first show a whole unit, at `startMs` or after it. Rejected: rounding
 * the local time up and looking for its instant, as a local time that comes twice is found only
 * once.
 */
function firstOnTheClock(startMs: number, unitMs: number, timeZone: string): number {
  for (let fromMs = startMs; ;) {
    const local = zonedAt(fromMs, timeZone);
    const offsetMs = offsetOf(local);
    const wholeMs = Math.ceil((fromMs + offsetMs) / unitMs) * unitMs - offsetMs;
    // No clock changes twice within an hour. The search for a change is slow, and most hours have
    // none.
    if (offsetOf(zonedAt(wholeMs, timeZone)) === offsetMs) return wholeMs;
    // Never without one: the offsets differ.
    fromMs = local.getTimeZoneTransition('next')?.epochMilliseconds ?? wholeMs;
  }
}

function offsetOf({ offsetNanoseconds }: Temporal.ZonedDateTime): number {
  return offsetNanoseconds / 1e6;
}

/** The first day, Monday or first of a month that begins at `startMs` or after it. */
function firstDay(
  startMs: number,
  unit: 'day' | 'week' | 'month',
  timeZone: string,
): Temporal.PlainDate {
  // The day after that of the start may have begun before it, too: clocks that go back over
  // midnight show the day before again.
  let day = zonedAt(startMs, timeZone).toPlainDate();
  for (;;) {
    const first = firstDayOf(unit, day);
    const firstMs = beginningOf(first, timeZone);
    // A day that was left out is counted as the one that stands in its place.
    if (firstMs >= startMs) return zonedAt(firstMs, timeZone).toPlainDate();
    day = day.add({ days: 1 });
  }
}

function firstDayOf(unit: 'day' | 'week' | 'month', day: Temporal.PlainDate): Temporal.PlainDate {
  if (unit === 'day') return day;
  if (unit === 'week') return day.add({ days: (8 - day.dayOfWeek) % 7 });
  return day.day === 1 ? day : day.with({ day: 1 }).add({ months: 1 });
}

function beginningOf(day: Temporal.PlainDate, timeZone: string): number {
  return day.toZonedDateTime(timeZone).epochMilliseconds;
}

function zonedAt(epochMs: number, timeZone: string): Temporal.ZonedDateTime {
  return Temporal.Instant.fromEpochMilliseconds(epochMs).toZonedDateTimeISO(timeZone);
}
