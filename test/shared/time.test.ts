import { describe, expect, test } from 'vitest';
import { canonicalTime, withPlusRestored } from '../../src/shared/time.ts';

describe('a time of RFC 3339', () => {
  test.each([
    ['2026-01-31t10:00:00z', '2026-01-31T10:00:00Z'],
    ['2026-01-31 10:00:00.25+02:00', '2026-01-31T10:00:00.25+02:00'],
    ['2026-01-31 10:00', '2026-01-31T10:00'],
    ['2016-12-31T23:59:60Z', '2016-12-31T23:59:59Z'],
    ['2017-01-01T00:59:60.123+01:00', '2017-01-01T00:59:59.123+01:00'],
  ])('may be written as %s', (text, canonical) => {
    expect(canonicalTime(text)).toBe(canonical);
  });

  test.each(['', 'today', '2026-01-31', '2026-01-31T', '20260131T100000Z', '1769853600', '60:60'])(
    'is not %s, which stays as it is',
    (text) => {
      expect(canonicalTime(text)).toBe(text);
    },
  );

  test.each([
    ['2026-01-31T10:00:00 02:00', '2026-01-31T10:00:00+02:00'],
    ['2026-01-31 10:00:00 02:00', '2026-01-31 10:00:00+02:00'],
    ['2026-01-31 10:00', '2026-01-31 10:00'],
    ['2026-01-31 10:00:00Z', '2026-01-31 10:00:00Z'],
  ])('is %s in a query whose plus became a blank', (text, restored) => {
    expect(withPlusRestored(text)).toBe(restored);
  });
});
