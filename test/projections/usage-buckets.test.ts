import fc from 'fast-check';
import { Temporal } from 'temporal-polyfill';
import { describe, expect, test } from 'vitest';
import {
  bucketEdges,
  bucketLabel,
  type BucketLength,
} from '../../src/projections/usage/queries/buckets.ts';

const HOUR_MS = 3_600_000;

async function edges(
  start: string,
  end: string,
  [count, unit]: [number, BucketLength['unit']],
  timeZone = 'UTC',
): Promise<number[]> {
  const at = (text: string) =>
    text.includes('T')
      ? Temporal.Instant.from(text)
      : Temporal.PlainDate.from(text).toZonedDateTime(timeZone).toInstant();
  return [...((await bucketEdges(at(start), at(end), { count, unit }, timeZone)) ?? [])];
}

function hours(list: readonly number[]): number[] {
  return list.slice(1).map((edge, index) => (edge - (list[index] ?? 0)) / HOUR_MS);
}

function labels(list: readonly number[], timeZone = 'UTC'): string[] {
  return list.slice(0, -1).map((edge) => bucketLabel(edge, timeZone));
}

describe('buckets', () => {
  test('are those that begin at the start, at the end, or between: the 10th to the 12th are three days', async () => {
    expect(labels(await edges('2020-02-10', '2020-02-12', [1, 'day']))).toEqual([
      '2020-02-10:00:00:00',
      '2020-02-11:00:00:00',
      '2020-02-12:00:00:00',
    ]);
    expect(
      labels(await edges('2020-02-10T00:00:00Z', '2020-02-10T02:00:00Z', [1, 'hour'])),
    ).toEqual(['2020-02-10:00:00:00', '2020-02-10:01:00:00', '2020-02-10:02:00:00']);
  });

  test('do not begin before the start: a day that began before it is none', async () => {
    expect(labels(await edges('2020-02-10T00:00:01Z', '2020-02-12T00:00:00Z', [1, 'day']))).toEqual(
      ['2020-02-11:00:00:00', '2020-02-12:00:00:00'],
    );
  });

  test('of several units follow each other from the first one', async () => {
    expect(labels(await edges('2020-02-10', '2020-02-17', [3, 'day']))).toEqual([
      '2020-02-10:00:00:00',
      '2020-02-13:00:00:00',
      '2020-02-16:00:00:00',
    ]);
    expect(
      labels(await edges('2020-02-10T05:30:00Z', '2020-02-10T18:00:00Z', [6, 'hour'])),
    ).toEqual(['2020-02-10:06:00:00', '2020-02-10:12:00:00', '2020-02-10:18:00:00']);
  });

  test('of weeks begin on Mondays, and of months on the first', async () => {
    expect(labels(await edges('2020-02-11', '2020-02-24', [1, 'week']))).toEqual([
      '2020-02-17:00:00:00',
      '2020-02-24:00:00:00',
    ]);
    const months = await edges('2020-01-15', '2020-04-01', [1, 'month'], 'America/New_York');
    expect(labels(months, 'America/New_York')).toEqual([
      '2020-02-01:00:00:00',
      '2020-03-01:00:00:00',
      '2020-04-01:00:00:00',
    ]);
    expect(hours(months)).toEqual([29 * 24, 31 * 24 - 1, 30 * 24]);
  });

  test('of days have 23 and 25 hours where clocks change', async () => {
    expect(hours(await edges('2020-03-28', '2020-03-30', [1, 'day'], 'Europe/Berlin'))).toEqual([
      24, 23, 24,
    ]);
    expect(hours(await edges('2020-10-24', '2020-10-26', [1, 'day'], 'Europe/Berlin'))).toEqual([
      24, 25, 24,
    ]);
  });

  test('of hours are each an hour, also of such days', async () => {
    const spring = await edges(
      '2020-03-29',
      '2020-03-29T23:59:59+02:00',
      [1, 'hour'],
      'Europe/Berlin',
    );
    expect(spring.length - 1).toBe(23);
    const autumn = await edges(
      '2020-10-25',
      '2020-10-25T23:59:59+01:00',
      [1, 'hour'],
      'Europe/Berlin',
    );
    expect(autumn.length - 1).toBe(25);
    expect(labels(autumn, 'Europe/Berlin').slice(1, 5)).toEqual([
      '2020-10-25:01:00:00',
      '2020-10-25:02:00:00',
      '2020-10-25:02:00:00',
      '2020-10-25:03:00:00',
    ]);
  });

  test('begin with the hour of the zone, also where that is half an hour off', async () => {
    const list = await edges(
      '2020-02-10',
      '2020-02-10T01:00:00+05:30',
      [1, 'hour'],
      'Asia/Kolkata',
    );
    expect(list.map((edge) => new Date(edge).toISOString())).toEqual([
      '2020-02-09T18:30:00.000Z',
      '2020-02-09T19:30:00.000Z',
      '2020-02-09T20:30:00.000Z',
    ]);
    expect(labels(list, 'Asia/Kolkata')).toEqual(['2020-02-10:00:00:00', '2020-02-10:01:00:00']);
  });

  test('of days begin with their first hour, also where midnight is left out or comes twice', async () => {
    const without = await edges('2018-11-04', '2018-11-04', [1, 'day'], 'America/Sao_Paulo');
    expect(labels(without, 'America/Sao_Paulo')).toEqual(['2018-11-04:01:00:00']);
    expect(hours(without)).toEqual([23]);
    const twice = await edges('2021-11-07', '2021-11-07', [1, 'day'], 'America/Havana');
    expect(hours(twice)).toEqual([25]);
  });

  test('are none of a day that a zone left out', async () => {
    const list = await edges('2011-12-29', '2012-01-01', [1, 'day'], 'Pacific/Apia');
    expect(labels(list, 'Pacific/Apia')).toEqual([
      '2011-12-29:00:00:00',
      '2011-12-31:00:00:00',
      '2012-01-01:00:00:00',
    ]);
    expect(hours(list)).toEqual([24, 24, 24]);
  });

  test('are refused where there would be more than 20,000', async () => {
    const start = Temporal.Instant.from('2020-01-01T00:00:00Z');
    const hour = { count: 1, unit: 'hour' } as const;
    const end = (count: number) => start.add({ hours: count });
    expect(await bucketEdges(start, end(19_999), hour, 'UTC')).toHaveLength(20_001);
    expect(await bucketEdges(start, end(20_000), hour, 'UTC')).toBeUndefined();
    expect(
      await bucketEdges(start, Temporal.Instant.from('9998-01-01T00:00:00Z'), hour, 'UTC'),
    ).toBeUndefined();
  });

  test('of an hour that comes twice are two, wherever the answer begins', async () => {
    const list = await edges(
      '2022-10-30T00:30:00Z',
      '2022-10-30T03:00:00Z',
      [1, 'hour'],
      'Europe/Berlin',
    );
    expect(new Date(list[0] ?? 0).toISOString()).toBe('2022-10-30T01:00:00.000Z');
    expect(labels(list, 'Europe/Berlin')).toEqual([
      '2022-10-30:02:00:00',
      '2022-10-30:03:00:00',
      '2022-10-30:04:00:00',
    ]);
  });

  test('of days do not begin before the start where clocks go back over midnight', async () => {
    // At 00:01 of the 7th it is 23:01 of the 6th again: the 7th has begun before.
    const list = await edges(
      '2010-11-07T02:45:00Z',
      '2010-11-08T12:00:00Z',
      [1, 'day'],
      'America/St_Johns',
    );
    expect(labels(list, 'America/St_Johns')).toEqual(['2010-11-08:00:00:00']);
  });

  test('are those that are found by looking at the clocks of each minute', async () => {
    await fc.assert(
      fc.asyncProperty(
        anyChange,
        anyLength,
        anyMinute,
        anyMinute,
        async (change, length, one, other) => {
          const clocks = minutesAround(change);
          const [from, to] = [Math.min(one, other), Math.max(one, other)];
          const instantOf = (minute: number) =>
            Temporal.Instant.fromEpochMilliseconds(clocks.epochMs(minute));
          const { timeZone } = change;
          const found = await bucketEdges(instantOf(from), instantOf(to), length, timeZone);
          expect(found).toEqual(edgesByMinutes(clocks, { from, to }, length));
        },
      ),
      { numRuns: 500 },
    );
  });

  test.each([
    ['2015-01-01', '2024-09-01', 'day', 'Europe/Berlin'],
    ['2008-01-01', '2014-01-01', 'day', 'Pacific/Apia'],
    ['2008-01-01', '2013-01-01', 'day', 'Africa/Casablanca'],
    ['1985-01-01', '2013-01-01', 'week', 'America/St_Johns'],
    ['1890-01-01', '2100-01-01', 'month', 'America/Santiago'],
  ] as const)(
    'from %s to %s are those that the calendar of the zone has: every %s in %s',
    async (start, end, unit, timeZone) => {
      const expected: number[] = [];
      const [first = 0, ...others] = await edges(start, end, [1, unit], timeZone);
      let day = Temporal.Instant.fromEpochMilliseconds(first)
        .toZonedDateTimeISO(timeZone)
        .toPlainDate();
      for (let n = 0; n < others.length; n += 1) {
        let next: number;
        do {
          day = day.add({ [`${unit}s`]: 1 });
          next = day.toZonedDateTime(timeZone).epochMilliseconds;
        } while (next === (expected.at(-1) ?? first));
        expected.push(next);
      }
      expect(others).toEqual(expected);
    },
  );

  test('are reckoned in turns with everything else, however many there are', async () => {
    let turns = 0;
    let isDone = false;
    const countTurn = (): void => {
      turns += 1;
      if (!isDone) setImmediate(countTurn);
    };
    setImmediate(countTurn);
    const months = await edges('1800-01-01', '2200-01-01', [1, 'month'], 'America/Santiago');
    isDone = true;
    expect(months).toHaveLength(400 * 12 + 2);
    expect(turns).toBeGreaterThan(10);
  });
});

