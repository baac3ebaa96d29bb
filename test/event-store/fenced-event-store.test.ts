import { expect, test } from 'vitest';
import { fenced } from '../../src/event-store/fenced-event-store.ts';
import type { OpenEventStore } from '../../src/event-store/port.ts';

test('an append is neither sent nor acknowledged without the fence', async () => {
  const steps: string[] = [];
  let fallsAt = Number.POSITIVE_INFINITY;
  let confirmations = 0;
  const fence = {
    confirm() {
      confirmations += 1;
      steps.push('confirm');
      return confirmations >= fallsAt ? Promise.reject(new Error('fallen')) : Promise.resolve();
    },
  };
  const append = () => {
    steps.push('append');
    return Promise.resolve([]);
  };
  const log = fenced({ append } as unknown as OpenEventStore, fence);

  expect(await log.append([])).toEqual([]);
  expect(steps.splice(0)).toEqual(['confirm', 'append', 'confirm']);
  // It falls while the append is under way: what was stored is not acknowledged.
  fallsAt = 4;
  await expect(log.append([])).rejects.toThrow('fallen');
  expect(steps.splice(0)).toEqual(['confirm', 'append', 'confirm']);
  await expect(log.append([])).rejects.toThrow('fallen');
  expect(steps).toEqual(['confirm']);
});
