import { expect, test } from 'vitest';
import { Ingestion } from '../../src/api/usage/ingestion.ts';
import type { ApiRequest } from '../../src/api/route.ts';
import { UNKEPT_RESULTS } from '../../src/commands/kept-results.ts';
import { parseUsage } from '../../src/commands/usage-record.ts';
import { UsageCommands } from '../../src/commands/usage.ts';
import type { EventStore } from '../../src/event-store/port.ts';
import { LedgerError } from '../../src/shared/errors.ts';
import { context, prepareWriteProcesses, type WriteProcess } from '../commands/write-process.ts';

const startProcess = prepareWriteProcesses();

const RECORD = { 'sim-card-id': '1', 'bytes-used': 1, date: '2022-02-18T00:00:00Z' };
const sent = () => Buffer.from('as it came');
const GOOD = { ...parseUsage(RECORD), sent };
const BAD = { ...parseUsage({ ...RECORD, date: '2022-02-00T00:00:00Z' }), sent };

/** Records into the log of a process, which takes so many appends and is away then. */
function ingestionInto({ store }: WriteProcess, { appends }: { appends: number }): Ingestion {
  let left = appends;
  const failing: EventStore = Object.create(store, {
    append: {
      value: (...args: Parameters<EventStore['append']>) => {
        left -= 1;
        if (left < 0) throw new LedgerError('store-unavailable', 'away');
        return store.append(...args);
      },
    },
  }) as EventStore;
  const request = { command: () => context, results: UNKEPT_RESULTS } as unknown as ApiRequest<
    unknown,
    unknown,
    unknown
  >;
  return new Ingestion(new UsageCommands(failing), request);
}

test('a body of which nothing is recorded is refused as a whole while the store is away', async () => {
  const ingestion = ingestionInto(await startProcess(), { appends: 0 });
  await expect(ingestion.take([BAD, GOOD])).rejects.toThrow('away');
});

test('a body of which something is recorded is not: the rest is rejected, each record by its place', async () => {
  const ingestion = ingestionInto(await startProcess(), { appends: 1 });
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
