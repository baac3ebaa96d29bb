import type { Decider } from '../../../src/commands/core/decider.ts';
import type { SensorEvent } from '../../../src/events/state.ts';
import { LedgerError } from '../../../src/shared/errors.ts';
import { describe, expect, test } from 'vitest';
import {
  add,
  execute,
  meter,
  newIdentity,
  newStream,
  oneTo,
  raiseTo,
  read,
  recorded,
  totals,
} from './meter.ts';
import { context, prepareWriteProcesses } from './write-process.ts';

const start = prepareWriteProcesses();

describe('commands on one stream at the same time', () => {
  test('64 in one process are all applied, once and in the order they came', async () => {
    const process = await start();
    const stream = newStream();

    const handled = await Promise.all(oneTo(64).map(() => execute(process, stream, add(1))));

    expect(await totals(process, stream)).toEqual(oneTo(64));
    expect(handled).toEqual(
      oneTo(64).map((count) =>
        expect.objectContaining({ outcome: 'recorded', revision: BigInt(count - 1) }),
      ),
    );
    expect(process.store.conflicts).toBe(0);
    // They waited together, and were appended together.
    expect(process.store.appended.length).toBeLessThan(16);
  });

  test('64 in two processes that come in each other’s way are all applied once', async () => {
    const processes = [await start(), await start()] as const;
    const stream = newStream();
    for (const { handler } of processes) await handler.peek(meter, stream, 0);

    const handled = await Promise.all(
      processes.flatMap((process) => oneTo(32).map(() => execute(process, stream, add(1)))),
    );

    expect(await totals(processes[0], stream)).toEqual(oneTo(64));
    expect(handled.map(({ revision }) => Number(revision)).toSorted((a, b) => a - b)).toEqual(
      oneTo(64).map((count) => count - 1),
    );
    expect(processes[0].store.conflicts + processes[1].store.conflicts).toBeGreaterThan(0);
    for (const { handler } of processes) {
      const { state } = await handler.peek(meter, stream, 0);
      expect(state).toEqual({ total: 64, count: 64 });
    }
  });

  test('each is answered the position of the log at which it is in', async () => {
    const process = await start();
    const stream = newStream();

    const handled = await Promise.all(oneTo(20).map(() => execute(process, stream, add(1))));

    const events = await recorded(process.store, stream);
    for (const [index, { position }] of handled.entries()) {
      expect(position).toBeGreaterThanOrEqual(events[index]?.position ?? 0n);
      expect(position).toBeLessThanOrEqual(events.at(-1)?.position ?? 0n);
    }
  });

  test('what one decides is what the next is decided on, also when it decides nothing', async () => {
    const process = await start();
    const stream = newStream();

    const handled = await Promise.all(
      [add(1), add(4), raiseTo(5), raiseTo(4), add(1), raiseTo(6), raiseTo(7)].map((command) =>
        execute(process, stream, command),
      ),
    );

    expect(handled.map(({ outcome, revision }) => [outcome, revision])).toEqual([
      ['recorded', 0n],
      ['recorded', 1n],
      ['nothing', 1n],
      ['nothing', 1n],
      ['recorded', 2n],
      ['nothing', 2n],
      ['recorded', 3n],
    ]);
    expect(await totals(process, stream)).toEqual([1, 5, 6, 7]);
    expect(handled[2]).toMatchObject({ state: { total: 5, count: 2 } });
  });

  test('one that is refused does not disturb the others', async () => {
    const process = await start();
    const stream = newStream();

    const [first, , refused, last] = await Promise.allSettled([
      execute(process, stream, add(1)),
      execute(process, stream, add(1)),
      execute(process, stream, { type: 'refuse' }),
      execute(process, stream, add(1)),
    ]);

    expect(refused).toMatchObject({
      status: 'rejected',
      reason: { code: 'forbidden', message: 'The total is 2.' },
    });
    expect(first).toMatchObject({ status: 'fulfilled', value: { revision: 0n } });
    expect(last).toMatchObject({ status: 'fulfilled', value: { revision: 2n } });
    expect(await totals(process, stream)).toEqual([1, 2, 3]);
  });

  test('more than one append takes are appended in several, in order', async () => {
    const process = await start();
    const stream = newStream();

    await Promise.all(oneTo(700).map(() => execute(process, stream, add(1))));

    expect(await totals(process, stream)).toEqual(oneTo(700));
    const sizes = process.store.appended.map(({ write }) => write.events.length);
    expect(Math.max(...sizes)).toBeLessThanOrEqual(256);
  });

  test.each(['x', '漢'])(
    'large ones are appended in several, none larger than the log takes, of %s',
    async (character) => {
      const process = await start();
      const stream = newStream();
      const large: Decider<{ count: number }, number, SensorEvent> = {
        fold: 'large:1',
        initialState: { count: 0 },
        decide({ count }, bytes) {
          const event = read(count + 1);
          if (event.type !== 'SensorPatched') return [];
          const x = character.repeat(bytes / Buffer.byteLength(character));
          return [{ ...event, data: { ...event.data, patch: { total: count + 1, x } } }];
        },
        evolve: ({ count }) => ({ count: count + 1 }),
        sizeOf: () => 8,
      };

      const sizes = oneTo(12).map((index) => (index === 7 ? 900_000 : 150_000));
      await Promise.all(sizes.map((size) => process.handler.execute(large, stream, size, context)));

      expect(await totals(process, stream)).toEqual(oneTo(12));
      for (const { write } of process.store.appended) {
        expect(Buffer.byteLength(JSON.stringify(write.events))).toBeLessThan(1024 * 1024);
      }
    },
  );
});

