import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { canonicalJson, type Json, type JsonObject } from '../../src/shared/json.ts';
import { isWithoutEffect, mergePatch } from '../../src/shared/merge-patch.ts';
import { anyJsonObject } from './any-json.ts';

const RUNS = { numRuns: 3_000 };

/** RFC 7396, appendix A, in its order: original, patch, result. */
const APPENDIX_A: [string, string, string][] = [
  ['{"a":"b"}', '{"a":"c"}', '{"a":"c"}'],
  ['{"a":"b"}', '{"b":"c"}', '{"a":"b","b":"c"}'],
  ['{"a":"b"}', '{"a":null}', '{}'],
  ['{"a":"b","b":"c"}', '{"a":null}', '{"b":"c"}'],
  ['{"a":["b"]}', '{"a":"c"}', '{"a":"c"}'],
  ['{"a":"c"}', '{"a":["b"]}', '{"a":["b"]}'],
  ['{"a":{"b":"c"}}', '{"a":{"b":"d","c":null}}', '{"a":{"b":"d"}}'],
  ['{"a":[{"b":"c"}]}', '{"a":[1]}', '{"a":[1]}'],
  ['["a","b"]', '["c","d"]', '["c","d"]'],
  ['{"a":"b"}', '["c"]', '["c"]'],
  ['{"a":"foo"}', 'null', 'null'],
  ['{"a":"foo"}', '"bar"', '"bar"'],
  ['{"e":null}', '{"a":1}', '{"e":null,"a":1}'],
  ['[1,2]', '{"a":"b","c":null}', '{"a":"b"}'],
  ['{}', '{"a":{"bb":{"ccc":null}}}', '{"a":{"bb":{}}}'],
];

/** Keys that reach a prototype, or that a comparison of objects may trip over. */
const AWKWARD_KEYS = [
  '__proto__',
  'constructor',
  'prototype',
  'hasOwnProperty',
  'toString',
  'valueOf',
  'toJSON',
];

describe('merging a patch', () => {
  test.each(APPENDIX_A.filter(([, patch]) => patch.startsWith('{')))(
    'RFC 7396, appendix A: %s with %s is %s',
    (original, patch, result) => {
      expect(text(mergePatch(parse(original), parse(patch)))).toBe(text(parse(result)));
    },
  );

  test.each(APPENDIX_A)(
    'RFC 7396, appendix A, for a member: %s with %s is %s',
    (original, patch, result) => {
      const merged = mergePatch({ member: parse(original) }, { member: parse(patch) });

      expect(text(merged)).toBe(text(result === 'null' ? {} : { member: parse(result) }));
    },
  );

  test('begins with an empty object where there is none', () => {
    expect(mergePatch(undefined, { a: { b: null, c: 1 } })).toEqual({ a: { c: 1 } });
  });

  test('takes arrays as they are, with their nulls', () => {
    expect(mergePatch({ a: [1] }, { a: [null, { b: null }] })).toEqual({ a: [null, { b: null }] });
  });

  test.each(AWKWARD_KEYS)('%s is a key as any other', (key) => {
    const nested = parse(`{"${key}":{"x":1}}`);
    const merged = mergePatch({}, nested);
    expect(JSON.stringify(merged)).toBe(`{"${key}":{"x":1}}`);

    const changed = mergePatch(merged, parse(`{"${key}":{"y":[2]}}`));
    expect(JSON.stringify(changed)).toBe(`{"${key}":{"x":1,"y":[2]}}`);
    expect(isWithoutEffect(changed, nested)).toBe(true);
    expect(isWithoutEffect(changed, parse(`{"${key}":{"x":2}}`))).toBe(false);
    expect(isWithoutEffect({}, parse(`{"${key}":null}`))).toBe(true);

    expect(JSON.stringify(mergePatch(changed, parse(`{"${key}":null}`)))).toBe('{}');
    expect(Reflect.get({}, 'x')).toBeUndefined();
    expect(Object.getPrototypeOf(changed)).toBe(Object.prototype);
  });

  test('leaves what it was given as it was', () => {
    fc.assert(
      fc.property(anyJsonObject, anyJsonObject, (target, patch) => {
        const [targetBefore, patchBefore] = [JSON.stringify(target), JSON.stringify(patch)];
        mergePatch(target, patch);
        expect([JSON.stringify(target), JSON.stringify(patch)]).toEqual([
          targetBefore,
          patchBefore,
        ]);
      }),
      RUNS,
    );
  });

  test('a second time changes nothing', () => {
    fc.assert(
      fc.property(anyJsonObject, anyJsonObject, (target, patch) => {
        const merged = mergePatch(target, patch);
        expect(text(mergePatch(merged, patch))).toBe(text(merged));
        expect(isWithoutEffect(merged, sentAgain(patch))).toBe(true);
      }),
      RUNS,
    );
  });
});

