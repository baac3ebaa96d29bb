import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { openEventStoreDB } from '../../../src/event-store/eventstoredb/eventstoredb-event-store.ts';
import { LogWentBackError } from '../../../src/event-store/log-went-back.ts';
import { EventStoreStandIn } from '../../event-store/eventstoredb/stand-in.ts';
import { add, execute, meter, newStream, oneTo, raiseTo, totals } from './meter.ts';
import { EVENTUALLY, prepareWriteProcesses } from './write-process.ts';

let standIn: EventStoreStandIn;
beforeAll(async () => {
  standIn = await EventStoreStandIn.start();
});
afterAll(() => standIn.close());

const start = prepareWriteProcesses(({ logger }) =>
  openEventStoreDB({ url: standIn.connectionString, logger, categories: ['meter'] }),
);

test.each([0, 2])(
  'a process that knows more of a stream than its %s events takes no command any more',
  async (kept) => {
    const process = await start();
    const stream = newStream();
    for (const _ of oneTo(kept)) await execute(process, stream, add(1));
    const backup = standIn.recordCount;
    for (const _ of oneTo(3)) await execute(process, stream, add(1));
    await standIn.restoreBackup(backup);

    const refused = { code: 'store-unavailable', constructor: LogWentBackError };
    await expect(execute(process, stream, add(1))).rejects.toMatchObject(refused);
    await expect(execute(process, newStream(), add(1))).rejects.toMatchObject(refused);
    await expect(execute(process, stream, raiseTo(1))).rejects.toMatchObject(refused);
    expect(process.endings).toHaveLength(1);
    expect(process.endings[0]?.message).toContain(`${stream} up to revision ${kept + 2}`);
    expect(await execute(await start(), stream, add(1))).toMatchObject({ revision: BigInt(kept) });
  },
);

test('a process finds another event where it has read one', async () => {
  const process = await start();
  const stream = newStream();
  const backup = standIn.recordCount;
  await execute(process, stream, add(1));
  await standIn.restoreBackup(backup);
  await execute(await start(), newStream(), add(1));
  await execute(await start(), stream, add(5));

  await expect(execute(process, stream, raiseTo(1))).rejects.toThrow(LogWentBackError);
  expect(process.endings).toHaveLength(1);
});

test('nothing is said to be unchanged by a state that the log does not hold', async () => {
  const process = await start();
  const stream = newStream();
  const backup = standIn.recordCount;
  await execute(process, stream, add(5));
  await standIn.restoreBackup(backup);

  await expect(execute(process, stream, raiseTo(5))).rejects.toMatchObject({
    code: 'store-unavailable',
  });
  expect(await execute(process, stream, raiseTo(5))).toMatchObject({ outcome: 'recorded' });
});

test('a process that starts does not use a snapshot of events that the log does not hold', async () => {
  const process = await start();
  const stream = newStream();
  for (const _ of oneTo(2)) await execute(process, stream, add(1));
  const backup = standIn.recordCount;
  await Promise.all(oneTo(600).map(() => execute(process, stream, add(1))));
  await vi.waitFor(
    async () => expect(await process.snapshots.load(stream, meter.fold)).toBeDefined(),
    EVENTUALLY,
  );
  await standIn.restoreBackup(backup);

  const fresh = await start();
  expect(await execute(fresh, stream, add(1))).toMatchObject({ revision: 2n });
  expect(await totals(fresh, stream)).toEqual([1, 2, 3]);
  expect(fresh.endings).toEqual([]);
});
