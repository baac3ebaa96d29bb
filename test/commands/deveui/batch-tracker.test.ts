import { expect, test } from 'vitest';
import { batchDecider, type BatchCommand } from '../../../src/commands/deveui/decider.ts';
import { BatchTracker, type HandledBatch } from '../../../src/commands/deveui/batch-tracker.ts';
import { streamName } from '../../../src/event-store/stream-name.ts';
import { LedgerError } from '../../../src/shared/errors.ts';
import { context, prepareWriteProcesses, type WriteProcess } from '../core/write-process.ts';

const startProcess = prepareWriteProcesses();

const NOON = '2026-01-31T12:00:00.000Z';
const REQUEST: BatchCommand = {
  type: 'request',
  batchId: 'b1',
  size: 2,
  prefix: '',
  seed: '5eed'.repeat(16),
  provider: 'http://one',
  concurrency: 10,
  requestedAt: NOON,
};
const BEGIN: BatchCommand = { type: 'begin', sentAt: NOON };
/** Two DevEUIs are in flight at the first provider then, and are given up by it. */
const RESUME: BatchCommand = { type: 'resume', provider: 'http://two', resumedAt: NOON };

let batches = 0;

async function start() {
  const process = await startProcess();
  batches += 1;
  const stream = streamName('batch', 'acme', `b${batches}`);
  return {
    execute: (command: BatchCommand): Promise<HandledBatch> =>
      process.handler.execute(batchDecider, stream, command, context),
    follow: () => new BatchTracker(process.store, stream),
    store: process.store,
  };
}

/** The next reading fails once it has given so many events. */
function failNextReading(store: WriteProcess['store'], { after }: { after: number }): void {
  const readStream = store.readStream.bind(store);
  store.readStream = async function* failing(...args) {
    store.readStream = readStream;
    let given = 0;
    for await (const event of readStream(...args)) {
      if (given === after) break;
      given += 1;
      yield event;
    }
    throw new LedgerError('store-unavailable', 'away');
  };
}

test.each([0, 1, 2, 3])(
  'a batch holds each event of its command once, when the reading fails after %d of them',
  async (after) => {
    const { execute, follow, store } = await start();
    for (const command of [REQUEST, BEGIN, BEGIN]) await execute(command);
    const batch = follow();
    await batch.catchUp();
    const resumed = await execute(RESUME);
    failNextReading(store, { after });

    await batch.catchUpWith(resumed);
    expect(batch).toMatchObject({ status: 'processing', drawnCount: 2, open: [] });
    expect(new Set(batch.unconfirmed).size).toBe(2);
    expect(batch.unconfirmed).toHaveLength(2);

    await batch.catchUp();
    expect(batch.unconfirmed).toHaveLength(2);
    expect(batch.position).toBe(resumed.position);
  },
);

test('a batch reads the events that it missed before those of its command', async () => {
  const { execute, follow, store } = await start();
  for (const command of [REQUEST, BEGIN]) await execute(command);
  const batch = follow();
  await batch.catchUp();
  await execute(BEGIN);
  const resumed = await execute(RESUME);
  failNextReading(store, { after: 0 });

  await batch.catchUpWith(resumed);
  await batch.catchUp();

  const whole = follow();
  await whole.catchUp();
  expect(batch.unconfirmed).toEqual(whole.unconfirmed);
  expect(batch).toMatchObject({ drawnCount: 2, open: [], status: 'processing' });
});