describe('a command decided on a state that is no longer the newest', () => {
  test('is decided again when it would write', async () => {
    const [process, other] = [await start(), await start()];
    const stream = newStream();
    await execute(process, stream, add(1));
    await execute(other, stream, add(10));

    expect(await execute(process, stream, add(1))).toMatchObject({
      outcome: 'recorded',
      revision: 2n,
    });
    expect(await totals(process, stream)).toEqual([1, 11, 12]);
  });

  test('is decided again when it would write nothing', async () => {
    const [process, other] = [await start(), await start()];
    const stream = newStream();
    await execute(process, stream, add(5));
    await execute(other, stream, add(-4));

    expect(await execute(process, stream, raiseTo(5))).toMatchObject({
      outcome: 'recorded',
      revision: 2n,
    });
    expect(await totals(process, stream)).toEqual([5, 1, 5]);
  });

  test('is told the newest state when it writes nothing on that either', async () => {
    const [process, other] = [await start(), await start()];
    const stream = newStream();
    await execute(process, stream, add(5));
    const { position } = await execute(other, stream, add(1));

    expect(await execute(process, stream, raiseTo(5))).toEqual({
      outcome: 'nothing',
      revision: 1n,
      position,
      state: { total: 6, count: 2 },
      events: [],
    });
  });

  test('is decided again when it would be refused, and refused by the newest', async () => {
    const [process, other] = [await start(), await start()];
    const stream = newStream();
    await execute(process, stream, add(5));
    await execute(other, stream, add(1));

    await expect(execute(process, stream, { type: 'refuse' })).rejects.toMatchObject({
      message: 'The total is 6.',
    });
  });

  test('on a stream that does not exist decides nothing at no revision', async () => {
    const process = await start();

    expect(await execute(process, newStream(), raiseTo(0))).toEqual({
      outcome: 'nothing',
      revision: 'no-stream',
      position: 0n,
      state: { total: 0, count: 0 },
      events: [],
    });
  });
});

