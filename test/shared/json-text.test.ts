import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parseJsonText, pathOfUnsafeNumber } from '../../src/shared/json-text.ts';
import type { Json } from '../../src/shared/json.ts';

describe('JSON text', () => {
  test.each([
    ['9007199254740991', undefined],
    ['-9007199254740991', undefined],
    ['9007199254740992', ''],
    ['-9007199254740993', ''],
    ['{"a":[0,{"b":12345678901234567890}]}', 'a.1.b'],
    ['{"a":"\\\\","b":[12345678901234567890]}', 'b.0'],
    ['{"a\\"12345678901234567890":"12345678901234567890\\\\\\"9007199254740993"}', undefined],
    [
      '[0.12345678901234567890,123456789012345678.5,9007199254740991.0,1e15,1e-400,0e99]',
      undefined,
    ],
    ['{"a":9007199254740993.0}', 'a'],
    ['[0,9.007199254740993e15]', '1'],
    ['[12.5E1,-1e20]', '1'],
    ['{"a": 1E+16}', 'a'],
    ['90071992547409930e-1', ''],
    ['90071992547409935e-1', undefined],
    ['{"1e20":"1e20, 2e20"}', undefined],
    ['[1e400]', '0'],
  ])('%s has a number that no double holds at %s', (text, path) => {
    expect(pathOfUnsafeNumber(parseJsonText(text))?.join('.')).toBe(path);
  });

  test('may begin with a byte order mark', () => {
    expect(parseJsonText('\ufeff{"a":1}')).toEqual({ a: 1 });
    expect(parseJsonText('\ufeff[9007199254740993]')).toEqual([Infinity]);
  });

  test('that nests by the thousand is looked through', () => {
    const text = `${'['.repeat(20_000)}9007199254740993${']'.repeat(20_000)}`;
    expect(pathOfUnsafeNumber(parseJsonText(text))).toHaveLength(20_000);
  });

  test('is parsed as it always is where its integers are safe, and refused where that refuses it', () => {
    fc.assert(
      fc.property(fc.oneof(fc.json({ maxDepth: 4 }), fc.string()), (text) => {
        const outcome = (parse: (text: string) => unknown): unknown => {
          try {
            return { parsed: parse(text) };
          } catch (error) {
            return error instanceof SyntaxError;
          }
        };
        const outsideStrings = text.replaceAll(/"(?:[^"\\]|\\.)*"/g, '');
        fc.pre(!/\d{16}|\de\+?\d/i.test(outsideStrings) && !text.startsWith('\ufeff'));
        expect(outcome(parseJsonText)).toEqual(outcome(JSON.parse));
      }),
    );
  });

  test('has an unsafe integer found in each notation, and a safe one in none', () => {
    const digits = fc.bigInt({ min: -(2n ** 60n), max: 2n ** 60n });
    fc.assert(
      fc.property(digits, fc.integer({ min: -20, max: 20 }), (integer, shift) => {
        const zeros = '0'.repeat(Math.max(0, shift));
        const notations = [
          `${integer}${shift > 0 ? `.${zeros}` : ''}`,
          // No number begins with 00.
          integer === 0n ? '0e-0' : `${integer}${zeros}e${-Math.max(0, shift)}`,
          `${integer}E+0`,
          String(integer).replace(/^(-?\d)(\d+)$/, (_all, first: string, rest: string) => {
            return `${first}.${rest}e${rest.length}`;
          }),
        ];
        const isUnsafe = !Number.isSafeInteger(Number(integer));
        for (const text of notations) {
          expect(pathOfUnsafeNumber(parseJsonText(text)) !== undefined, text).toBe(isUnsafe);
        }
      }),
    );
  });

  test('has its unsafe integers found wherever they are, and no others', () => {
    const { value } = fc.letrec((tie) => ({
      value: fc.oneof(
        { depthSize: 'small' },
        fc.record({ text: fc.bigInt({ min: -(2n ** 70n), max: 2n ** 70n }).map(String) }),
        fc.string().map((text) => ({ text: JSON.stringify(text) })),
        fc
          .constantFrom('"9007199254740993"', '"\\\\\\""', '0.9007199254740993', 'null')
          .map((text) => ({ text })),
        fc.array(tie('value') as fc.Arbitrary<{ text: string }>).map((items) => ({
          text: `[${items.map(({ text }) => text).join(' ,\n')}]`,
        })),
        fc
          .dictionary(fc.string(), tie('value') as fc.Arbitrary<{ text: string }>)
          .map((object) => ({
            text: `{${Object.entries(object)
              .map(([name, { text }]) => `${JSON.stringify(name)}: ${text}`)
              .join(',')}}`,
          })),
      ),
    }));
    fc.assert(
      fc.property(value as fc.Arbitrary<{ text: string }>, ({ text }) => {
        const infinite = (found: Json): boolean =>
          typeof found === 'object' && found !== null
            ? Object.values(found).some(infinite)
            : typeof found === 'number' && !Number.isSafeInteger(found) && Number.isInteger(found);
        const parsed = parseJsonText(text);
        expect(pathOfUnsafeNumber(parsed) !== undefined).toBe(infinite(JSON.parse(text) as Json));
      }),
    );
  });
});
