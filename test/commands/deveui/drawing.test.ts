import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  drawDevEui,
  MAX_PREFIX_DIGITS,
  shortCodeOf,
  shortCodesBehind,
} from '../../../src/commands/deveui/drawing.ts';

const anySeed = fc
  .uint8Array({ minLength: 32, maxLength: 32 })
  .map((bytes) => Buffer.from(bytes).toString('hex'));
const digit = fc.nat(15).map((value) => value.toString(16).toUpperCase());
const anyPrefix = fc.string({ unit: digit, maxLength: MAX_PREFIX_DIGITS });

function seedOf(name: string): string {
  return createHash('sha256').update(name).digest('hex');
}

function oneTo(count: number): number[] {
  return Array.from({ length: count }, (_, index) => index + 1);
}

function shortCodes(seed: string, prefix: string, count: number): Set<string> {
  const places = oneTo(count).map((number) => number - 1);
  return new Set(places.map((place) => shortCodeOf(drawDevEui(seed, prefix, place))));
}

describe('the DevEUIs that a batch draws', () => {
  test('are 16 hex digits in upper case, and begin with the prefix', () => {
    fc.assert(
      fc.property(anySeed, anyPrefix, fc.nat(), (seed, prefix, anywhere) => {
        const devEui = drawDevEui(seed, prefix, anywhere % shortCodesBehind(prefix));

        expect(devEui).toMatch(/^[0-9A-F]{16}$/);
        expect(devEui.startsWith(prefix)).toBe(true);
        expect(shortCodeOf(devEui)).toBe(devEui.slice(11));
      }),
      { numRuns: 2_000 },
    );
  });

  test('are in upper case also behind a prefix that is not', () => {
    expect(drawDevEui(seedOf('a'), 'ffa457', 0)).toMatch(/^FFA457[0-9A-F]{10}$/);
  });

  test('are the same again for the same seed, and others for another', () => {
    fc.assert(
      fc.property(anySeed, anySeed, fc.nat(999_999), (seed, other, place) => {
        fc.pre(seed !== other);

        expect(drawDevEui(seed, '', place)).toBe(drawDevEui(seed, '', place));
        expect(drawDevEui(seed, '', place)).not.toBe(drawDevEui(other, '', place));
      }),
    );
  });

  test('are those that they were when the first batches were drawn', () => {
    const seed = seedOf('a batch that a later release takes up again');
    // Another drawing would give a batch that continues the short codes that it has given out
    // already.
    expect([0, 1, 9_999].map((place) => drawDevEui(seed, '', place))).toEqual([
      '2DD5A78D188DDB84',
      '0703AEAB63E15EF8',
      'D115BBF5C699FECF',
    ]);
    expect(drawDevEui(seed, 'FFA45722AA7382', 200)).toBe('FFA45722AA738258');
  });

  test.each(oneTo(MAX_PREFIX_DIGITS - 11).map((more) => 'FFA45722AA738240'.slice(0, 11 + more)))(
    'behind %s take each short code that is left once',
    { tags: ['slow'] },
    (prefix) => {
      const count = shortCodesBehind(prefix);

      expect(count).toBe(16 ** (16 - prefix.length));
      expect(shortCodes(seedOf(prefix), prefix, count).size).toBe(count);
    },
  );

  test('behind any seed take each short code of a small space once', () => {
    fc.assert(
      fc.property(anySeed, fc.constantFrom(14, 15), (seed, digits) => {
        const prefix = 'FFA45722AA738240'.slice(0, digits);

        expect(shortCodes(seed, prefix, shortCodesBehind(prefix)).size).toBe(
          shortCodesBehind(prefix),
        );
      }),
    );
  });

  test.each(['', 'FFA457', 'FFA45722AA7'])(
    'repeat no short code in 20,000 places of the whole space, behind %j',
    { tags: ['slow'] },
    (prefix) => {
      expect(shortCodesBehind(prefix)).toBe(16 ** 5);
      expect(shortCodes(seedOf(prefix), prefix, 20_000).size).toBe(20_000);
    },
  );

  test('spread over the space, so that neighbours are no neighbours', () => {
    const firsts = oneTo(1_000).map((place) => shortCodeOf(drawDevEui(seedOf('b'), '', place))[0]);
    const counts = new Map<string | undefined, number>();
    for (const first of firsts) counts.set(first, (counts.get(first) ?? 0) + 1);

    expect(counts.size).toBe(16);
    // 62.5 are expected of each; seven standard deviations are allowed.
    for (const count of counts.values()) expect(Math.abs(count - 62.5)).toBeLessThan(55);
  });
});
