import { describe, expect, test } from 'vitest';
import { CommandGroup } from '../../../src/commands/core/command-group.ts';
import type { CommandIdentity } from '../../../src/commands/core/context.ts';
import { add, execute, meter, newIdentity, newStream, raiseTo, totals } from './meter.ts';
import { context, prepareWriteProcesses } from './write-process.ts';

const start = prepareWriteProcesses();

const UNAVAILABLE = { code: 'store-unavailable' };

describe('after a command that the store did not take', () => {
  test('no other of its request begins, and those of other requests do', async () => {
    const process = await start();
    const [stream, other] = [newStream(), newStream()];
    const group = new CommandGroup();
    const release = process.store.holdAppends('meter');
    process.store.failNextAppend('meter', 'before it is stored');
    const failing = execute(process, stream, add(1), { group });
    await process.store.holdsOne();
    const waiting = execute(process, stream, add(10), { group });
    const unrelated = execute(process, stream, add(100));
    release();

    await expect(failing).rejects.toMatchObject(UNAVAILABLE);
    await expect(waiting).rejects.toMatchObject(UNAVAILABLE);
    await expect(execute(process, other, add(1), { group })).rejects.toMatchObject(UNAVAILABLE);
    expect(await unrelated).toMatchObject({ revision: 0n });
    expect(await totals(process, stream)).toEqual([100]);
    expect(await totals(process, other)).toEqual([]);
  });
});

describe('after a command that failed unexpectedly', () => {
  test('no later one of its request begins on its stream, and those on other streams do', async () => {
    const process = await start();
    const [stream, other] = [newStream(), newStream()];
    const group = new CommandGroup();
    const broken: typeof meter = {
      ...meter,
      decide() {
        throw new TypeError('a mistake of ours');
      },
    };
    const run = process.handler.execute(broken, stream, add(1), { ...context, group });

    await expect(run).rejects.toThrow('a mistake of ours');
    await expect(execute(process, stream, add(1), { group })).rejects.toThrow('a mistake of ours');
    expect(await execute(process, other, add(1), { group })).toMatchObject({ revision: 0n });
    expect(await totals(process, stream)).toEqual([]);
  });
});

describe('a command that recorded nothing', () => {
  test('is answered as it was decided, when a later one of its request has run', async () => {
    const process = await start();
    const stream = newStream();
    await execute(process, stream, add(1));
    const cause = await newIdentity(process);
    const identity = (ordinal: number): { identity: CommandIdentity } => ({
      identity: { ...cause, ordinal },
    });
    const refused = { code: 'forbidden', message: 'The total is 1.' };
    const run = (ordinal: number): Promise<unknown> =>
      execute(
        process,
        stream,
        [{ type: 'refuse' } as const, raiseTo(1), add(1)][ordinal] ?? add(1),
        identity(ordinal),
      );
    await expect(run(0)).rejects.toMatchObject(refused);
    expect(await run(1)).toMatchObject({ outcome: 'nothing', revision: 0n });
    await run(2);
    // Decided on what the stream holds now, each of them would be answered otherwise.
    await execute(process, stream, add(-10));

    await expect(run(0)).rejects.toMatchObject(refused);
    expect(await run(1)).toMatchObject({ outcome: 'nothing', revision: 0n, state: { total: 1 } });
    expect(await totals(process, stream)).toEqual([1, 2, -8]);
  });
});
