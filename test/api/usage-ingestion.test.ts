import { expect, test } from 'vitest';
import { Ingestion } from '../../src/api/usage/ingestion.ts';
import type { ApiRequest } from '../../src/api/route.ts';
import { UNKEPT_RESULTS } from '../../src/commands/core/stored-results.ts';
import { parseUsage } from '../../src/commands/usage/record.ts';
import { UsageCommands } from '../../src/commands/usage/commands.ts';
import type { EventStore } from '../../src/event-store/port.ts';
import { LedgerError } from '../../src/shared/errors.ts';
import {
  context,
  prepareWriteProcesses,
  type WriteProcess,
} from '../commands/core/write-process.ts';

const startProcess = prepareWriteProcesses();

const RECORD = { 'sim-card-id': '1', 'bytes-used': 1, date: '2022-02-18T00:00:00Z' };
const sent = () => Buffer.from('as it came');
const GOOD = { ...parseUsage(RECORD), sent };
const BAD = { ...parseUsage({ ...RECORD, date: '2022-02-00T00:00:00Z' }), sent };

/** Records into the log of a process, which takes so many events and is unavailable then. */
function ingestionInto({ store }: WriteProcess, { events }: { events: number }): Ingestion {
  let left = events;
  const failing: EventStore = Object.create(store, {
    append: {
      value: async (...args: Parameters<EventStore['append']>) => {
        const stored = args[0].slice(0, left);
        const isAway = stored.length < args[0].length;
        left -= stored.length;
        const answers = await store.append(stored);
        if (isAway) throw new LedgerError('store-unavailable', 'away');
        return answers;
      },
    },
  }) as EventStore;
  const request = { command: () => context, results: UNKEPT_RESULTS } as unknown as ApiRequest<
    unknown,
    unknown,
    unknown
  >;
  return new Ingestion(new UsageCommands({ store: failing }), request);
}

test('a body of which nothing is recorded is refused as a whole while the store is unavailable', async () => {
  const ingestion = ingestionInto(await startProcess(), { events: 0 });
  await expect(ingestion.take([BAD, GOOD])).rejects.toThrow('away');
});

test('a body of which something is recorded is not: the rest is rejected, each record by its place', async () => {
  const ingestion = ingestionInto(await startProcess(), { events: 2 });
  expect(await ingestion.take([GOOD, BAD, GOOD])).toMatchObject([
    { index: 1, reason: 'validation-failed' },
  ]);
  expect(ingestion.accepted).toBe(2);
  for (const first of [3, 5]) {
    expect(await ingestion.take([GOOD, BAD])).toMatchObject([
      { index: first, reason: 'store-unavailable' },
      { index: first + 1, reason: 'store-unavailable' },
    ]);
  }
  expect(ingestion).toMatchObject({ accepted: 2, duplicates: 0, isBrokenOff: true });
});

test('a record that is stored is accepted, also when the store fails at others that came with it', async () => {
  const process = await startProcess();
  const ingestion = ingestionInto(process, { events: 2 });
  const mayBeRecorded = expect.stringContaining('may have been recorded');
  expect(await ingestion.take([GOOD, GOOD, BAD, GOOD, GOOD])).toEqual([
    expect.objectContaining({ index: 2, reason: 'validation-failed' }),
    { index: 3, reason: 'store-unavailable', detail: mayBeRecorded },
    { index: 4, reason: 'store-unavailable', detail: mayBeRecorded },
  ]);
  expect(await ingestion.take([GOOD])).toEqual([
    {
      index: 5,
      reason: 'store-unavailable',
      detail: expect.stringContaining('before this record was recorded'),
    },
  ]);
  expect(ingestion).toMatchObject({ accepted: 2, isBrokenOff: true });
});
