import { Temporal } from 'temporal-polyfill';
import { describe, expect, test } from 'vitest';
import {
  bucketEdges,
  bucketLabel,
  type BucketLength,
} from '../../src/projections/usage/buckets.ts';

const HOUR_MS = 3_600_000;

function edges(
  start: string,
  end: string,
  [count, unit]: [number, BucketLength['unit']],
  timeZone = 'UTC',
): number[] {
  const at = (text: string) =>
    text.includes('T')
      ? Temporal.Instant.from(text)
      : Temporal.PlainDate.from(text).toZonedDateTime(timeZone).toInstant();
  return [...(bucketEdges(at(start), at(end), { count, unit }, timeZone) ?? [])];
}

function hours(list: readonly number[]): number[] {
  return list.slice(1).map((edge, index) => (edge - (list[index] ?? 0)) / HOUR_MS);
}

function labels(list: readonly number[], timeZone = 'UTC'): string[] {
  return list.slice(0, -1).map((edge) => bucketLabel(edge, timeZone));
}

describe('buckets', () => {
  test('are those that begin at the start, at the end, or between: the 10th to the 12th are three days', () => {
    expect(labels(edges('2020-02-10', '2020-02-12', [1, 'day']))).toEqual([
      '2020-02-10:00:00:00',
      '2020-02-11:00:00:00',
      '2020-02-12:00:00:00',
    ]);
    expect(labels(edges('2020-02-10T00:00:00Z', '2020-02-10T02:00:00Z', [1, 'hour']))).toEqual([
      '2020-02-10:00:00:00',
      '2020-02-10:01:00:00',
      '2020-02-10:02:00:00',
    ]);
  });

  test('do not begin before the start: a day that began before it is none', () => {
    expect(labels(edges('2020-02-10T00:00:01Z', '2020-02-12T00:00:00Z', [1, 'day']))).toEqual([
      '2020-02-11:00:00:00',
      '2020-02-12:00:00:00',
    ]);
  });

  test('of several units follow each other from the first one', () => {
    expect(labels(edges('2020-02-10', '2020-02-17', [3, 'day']))).toEqual([
      '2020-02-10:00:00:00',
      '2020-02-13:00:00:00',
      '2020-02-16:00:00:00',
    ]);
    expect(labels(edges('2020-02-10T05:30:00Z', '2020-02-10T18:00:00Z', [6, 'hour']))).toEqual([
      '2020-02-10:06:00:00',
      '2020-02-10:12:00:00',
      '2020-02-10:18:00:00',
    ]);
  });

  test('of weeks begin on Mondays, and of months on the first', () => {
    expect(labels(edges('2020-02-11', '2020-02-24', [1, 'week']))).toEqual([
      '2020-02-17:00:00:00',
      '2020-02-24:00:00:00',
    ]);
    const months = edges('2020-01-15', '2020-04-01', [1, 'month'], 'America/New_York');
    expect(labels(months, 'America/New_York')).toEqual([
      '2020-02-01:00:00:00',
      '2020-03-01:00:00:00',
      '2020-04-01:00:00:00',
    ]);
    expect(hours(months)).toEqual([29 * 24, 31 * 24 - 1, 30 * 24]);
  });

  test('of days have 23 and 25 hours where clocks change', () => {
    expect(hours(edges('2020-03-28', '2020-03-30', [1, 'day'], 'Europe/Berlin'))).toEqual([
      24, 23, 24,
    ]);
    expect(hours(edges('2020-10-24', '2020-10-26', [1, 'day'], 'Europe/Berlin'))).toEqual([
      24, 25, 24,
    ]);
  });

  test('of hours are each an hour, also of such days', () => {
    const spring = edges('2020-03-29', '2020-03-29T23:59:59+02:00', [1, 'hour'], 'Europe/Berlin');
    expect(spring.length - 1).toBe(23);
    const autumn = edges('2020-10-25', '2020-10-25T23:59:59+01:00', [1, 'hour'], 'Europe/Berlin');
    expect(autumn.length - 1).toBe(25);
    expect(labels(autumn, 'Europe/Berlin').slice(1, 5)).toEqual([
      '2020-10-25:01:00:00',
      '2020-10-25:02:00:00',
      '2020-10-25:02:00:00',
      '2020-10-25:03:00:00',
    ]);
  });

  test('begin with the hour of the zone, also where that is half an hour off', () => {
    const list = edges('2020-02-10', '2020-02-10T01:00:00+05:30', [1, 'hour'], 'Asia/Kolkata');
    expect(list.map((edge) => new Date(edge).toISOString())).toEqual([
      '2020-02-09T18:30:00.000Z',
      '2020-02-09T19:30:00.000Z',
      '2020-02-09T20:30:00.000Z',
    ]);
    expect(labels(list, 'Asia/Kolkata')).toEqual(['2020-02-10:00:00:00', '2020-02-10:01:00:00']);
  });

  test('of days begin with their first hour, also where midnight is left out or comes twice', () => {
    const without = edges('2018-11-04', '2018-11-04', [1, 'day'], 'America/Sao_Paulo');
    expect(labels(without, 'America/Sao_Paulo')).toEqual(['2018-11-04:01:00:00']);
    expect(hours(without)).toEqual([23]);
    const twice = edges('2021-11-07', '2021-11-07', [1, 'day'], 'America/Havana');
    expect(hours(twice)).toEqual([25]);
  });

  test('are none of a day that a zone left out', () => {
    const list = edges('2011-12-29', '2012-01-01', [1, 'day'], 'Pacific/Apia');
    expect(labels(list, 'Pacific/Apia')).toEqual([
      '2011-12-29:00:00:00',
      '2011-12-31:00:00:00',
      '2012-01-01:00:00:00',
    ]);
    expect(hours(list)).toEqual([24, 24, 24]);
  });

  test('are refused where there would be more than 20,000', () => {
    const start = Temporal.Instant.from('2020-01-01T00:00:00Z');
    const hour = { count: 1, unit: 'hour' } as const;
    const end = (count: number) => start.add({ hours: count });
    expect(bucketEdges(start, end(19_999), hour, 'UTC')).toHaveLength(20_001);
    expect(bucketEdges(start, end(20_000), hour, 'UTC')).toBeUndefined();
    expect(
      bucketEdges(start, Temporal.Instant.from('9998-01-01T00:00:00Z'), hour, 'UTC'),
    ).toBeUndefined();
  });
});