interface Change {
  readonly timeZone: string;
  /** A day on which its clocks change. */
  readonly day: string;
}

const DAYS_BEFORE = 3;
const DAYS_AFTER = 12;
const MINUTE_MS = 60_000;

/**
 * Changes at one minute past midnight, by half an hour, by a whole day, at midnight, and out of
 * season.
 */
const anyChange = fc.constantFrom<Change>(
  { timeZone: 'America/St_Johns', day: '2010-11-07' },
  { timeZone: 'America/St_Johns', day: '2011-03-13' },
  { timeZone: 'Pacific/Apia', day: '2011-12-30' },
  { timeZone: 'Pacific/Apia', day: '2011-04-02' },
  { timeZone: 'Australia/Lord_Howe', day: '2022-04-03' },
  { timeZone: 'Australia/Lord_Howe', day: '2022-10-02' },
  { timeZone: 'Africa/Casablanca', day: '2022-03-27' },
  { timeZone: 'Africa/Casablanca', day: '2022-05-08' },
  { timeZone: 'America/Havana', day: '2021-11-07' },
  { timeZone: 'America/Sao_Paulo', day: '2018-11-04' },
  { timeZone: 'Europe/Berlin', day: '2022-10-30' },
  { timeZone: 'Asia/Kathmandu', day: '1986-01-01' },
  { timeZone: 'UTC', day: '2022-10-30' },
);