describe('a patch is without effect', () => {
  test('exactly when merging it gives the same object', () => {
    const seen = { without: 0, with: 0 };
    fc.assert(
      fc.property(anyJsonObject, patchNear, (target, near) => {
        const patch = sentAgain(near(target));
        const isSame = text(mergePatch(target, patch)) === text(target);
        seen[isSame ? 'without' : 'with'] += 1;
        expect(isWithoutEffect(target, patch)).toBe(isSame);
      }),
      RUNS,
    );
    // Both sides were tried, and not by chance alone.
    expect(Math.min(seen.without, seen.with)).toBeGreaterThan(RUNS.numRuns / 10);
  });

  test.each(AWKWARD_KEYS)('also when it repeats an array of objects with the key %s', (key) => {
    const patch = parse(`{"a":[{"${key}":{"x":1}},{"${key}":1}]}`);

    expect(isWithoutEffect(mergePatch({}, patch), sentAgain(patch))).toBe(true);
    expect(isWithoutEffect(mergePatch({}, patch), parse(`{"a":[{"${key}":{"x":2}},1]}`))).toBe(
      false,
    );
    expect(isWithoutEffect({ a: [{}, {}] }, patch)).toBe(false);
  });

  test.each([
    ['{"a":[1,2]}', '{"a":[2,1]}'],
    ['{"a":[1]}', '{"a":[1,1]}'],
    ['{"a":[]}', '{"a":{}}'],
    ['{"a":{}}', '{"a":[]}'],
    ['{"a":1}', '{"a":"1"}'],
    ['{"a":0}', '{"a":false}'],
    ['{"a":[null]}', '{"a":[0]}'],
    ['{"a":[{}]}', '{"a":[[]]}'],
    ['{"a":[{"b":1}]}', '{"a":[{"c":1}]}'],
    ['{}', '{"a":{}}'],
    ['{}', '{"a":{"b":null}}'],
    ['{"a":null}', '{"a":null}'],
  ])('not when %s takes %s', (target, patch) => {
    expect(isWithoutEffect(parse(target), parse(patch))).toBe(false);
  });
});

/** Patches that often say what the target says already: some of its members, some others. */
const patchNear = fc
  .tuple(fc.array(fc.boolean(), { maxLength: 4 }), fc.option(anyJsonObject, { freq: 2 }))
  .map(([keeps, other]) => (target: JsonObject): JsonObject => {
    const own = Object.entries(target).filter(([, value], index) => keeps[index] && value !== null);
    return mergePatch(Object.fromEntries(own), other ?? {});
  });

/** The same content in other objects, as it arrives the second time. */
function sentAgain(patch: JsonObject): JsonObject {
  return parse(JSON.stringify(patch));
}

function parse(json: string): JsonObject {
  return JSON.parse(json) as JsonObject;
}

/** Compared as text, because a comparison of objects may itself trip over their keys. */
function text(value: Json): string {
  return canonicalJson(value);
}