describe('a precondition', () => {
  const revisionIs = (expected: bigint) => ({
    precondition: (revision: bigint | 'no-stream'): void => {
      if (revision !== expected) throw new LedgerError('precondition-failed', `It is ${revision}.`);
    },
  });

  test('holds on the newest revision, although this process had not seen it', async () => {
    const [process, other] = [await start(), await start()];
    const stream = newStream();
    await execute(process, stream, add(1));
    await execute(other, stream, add(1));

    expect(await execute(process, stream, add(1), revisionIs(1n))).toMatchObject({
      outcome: 'recorded',
      revision: 2n,
    });
  });

  test('fails on the newest revision, although it would have held on the one seen', async () => {
    const [process, other] = [await start(), await start()];
    const stream = newStream();
    await execute(process, stream, add(1));
    await execute(other, stream, add(1));

    await expect(execute(process, stream, add(1), revisionIs(0n))).rejects.toMatchObject({
      code: 'precondition-failed',
      message: 'It is 1.',
    });
    expect(await totals(process, stream)).toEqual([1, 2]);
  });

  test('lets one of many through that ask for the same revision', async () => {
    const processes = [await start(), await start()];
    const stream = newStream();
    await execute(processes[0]!, stream, add(1));

    const results = await Promise.allSettled(
      processes.flatMap((process) =>
        oneTo(8).map(() => execute(process, stream, add(1), revisionIs(0n))),
      ),
    );

    expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
    expect(await totals(processes[0]!, stream)).toEqual([1, 2]);
  });

  test('fails also where the command would decide nothing', async () => {
    const process = await start();
    const stream = newStream();
    await execute(process, stream, add(1));

    await expect(execute(process, stream, raiseTo(1), revisionIs(7n))).rejects.toMatchObject({
      code: 'precondition-failed',
    });
  });
});

describe('when the store is unavailable', () => {
  test('a command is rejected, and the next one continues', async () => {
    const process = await start();
    const stream = newStream();
    await execute(process, stream, add(1));
    process.store.failNextAppend('meter', 'before it is stored');

    await expect(execute(process, stream, add(1))).rejects.toMatchObject({
      code: 'store-unavailable',
    });
    expect(await execute(process, stream, add(1))).toMatchObject({ revision: 1n });
    expect(await totals(process, stream)).toEqual([1, 2]);
  });

  test('what was stored although nobody heard of it is not forgotten', async () => {
    const process = await start();
    const stream = newStream();
    await execute(process, stream, add(1));
    process.store.failNextAppend('meter', 'after it was stored');

    await expect(execute(process, stream, add(10))).rejects.toMatchObject({
      code: 'store-unavailable',
    });
    expect(await execute(process, stream, raiseTo(11))).toMatchObject({ outcome: 'nothing' });
    expect(await execute(process, stream, add(1))).toMatchObject({ revision: 2n });
    expect(await totals(process, stream)).toEqual([1, 11, 12]);
  });

  test.each(['before it is stored', 'after it was stored'] as const)(
    'an identified command that failed %s is stored once when it is sent again',
    async (when) => {
      const process = await start();
      const stream = newStream();
      await execute(process, stream, add(1));
      const identity = await newIdentity(process);
      process.store.failNextAppend('meter', when);

      await expect(execute(process, stream, add(1), { identity })).rejects.toThrow();
      expect(await execute(process, stream, add(1), { identity })).toMatchObject({
        outcome: when === 'after it was stored' ? 'repeated' : 'recorded',
        revision: 1n,
      });
      expect(await totals(process, stream)).toEqual([1, 2]);
    },
  );

  test('all that waited with it are rejected, those that came later are run', async () => {
    const process = await start();
    const stream = newStream();
    const release = process.store.holdAppends('meter');
    process.store.failNextAppend('meter', 'before it is stored');
    const failing = execute(process, stream, add(1));
    await process.store.holdsOne();
    const waiting = [execute(process, stream, add(1)), execute(process, stream, add(1))];
    release();

    await expect(failing).rejects.toMatchObject({ code: 'store-unavailable' });
    await Promise.all(waiting);
    expect(await totals(process, stream)).toEqual([1, 2]);
  });
});
