import { expect, test } from 'vitest';
import { Turns } from '../../src/projections/engine/replaying/turns.ts';

test('turns go round, a new one comes first, and one that fails waits longer each time', () => {
  let nowMs = 0;
  const turns = new Turns(() => nowMs);
  const due = (...names: string[]) => turns.due(names, (name) => name);
  const pass = (ms: number): void => void (nowMs += ms);
  expect(due('a', 'b')).toEqual(['a', 'b']);
  turns.ended('a');
  pass(1);
  expect(due('a', 'b')).toEqual(['b', 'a']);
  turns.ended('b');
  pass(1);
  expect(due('a', 'b', 'c')).toEqual(['c', 'a', 'b']);

  turns.failed('a');
  pass(499);
  expect(due('a', 'b')).toEqual(['b']);
  pass(1);
  expect(due('a', 'b')).toEqual(['b', 'a']);
  turns.failed('a');
  pass(999);
  expect(due('a', 'b')).toEqual(['b']);
  for (let n = 0; n < 20; n += 1) turns.failed('a');
  pass(30_000);
  expect(due('a')).toEqual(['a']);

  turns.ended('a', 1_000);
  expect(due('a')).toEqual([]);
  // What has ended is forgotten.
  expect(due()).toEqual([]);
  expect(due('a')).toEqual(['a']);
});
