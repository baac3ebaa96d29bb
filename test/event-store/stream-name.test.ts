import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parseStreamName } from '../../src/event-store/stream-name.ts';
import { streamCategories } from '../../src/events/registry.ts';
import { testStreamName as streamName } from './test-stream-name.ts';

const RUNS = { numRuns: 5_000 };

/** What ids of other streams, and the separators and escapes of names, are made of. */
const telling = fc.oneof(
  fc.constantFrom(
    '/',
    '%',
    '.',
    '-',
    '$',
    '_',
    'u',
    '2F',
    '25',
    '00',
    'D83D',
    'a',
    'Z',
    ' ',
    '\\',
    "'",
    '"',
  ),
  fc.constantFrom('\u0000', '\n', '\r', '\u001e', '\u007f', '\u0085', '\u2028', '\ufeff', '\uffff'),
  fc.constantFrom('é', 'e\u0301', '日', '🛰', '\ud83d', '\ude80'),
);
const idOfTelling = fc.array(telling, { maxLength: 12 }).map((pieces) => pieces.join(''));
const anyUnits = fc
  .array(fc.integer({ min: 0, max: 0xffff }), { maxLength: 256 })
  .map((units) => String.fromCharCode(...units));
const id = fc.oneof(
  idOfTelling,
  anyUnits,
  fc.string({ unit: 'binary', maxLength: 256 }),
  fc.string({ unit: 'grapheme', maxLength: 64 }),
);
const category = fc.stringMatching(/^[a-z]{1,8}$/);
const projectId = fc.stringMatching(/^[a-z0-9_][a-z0-9_-]{0,15}$/);
type Parts = [string, string, ...string[]];
const severalParts = fc
  .array(idOfTelling, { minLength: 2, maxLength: 4 })
  .map((parts) => parts as Parts);

describe('the name of a stream', () => {
  test('gives back its category, its project and its id, whatever the id is', () => {
    fc.assert(
      fc.property(category, projectId, id, (ofCategory, ofProject, ofId) => {
        expect(parseStreamName(streamName(ofCategory, ofProject, ofId))).toEqual({
          category: ofCategory,
          projectId: ofProject,
          id: ofId,
        });
      }),
      RUNS,
    );
  });

  test('gives back its category and its project, whatever the parts of the id are', () => {
    fc.assert(
      fc.property(category, projectId, severalParts, (ofCategory, ofProject, parts) => {
        expect(parseStreamName(streamName(ofCategory, ofProject, ...parts))).toMatchObject({
          category: ofCategory,
          projectId: ofProject,
        });
      }),
      RUNS,
    );
  });

  test('differs for different ids', () => {
    fc.assert(
      fc.property(id, id, (one, other) => {
        expect(streamName('sensor', 'p', one) === streamName('sensor', 'p', other)).toBe(
          one === other,
        );
      }),
      RUNS,
    );
  });

  test('differs for different parts, also when they read alike in a row', () => {
    fc.assert(
      fc.property(severalParts, severalParts, (one, other) => {
        expect(streamName('message', 'p', ...one) === streamName('message', 'p', ...other)).toBe(
          JSON.stringify(one) === JSON.stringify(other),
        );
      }),
      RUNS,
    );
    expect(streamName('message', 'p', 'a/b', 'c')).not.toBe(streamName('message', 'p', 'a', 'b/c'));
    expect(streamName('message', 'p', 'a%2Fb', 'c')).not.toBe(
      streamName('message', 'p', 'a/b', 'c'),
    );
  });

  test('differs for the same parts cut elsewhere', () => {
    const cut = fc.tuple(idOfTelling, fc.nat(), fc.nat());
    fc.assert(
      fc.property(cut, ([text, first, second]) => {
        const at = (place: number): Parts => {
          const index = place % (text.length + 1);
          return [text.slice(0, index), text.slice(index)];
        };
        const [one, other] = [at(first), at(second)];
        expect(streamName('message', 'p', ...one) === streamName('message', 'p', ...other)).toBe(
          one[0] === other[0] && one[1] === other[1],
        );
      }),
      RUNS,
    );
  });

  test('never lies in another project or category', () => {
    fc.assert(
      fc.property(category, projectId, id, category, projectId, id, (c1, p1, id1, c2, p2, id2) => {
        const same = streamName(c1, p1, id1) === streamName(c2, p2, id2);
        expect(same).toBe(c1 === c2 && p1 === p2 && id1 === id2);
        expect(streamName(c1, p1, id1).startsWith(`${c2}-${p2}.`)).toBe(c1 === c2 && p1 === p2);
      }),
      RUNS,
    );
  });

  test('is text that any store and any wire can carry', () => {
    fc.assert(
      fc.property(id, (ofId) => {
        const name = streamName('sensor', 'p', ofId);
        expect(name).not.toMatch(/\p{Control}|\p{Surrogate}/u);
        expect(Buffer.from(name, 'utf8').toString('utf8')).toBe(name);
      }),
      RUNS,
    );
  });

  test('fits in an index, however awkward the 256 characters of the id are', () => {
    const awkward = ['\u0000', '%', '\ud800', '\u0085', '日', '🛰', '/', '\uffff'];
    fc.assert(
      fc.property(
        fc.array(fc.constantFrom(...awkward), { minLength: 256, maxLength: 256 }),
        (characters) => {
          expect(idBytes(characters.join(''))).toBeLessThanOrEqual(1_536);
        },
      ),
      { numRuns: 200 },
    );
    expect(Math.max(...awkward.map((character) => idBytes(character.repeat(256))))).toBe(1_536);
  });

  test('stays readable when the id is', () => {
    expect(streamName('sensor', 'acme', 'Halle 3/Tür_2.oben-links é 🛰️')).toBe(
      'sensor-acme.Halle 3/Tür_2.oben-links é 🛰️',
    );
    expect(streamName('message', 'acme', 'a/b', '100%')).toBe('message-acme.a%2Fb/100%25');
  });

  test.each(['', 'Sensor', 'sensor-data', 'sensor.data', 'sensor1', '$sensor', 'sensor\n'])(
    'takes no category %j',
    (notCategory) => {
      expect(() => streamName(notCategory, 'p', 'id')).toThrow(TypeError);
    },
  );

  test.each(['', '-p', 'P', 'p.q', 'p/q', 'p q', 'é', 'p\n', '$p'])(
    'takes no project id %j',
    (notProject) => {
      expect(() => streamName('sensor', notProject, 'id')).toThrow(TypeError);
    },
  );

  test.each([
    '',
    '$all',
    '$ce-sensor',
    'sensor',
    'sensor-p',
    'Sensor-p.id',
    'sensor-.id',
    '$$sensor-p.id',
  ])('is not what %j is', (other) => {
    expect(parseStreamName(other)).toBeUndefined();
  });
});

function idBytes(id: string): number {
  return Buffer.byteLength(streamName('sensor', 'p', id)) - 'sensor-p.'.length;
}

test('every category that is used is one that a log on a shared server is known by', async () => {
  const used = new Set<string>();
  for (const file of await sourceFiles()) {
    const source = await readFile(file, 'utf8');
    for (const [, name = ''] of source.matchAll(/streamName\(\s*'([^']*)'/g)) used.add(name);
  }
  expect([...used].toSorted()).toEqual([...streamCategories]);
});

async function sourceFiles(): Promise<string[]> {
  const entries = await readdir('src', { recursive: true });
  return entries.filter((name) => name.endsWith('.ts')).map((name) => path.join('src', name));
}
