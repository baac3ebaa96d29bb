import fc from 'fast-check';
import { expect, test } from 'vitest';
import { hexDigits, hexPattern } from '../../src/shared/hex-digits.ts';

const DEVEUI = hexPattern(16, 16);

test('16 hex digits are read however they are written', () => {
  const digit = fc.constantFrom(...Array.from('0123456789abcdefABCDEF'));
  const separator = fc.constantFrom('', '', '-', ':', ' ', '\t');
  fc.assert(
    fc.property(
      fc.array(fc.tuple(separator, digit), { minLength: 16, maxLength: 16 }),
      fc.constantFrom('', '0x', ' 0X'),
      separator,
      (pairs, before, behind) => {
        const text = before + pairs.map((pair) => pair.join('')).join('') + behind;
        expect(text).toMatch(DEVEUI);
        const digits = pairs.map(([, one]) => one).join('');
        expect(hexDigits(text)).toBe(digits.toUpperCase());
      },
    ),
  );
});

test.each([
  '',
  '0x',
  'FFA45722AA73824',
  'FFA45722AA7382400',
  'FFA45722AA73824G',
  'FFA45722AA7382.40',
  'x0FFA45722AA738240',
])('%j is no DevEUI', (text) => {
  expect(text).not.toMatch(DEVEUI);
});

test('a long text is refused at once', () => {
  // In quadratic time each of them would take minutes.
  for (const text of [' '.repeat(1_000_000), `${'a'.repeat(16)}${' '.repeat(1_000_000)}x`]) {
    expect(text).not.toMatch(DEVEUI);
  }
});
