import fc from 'fast-check';
import { expect, test } from 'vitest';
import { parseQueryText } from '../../src/api/query-text.ts';
import { LedgerError } from '../../src/shared/errors.ts';

test('a query is read as forms write it', () => {
  const pair = fc.tuple(fc.string({ unit: 'binary' }), fc.string({ unit: 'binary' }));
  fc.assert(
    fc.property(fc.array(pair), (pairs) => {
      const wellFormed = pairs.map((texts) => texts.map((text) => text.toWellFormed()));
      const written = new URLSearchParams(wellFormed as [string, string][]);

      const read = parseQueryText(`/path?${written.toString()}`);

      for (const name of new Set(written.keys())) {
        expect([read[name]].flat()).toEqual(written.getAll(name));
      }
      expect(Object.keys(read).length).toBe(new Set(written.keys()).size);
    }),
  );
});

test('a query that is not UTF-8 is refused, and not repaired', () => {
  for (const query of ['a=%ff', '%c3%28=1', 'a=%', 'a=%zz', 'a=%ed%a0%80']) {
    expect(() => parseQueryText(`/?${query}`), query).toThrow(LedgerError);
  }
});

test('a target without a query has no parameters', () => {
  expect(parseQueryText('/path')).toEqual({});
  expect(parseQueryText('/path?')).toEqual({});
  expect(parseQueryText('/path?&&')).toEqual({});
});
