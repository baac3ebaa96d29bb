import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';

// Joined, since the line as it stands in those files would tag this one.
const FIRST_LINE = ['// @module', 'tag slow\n'].join('-');

test('every file of slow tests has the tag by which test:slow finds them', () => {
  const files = readdirSync('test', { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.slow.test.ts'))
    .map((name) => path.join('test', name));
  expect(files.length).toBeGreaterThan(10);
  const untagged = files.filter((file) => !readFileSync(file, 'utf8').startsWith(FIRST_LINE));
  expect(untagged).toEqual([]);
});
