import fc from 'fast-check';
import { expect, test } from 'vitest';
import { FairSlots } from '../../src/shared/fair-slots.ts';

/** Work that runs until it is told to end. */
function held(begun: string[], name: string) {
  let end: () => void = () => undefined;
  const ended = new Promise<void>((resolve) => (end = resolve));
  return { work: () => (begun.push(name), ended), end: () => end() };
}

/** What was resolved is carried out. */
const settled = () => new Promise<void>((resolve) => setImmediate(resolve));

test('a share that comes last begins with the next slot, however much of another waits', async () => {
  const slots = new FairSlots({ slots: 2 });
  const begun: string[] = [];
  const many = Array.from({ length: 100 }, () => held(begun, 'many'));
  for (const { work } of many) void slots.run('many', work);
  const few = held(begun, 'few');
  void slots.run('few', few.work);
  expect(slots.waiting).toBe(99);
  many[0]?.end();
  await settled();
  expect(begun).toEqual(['many', 'many', 'few']);
  for (const { end } of many) end();
  few.end();
});

test('a share has no more slots than one may have, also while others are free', async () => {
  const slots = new FairSlots({ slots: 3, slotsPerShare: 2 });
  const begun: string[] = [];
  for (const name of ['a', 'a', 'a', 'b']) void slots.run(name, held(begun, name).work);
  await settled();
  expect(begun).toEqual(['a', 'a', 'b']);
});

test('what would wait behind too much of its share is refused; other shares are not', async () => {
  const slots = new FairSlots({ slots: 1, waitingPerShare: 1 });
  const begun: string[] = [];
  void slots.run('a', held(begun, 'a').work);
  void slots.run('a', held(begun, 'a').work);
  await expect(slots.run('a', () => Promise.resolve())).rejects.toMatchObject({
    code: 'overloaded',
  });
  void slots.run('b', held(begun, 'b').work);
  expect(slots.waiting).toBe(2);
});

test('whatever comes and ends, there is never too much at once, and all of it is done', async () => {
  const arrivals = fc.array(
    fc.record({ name: fc.constantFrom('a', 'b', 'c'), turns: fc.nat(5), fails: fc.boolean() }),
    { maxLength: 60 },
  );
  await fc.assert(
    fc.asyncProperty(arrivals, fc.integer({ min: 1, max: 4 }), async (all, most) => {
      const slots = new FairSlots({ slots: most });
      let running = 0;
      let done = 0;
      const results = all.map(({ name, turns, fails }) =>
        slots.run(name, async () => {
          running += 1;
          expect(running).toBeLessThanOrEqual(most);
          for (let turn = 0; turn < turns; turn += 1) await settled();
          running -= 1;
          done += 1;
          if (fails) throw new Error('it failed');
        }),
      );
      const outcomes = await Promise.allSettled(results);
      expect(done).toBe(all.length);
      expect(outcomes.map(({ status }) => status === 'rejected')).toEqual(
        all.map(({ fails }) => fails),
      );
      expect(slots.waiting).toBe(0);
    }),
  );
});
