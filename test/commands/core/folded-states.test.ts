import type { StreamName } from '../../../src/event-store/stream-name.ts';
import { describe, expect, test, vi } from 'vitest';
import { add, execute, meter, newIdentity, newStream, oneTo, raiseTo, totals } from './meter.ts';
import { EVENTUALLY, prepareWriteProcesses, type WriteProcess } from './write-process.ts';

const start = prepareWriteProcesses();

describe('a long stream', () => {
  const LENGTH = 1_200;

  async function longStream(): Promise<StreamName> {
    const process = await start();
    const stream = newStream();
    await Promise.all(oneTo(LENGTH).map(() => execute(process, stream, add(1))));
    await vi.waitFor(
      async () => expect(await process.snapshots.load(stream, meter.fold)).toBeDefined(),
      EVENTUALLY,
    );
    return stream;
  }

  function revisionsRead({ store }: WriteProcess): (bigint | undefined)[] {
    return store.reads.map(({ options }) => options.from);
  }

  test('is not read from its beginning by a process that starts', async () => {
    const stream = await longStream();
    const cold = await start();

    const { state, revision } = await cold.handler.peek(meter, stream, 0);

    expect(state).toEqual({ total: LENGTH, count: LENGTH });
    expect(revision).toBe(BigInt(LENGTH - 1));
    const [from] = revisionsRead(cold);
    expect(revisionsRead(cold)).toHaveLength(1);
    expect(from).toBeGreaterThanOrEqual(BigInt(LENGTH - 700));
    expect(await execute(cold, stream, add(1))).toMatchObject({ revision: BigInt(LENGTH) });
  });

  test('gives the same state without its snapshot, which is safe to delete', async () => {
    const stream = await longStream();
    const [cold, without] = [await start(), await start()];
    const folded = await cold.handler.peek(meter, stream, 0);

    await cold.database.query({ text: 'delete from ledger.snapshots' });

    expect(await without.handler.peek(meter, stream, 0)).toMatchObject({
      state: folded.state,
      revision: folded.revision,
      position: folded.position,
    });
    expect(revisionsRead(without)).toEqual([0n]);
    expect(await execute(cold, stream, add(1))).toMatchObject({ outcome: 'recorded' });
  });

  test('is folded from its beginning when the fold has changed', async () => {
    const stream = await longStream();
    const cold = await start();
    const changed: typeof meter = {
      ...meter,
      fold: 'meter:2',
      initialState: { total: 0, count: 1_000_000 },
    };

    const { state } = await cold.handler.peek(changed, stream, 0);

    expect(state).toEqual({ total: LENGTH, count: 1_000_000 + LENGTH });
    expect(revisionsRead(cold)).toEqual([0n]);
  });

  test('continues from a snapshot with commands of two processes', async () => {
    const stream = await longStream();
    const processes = [await start(), await start()];

    await Promise.all(
      processes.flatMap((process) => oneTo(300).map(() => execute(process, stream, add(1)))),
    );

    expect(await totals(processes[0]!, stream)).toEqual(oneTo(LENGTH + 600));
    const cold = await start();
    const { state } = await cold.handler.peek(meter, stream, 0);
    expect(state).toEqual({ total: LENGTH + 600, count: LENGTH + 600 });
  });
});

describe('a stream that another process has advanced far', () => {
  const ADVANCED = 2_600;

  /** One that a process has read at its beginning only. */
  async function advancedStream(read: WriteProcess): Promise<StreamName> {
    const stream = newStream();
    const other = await start();
    await execute(other, stream, add(1));
    await read.handler.peek(meter, stream, 0);
    await Promise.all(oneTo(ADVANCED).map(() => execute(other, stream, add(1))));
    await vi.waitFor(async () => {
      const snapshot = await read.snapshots.load(stream, meter.fold);
      expect(snapshot?.revision).toBeGreaterThan(BigInt(ADVANCED - 600));
    }, EVENTUALLY);
    read.store.reads.length = 0;
    read.store.eventsRead = 0;
    return stream;
  }

  test.each([
    ['that writes', add(1), { outcome: 'recorded', revision: BigInt(ADVANCED + 1) }],
    ['that writes nothing', raiseTo(ADVANCED + 1), { outcome: 'nothing' }],
  ])('is taken from its newest snapshot by a command %s', async (_what, command, handled) => {
    const process = await start();
    const stream = await advancedStream(process);

    expect(await execute(process, stream, command)).toMatchObject(handled);

    const skippedTo = process.store.reads.map(({ options }) => options.from ?? 0n);
    expect(skippedTo.some((from) => from > BigInt(ADVANCED - 600))).toBe(true);
    expect(process.store.eventsRead).toBeLessThan(1_300);
  });

  test('still shows what an identified command has recorded, also where a snapshot stands for it', async () => {
    const process = await start();
    const stream = newStream();
    await process.handler.peek(meter, stream, 0);
    const identity = await newIdentity(process);
    const other = await start();
    await execute(other, stream, add(1), { identity });
    await Promise.all(oneTo(1_200).map(() => execute(other, stream, add(1))));
    await vi.waitFor(async () => {
      const snapshot = await process.snapshots.load(stream, meter.fold);
      expect(snapshot?.revision).toBeGreaterThan(600n);
    }, EVENTUALLY);

    expect(await execute(process, stream, add(1), { identity })).toMatchObject({
      outcome: 'repeated',
      revision: 0n,
    });
    expect(await totals(process, stream)).toHaveLength(1_201);
  });
});

describe('peeking', () => {
  test('shows a state that may be old, or the newest when none older will do', async () => {
    const [process, other] = [await start(), await start()];
    const stream = newStream();
    await process.handler.peek(meter, stream, 0);
    const { position } = await execute(other, stream, add(1));

    const old = await process.handler.peek(meter, stream, Number.POSITIVE_INFINITY);
    expect(old).toMatchObject({ state: { total: 0 }, revision: 'no-stream', position: 0n });
    expect(await process.handler.peek(meter, stream, -1)).toMatchObject({
      state: { total: 1 },
      revision: 0n,
      position,
    });
  });
});