const anyLength = fc.oneof(
  fc.record({
    count: fc.integer({ min: 1, max: 90 }),
    unit: fc.constant<BucketLength['unit']>('minute'),
  }),
  fc.record({
    count: fc.integer({ min: 1, max: 3 }),
    unit: fc.constantFrom<BucketLength['unit']>('hour', 'day'),
  }),
  fc.record({ count: fc.constant(1), unit: fc.constant<BucketLength['unit']>('week') }),
);

/**
 * Starts around a change of clocks. The last days are left out, so that the bucket after the end is
 * among them, and the first one, whose beginning on the clocks of the zone lies before all of them.
 */
const anyMinute = fc.oneof(
  fc.integer({ min: 24 * 60, max: (DAYS_BEFORE + 2) * 24 * 60 }),
  fc.integer({ min: (DAYS_BEFORE - 1) * 24 * 60, max: (DAYS_BEFORE + 1) * 24 * 60 }),
);

/** What the clocks of a zone show in each minute around a change, asked one by one. */
interface Clocks {
  readonly epochMs: (minute: number) => number;
  /** Minutes of the clocks since 1970, as if these were UTC. */
  readonly shown: readonly number[];
}

const known = new Map<string, Clocks>();

function minutesAround({ timeZone, day }: Change): Clocks {
  const name = `${timeZone} ${day}`;
  const found = known.get(name) ?? lookAt(timeZone, day);
  known.set(name, found);
  return found;
}

function lookAt(timeZone: string, day: string): Clocks {
  const format = new Intl.DateTimeFormat('en', {
    timeZone,
    hourCycle: 'h23',
    year: 'numeric',
    month: 'numeric',
    day: 'numeric',
    hour: 'numeric',
    minute: 'numeric',
  });
  const firstMs = Date.parse(day) - DAYS_BEFORE * 24 * HOUR_MS;
  const epochMs = (minute: number) => firstMs + minute * MINUTE_MS;
  const shown = Array.from({ length: (DAYS_BEFORE + DAYS_AFTER) * 24 * 60 }, (_, minute) => {
    const [month = 0, date = 0, year = 0, hour = 0, ofHour = 0] = (
      format.format(epochMs(minute)).match(/\d+/g) ?? []
    ).map(Number);
    return Date.UTC(year, month - 1, date, hour, ofHour) / MINUTE_MS;
  });
  return { epochMs, shown };
}

/** The same edges, without any reckoning: each is the first minute of which its rule holds. */
function edgesByMinutes(
  { epochMs, shown }: Clocks,
  { from, to }: { readonly from: number; readonly to: number },
  { count, unit }: BucketLength,
): number[] {
  const minutes: number[] = [];
  const push = (minute: number): boolean => minutes.push(minute) > 0 && minute <= to;
  if (unit === 'minute' || unit === 'hour') {
    const length = unit === 'hour' ? 60 : 1;
    let minute = shown.findIndex((shows, index) => index >= from && shows % length === 0);
    while (push(minute)) minute += count * length;
    return minutes.map(epochMs);
  }
  const days = shown.map((shows) => Math.floor(shows / (24 * 60)));
  const beginsAt = (day: number) => days.findIndex((shows) => shows >= day);
  // 1970-01-01 was a Thursday.
  const isFirst = (day: number) => unit === 'day' || (day + 3) % 7 === 0;
  let day = days[from] ?? 0;
  while (!isFirst(day) || beginsAt(day) < from) day += 1;
  // A day that was left out is the one that stands in its place.
  day = days[beginsAt(day)] ?? 0;
  let minute = beginsAt(day);
  while (push(minute)) {
    do {
      day += unit === 'week' ? 7 * count : count;
    } while (beginsAt(day) === minute);
    minute = beginsAt(day);
  }
  return minutes.map(epochMs);
}
