import fc from 'fast-check';
import { expect, test } from 'vitest';
import { waitPreference } from '../../src/api/deveui/wait-preference.ts';
import { withoutKeys } from '../../src/api/redaction.ts';

const KEY = 'fl_mem_abc123_Zm9vYmFyYmF6';

/** Each character as itself, or percent-encoded so many times. */
function encoded(text: string, times: readonly number[]): string {
  return Array.from(text, (character, index) => {
    const hex = character.charCodeAt(0).toString(16);
    const count = times[index % times.length] ?? 0;
    return count === 0 ? character : `%${'25'.repeat(count - 1)}${hex}`;
  }).join('');
}

test('a key is taken out of a path, however it is percent-encoded', () => {
  const times = fc.array(fc.integer({ min: 0, max: 3 }), { minLength: 1, maxLength: 9 });
  fc.assert(
    fc.property(times, (counts) => {
      const path = `/api/v1/keys/${encoded(KEY, counts)}/x`;
      expect(withoutKeys(path)).toBe('/api/v1/keys/fl_…/x');
    }),
  );
});

test('what is no key stays', () => {
  for (const path of ['/api/v1/sensors/fl_1', '/%66%6c', '/fl_', '/flow_mem_1']) {
    expect(withoutKeys(path)).toBe(path);
  }
});

test('a preference is found in a text of any length', () => {
  for (const part of ['"a', '"\\', 'wait=', '",', ',', 'wait ', '\\']) {
    const text = part.repeat(200_000);
    expect(waitPreference(text)).toBe(undefined);
    expect(waitPreference(`wait=5, ${text}`)).toBe(5);
  }
});
