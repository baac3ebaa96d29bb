import { expect, test } from 'vitest';
import { sharedResult } from '../../src/shared/shared-result.ts';

test('however many ask while it runs, it runs once', async () => {
  let end: (value: number) => void = () => undefined;
  let runs = 0;
  const ask = sharedResult(() => {
    runs += 1;
    return new Promise<number>((resolve) => (end = resolve));
  }, 0);
  const answers = Array.from({ length: 1_000 }, () => ask());
  end(7);
  expect(new Set(await Promise.all(answers))).toEqual(new Set([7]));
  expect(runs).toBe(1);
});

test('its result is given until it is too old, then it runs again', async () => {
  let nowMs = 0;
  let runs = 0;
  const ask = sharedResult(
    () => Promise.resolve((runs += 1)),
    250,
    () => nowMs,
  );
  expect(await ask()).toBe(1);
  nowMs = 249;
  expect(await ask()).toBe(1);
  nowMs = 250;
  expect(await ask()).toBe(2);
});

test('a failure is given to those who ask at that time, and the next run may succeed', async () => {
  let nowMs = 0;
  let runs = 0;
  const ask = sharedResult(
    () => ((runs += 1) === 1 ? Promise.reject(new Error('refused')) : Promise.resolve(runs)),
    250,
    () => nowMs,
  );
  await expect(ask()).rejects.toThrow('refused');
  await expect(ask()).rejects.toThrow('refused');
  nowMs = 250;
  expect(await ask()).toBe(2);
});
