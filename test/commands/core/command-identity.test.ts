import type { Handled } from '../../../src/commands/core/handler.ts';
import { describe, expect, test } from 'vitest';
import {
  add,
  execute,
  meter,
  newIdentity,
  newStream,
  oneTo,
  raiseTo,
  recorded,
  totals,
} from './meter.ts';
import { prepareWriteProcesses, type WriteProcess } from './write-process.ts';

const start = prepareWriteProcesses();

/** How a command is answered that has run: where its events stand, and the state that they left. */
function repeatedOf({ revision, position, state }: Handled<unknown>): object {
  return { outcome: 'repeated', revision, position, state, events: [] };
}

describe('a command with an identity', () => {
  test('leaves its identity in its events', async () => {
    const process = await start();
    const stream = newStream();
    const identity = await newIdentity(process);

    await execute(process, stream, add(1), { identity });

    const [event] = await recorded(process.store, stream);
    expect(event?.metadata).toMatchObject({ causationId: identity.id, actor: 'k1' });
  });

  test('that has run is answered as the first time, and stores nothing', async () => {
    const process = await start();
    const stream = newStream();
    const identity = await newIdentity(process);
    const first = await execute(process, stream, add(1), { identity });

    const again = await execute(process, stream, add(1), { identity });

    expect(again).toEqual(repeatedOf(first));
    expect(await totals(process, stream)).toEqual([1]);
  });

  test('is found again after others moved the stream on', async () => {
    const [process, other] = [await start(), await start()];
    const stream = newStream();
    await execute(process, stream, add(10));
    const identity = await newIdentity(process);
    const first = await execute(process, stream, add(1), { identity });
    for (const writer of [process, other]) {
      await Promise.all(oneTo(100).map(() => execute(writer, stream, add(1))));
    }

    for (const writer of [process, other]) {
      expect(await execute(writer, stream, add(1), { identity })).toEqual(repeatedOf(first));
    }
    expect(await totals(process, stream)).toHaveLength(202);
  });

  test('that decided nothing is not decided again once a later one of its cause has run', async () => {
    const [process, twin] = [await start(), await start()];
    const stream = newStream();
    await execute(process, stream, add(1));
    const identity = await newIdentity(process);
    const run = (writer: WriteProcess, ordinal: number) =>
      execute(writer, stream, ordinal === 0 ? raiseTo(1) : add(-1), {
        identity: { ...identity, ordinal },
      });
    expect(await run(process, 0)).toMatchObject({ outcome: 'nothing' });
    expect(await run(process, 1)).toMatchObject({ outcome: 'recorded' });

    for (const writer of [process, twin]) {
      expect(await run(writer, 0)).toMatchObject({ outcome: 'nothing' });
      expect(await run(writer, 1)).toMatchObject({ outcome: 'repeated' });
    }
    expect(await totals(process, stream)).toHaveLength(2);
  });

  test('is found by a process that has not seen the stream', async () => {
    const process = await start();
    const stream = newStream();
    const identity = await newIdentity(process);
    const first = await execute(process, stream, add(1), { identity });

    expect(await execute(await start(), stream, add(1), { identity })).toEqual(repeatedOf(first));
  });

  test('is found by a process that had seen the stream before', async () => {
    const [process, other] = [await start(), await start()];
    const stream = newStream();
    await execute(other, stream, add(1));
    const identity = await newIdentity(process);
    const first = await execute(process, stream, add(1), { identity });

    expect(await execute(other, stream, add(1), { identity })).toEqual(repeatedOf(first));
    expect(await totals(process, stream)).toEqual([1, 2]);
  });

  test.each(['no-stream', 0n] as const)(
    'is found from the revision on that it was reserved at: %s',
    async (reservedAtRevision) => {
      const [process, other] = [await start(), await start()];
      const stream = newStream();
      if (reservedAtRevision === 0n) await execute(process, stream, add(1));
      const identity = { ...(await newIdentity(process)), reservedAtRevision };
      await execute(process, stream, add(1));
      const first = await execute(process, stream, add(1), { identity });
      await Promise.all(oneTo(70).map(() => execute(process, stream, add(1))));
      const before = await totals(process, stream);

      for (const again of [process, other]) {
        expect(await execute(again, stream, add(1), { identity })).toEqual(repeatedOf(first));
      }
      expect(await totals(process, stream)).toEqual(before);
    },
  );

  test('runs when none of its events is there, although the stream has moved on', async () => {
    const process = await start();
    const stream = newStream();
    const identities = [
      await newIdentity(process),
      { ...(await newIdentity(process)), reservedAtRevision: 'no-stream' as const },
    ];
    await execute(process, stream, add(1));
    await execute(process, stream, add(1));

    for (const identity of identities) {
      expect(await execute(process, stream, add(1), { identity })).toMatchObject({
        outcome: 'recorded',
      });
    }
    expect(await totals(process, stream)).toEqual([1, 2, 3, 4]);
  });

  test('runs once when it is sent 20 times at once to two processes', async () => {
    const processes = [await start(), await start()];
    const stream = newStream();
    await execute(processes[0]!, stream, add(1));
    const identity = await newIdentity(processes[0]!);

    const handled = await Promise.all(
      processes.flatMap((process) =>
        oneTo(20).map(() => execute(process, stream, add(1), { identity })),
      ),
    );

    expect(await totals(processes[0]!, stream)).toEqual([1, 2]);
    expect(new Set(handled.map(({ revision }) => revision))).toEqual(new Set([1n]));
    expect(new Set(handled.map(({ position }) => position)).size).toBe(1);
  });

  test('runs once when its copies wait together for another command', async () => {
    const process = await start();
    const stream = newStream();
    const identity = await newIdentity(process);
    const release = process.store.holdAppends('meter');
    const other = execute(process, stream, add(1));
    await process.store.holdsOne();

    const copies = oneTo(5).map(() => execute(process, stream, add(1), { identity }));
    const last = execute(process, stream, add(1));
    release();

    await Promise.all([other, last]);
    const handled = await Promise.all(copies);
    expect(await totals(process, stream)).toEqual([1, 2, 3]);
    expect(handled.filter(({ outcome }) => outcome === 'recorded')).toHaveLength(1);
    expect(new Set(handled.map(({ revision }) => revision)).size).toBe(1);
  });

  test('runs once beside others, when it ran elsewhere between deciding and appending', async () => {
    const [process, other] = [await start(), await start()];
    const stream = newStream();
    await execute(process, stream, add(1));
    const identity = await newIdentity(process);
    const release = process.store.holdAppends('meter');
    const before = execute(process, stream, add(1));
    await process.store.holdsOne();
    const waiting = [
      execute(process, stream, add(1)),
      execute(process, stream, add(1), { identity }),
      execute(process, stream, add(1)),
    ];
    const elsewhere = await execute(other, stream, add(1), { identity });
    release();

    await before;
    const [, repeated] = await Promise.all(waiting);
    expect(repeated).toEqual(repeatedOf(elsewhere));
    expect(await totals(process, stream)).toEqual([1, 2, 3, 4, 5]);
  });

  test('leaves no process with a state that the log does not hold', async () => {
    // The same identity with another content (a client's mistake): the first counts, everywhere.
    const [process, other] = [await start(), await start()];
    const stream = newStream();
    await execute(process, stream, add(1));
    await execute(other, stream, raiseTo(1));
    const identity = await newIdentity(process);
    const release = process.store.holdAppends('meter');
    const late = execute(process, stream, add(100), { identity });
    await process.store.holdsOne();
    const first = await execute(other, stream, add(1), { identity });
    release();

    expect(await late).toMatchObject({ revision: first.revision, position: first.position });
    for (const { handler } of [process, other]) {
      const { state } = await handler.peek(meter, stream, Number.POSITIVE_INFINITY);
      expect(state).toEqual({ total: 2, count: 2 });
    }
    await execute(process, stream, add(1));
    expect(await totals(process, stream)).toEqual([1, 2, 3]);
  });
});
