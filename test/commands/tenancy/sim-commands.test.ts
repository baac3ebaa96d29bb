import { expect, test, vi } from 'vitest';
import { TenancyCommands } from '../../../src/commands/tenancy/commands.ts';
import { simStream } from '../../../src/commands/tenancy/sim-decider.ts';
import { LedgerError } from '../../../src/shared/errors.ts';
import { newIdentity } from '../core/meter.ts';
import { context, prepareWriteProcesses, type WriteProcess } from '../core/write-process.ts';

const start = prepareWriteProcesses();
const linkedDevices = () => Promise.resolve([]);

test('an assignment from now on is answered with the time at which the log recorded it', async () => {
  const process = await start();
  const commands = new TenancyCommands({ ...process, linkedDevices });
  // A clock that is behind that of the log.
  const now = new Date('2026-01-31T12:00:00Z');
  const sim = { simCardId: 'timed', now };

  expect(await commands.assignSim({ ...sim, orgId: 'o1' }, context)).toMatchObject({ from: null });
  const identity = await newIdentity(process);
  const second = await commands.assignSim({ ...sim, orgId: 'o2' }, { ...context, identity });

  const recordedAt = await lastRecordedAt(process, 'timed');
  expect(second.from).toBe(recordedAt);
  await commands.assignSim({ ...sim, orgId: 'o3' }, context);
  expect(await commands.assignSim({ ...sim, orgId: 'o2' }, { ...context, identity })).toEqual(
    second,
  );
});

test('an assignment is answered once it is recorded, also when the log cannot be read', async () => {
  const process = await start();
  const commands = new TenancyCommands({ ...process, linkedDevices });
  const now = new Date();
  await commands.assignSim({ simCardId: 'unread', orgId: 'o1', now }, context);
  const { appended } = process.store;
  const before = appended.length;
  const read = process.store.readStream.bind(process.store);
  vi.spyOn(process.store, 'readStream').mockImplementation((...args) => {
    if (appended.length > before) throw new LedgerError('store-unavailable', 'unavailable');
    return read(...args);
  });

  const answer = await commands.assignSim({ simCardId: 'unread', orgId: 'o2', now }, context);

  expect(answer.from).toBe(now.toISOString());
  expect(appended).toHaveLength(before + 1);
});

async function lastRecordedAt({ store }: WriteProcess, simCardId: string): Promise<string> {
  const options = { direction: 'backwards', limit: 1 } as const;
  for await (const { recordedAt } of store.readStream(simStream('acme', simCardId), options)) {
    return recordedAt.toISOString();
  }
  throw new Error('nothing is recorded');
}
