import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { DeviceCommands } from '../../../src/commands/tenancy/device-commands.ts';
import { FirmwareCommands } from '../../../src/commands/firmware/commands.ts';
import { linkStream } from '../../../src/commands/tenancy/link-claims.ts';
import { claimMessage } from '../../../src/commands/state/message-claims.ts';
import { IdempotentRequests } from '../../../src/commands/core/idempotent-requests.ts';
import { UsageCommands } from '../../../src/commands/usage/commands.ts';
import { openEventStoreDB } from '../../../src/event-store/eventstoredb/eventstoredb-event-store.ts';
import { streamName } from '../../../src/event-store/stream-name.ts';
import { streamCategories } from '../../../src/events/registry.ts';
import { LedgerError } from '../../../src/shared/errors.ts';
import { sha256 } from '../../../src/shared/ids.ts';
import { EventStoreStandIn } from '../../event-store/eventstoredb/stand-in.ts';
import { add, execute, meter, newStream, oneTo, raiseTo, totals } from './meter.ts';
import { context, prepareWriteProcesses, type WriteProcess } from './write-process.ts';

let standIn: EventStoreStandIn;
beforeAll(async () => {
  standIn = await EventStoreStandIn.start({ showsAfterMs: 2 });
});
afterAll(() => standIn.close());

const start = prepareWriteProcesses(({ logger }) =>
  openEventStoreDB({
    url: standIn.connectionString,
    logger,
    categories: [...streamCategories, 'meter'],
  }),
);

/** What another application appends to a stream of ours. */
function placeForeign(stream: string, count = 1): void {
  standIn.appendForeign(stream, 'OrderPlaced', count);
}

describe('events of another application in a stream of ours', () => {
  test.each(['before', 'after'] as const)(
    'fold as nothing, also when they came %s the process has read the stream',
    async (when) => {
      const process = await start();
      const stream = newStream();
      await execute(await start(), stream, add(1));
      if (when === 'after') await process.handler.peek(meter, stream, 0);
      placeForeign(stream, 3);

      expect(await execute(process, stream, add(1))).toMatchObject({
        outcome: 'recorded',
        revision: 4n,
      });
      expect(await execute(process, stream, add(1))).toMatchObject({ revision: 5n });
      expect(await totals(process, stream)).toEqual([1, 2, 3]);
    },
  );

  test('are appended behind where there is nothing else', async () => {
    const process = await start();
    const stream = newStream();
    placeForeign(stream, 2);

    const handled = await Promise.all([
      execute(process, stream, add(1)),
      execute(process, stream, raiseTo(1)),
      execute(process, stream, add(1)),
    ]);

    expect(handled.map(({ revision }) => revision)).toEqual([2n, 2n, 3n]);
  });

  test('do not change the revision that callers know, and that preconditions go by', async () => {
    const process = await start();
    const stream = newStream();
    await execute(process, stream, add(1));
    placeForeign(stream, 2);

    expect(await execute(process, stream, raiseTo(1))).toMatchObject({ revision: 0n });
    const precondition = (revision: bigint | 'no-stream'): void => {
      if (revision !== 0n) throw new LedgerError('precondition-failed', `It is ${revision}.`);
    };
    expect(await execute(process, stream, add(1), { precondition })).toMatchObject({
      revision: 3n,
    });
  });

  test('do not take a name: what is kept once is kept behind them, and then known again', async () => {
    const { store } = await start();
    const message = { sensorId: 'pump', messageId: 'm1' };
    placeForeign(streamName('message', 'acme', 'pump', 'm1'));
    const claimed = await claimMessage(store, message, 'no-stream', context);
    const again = await claimMessage(store, message, 'no-stream', context);
    expect(again.identity).toEqual({ ...claimed.identity, reservedAtRevision: 'no-stream' });

    const report = {
      deviceId: 'd1',
      component: 'main',
      version: '1.0.0',
      reportedAt: new Date('2026-01-31T12:00:00Z'),
    };
    const digest = sha256(JSON.stringify(['main', '1.0.0', report.reportedAt.getTime()]));
    placeForeign(streamName('firmware', 'acme', 'd1', digest));
    const firmware = new FirmwareCommands({ store });
    expect(await firmware.report(report, context)).toEqual(await firmware.report(report, context));

    placeForeign(streamName('usage', 'acme', 'id', 'r1'));
    const entry = {
      usage: { simCardId: '8944', bytesUsed: 1, usedAt: report.reportedAt },
      name: { kind: 'id', id: 'r1' },
      origin: { kind: 'http', correlationId: 'r1', index: 0 },
      sent: () => Buffer.from('{}'),
    } as const;
    const usage = new UsageCommands({ store });
    expect(await usage.record([entry], context)).toMatchObject([{ outcome: 'recorded' }]);
    expect(await usage.record([entry], context)).toMatchObject([{ outcome: 'duplicate' }]);
  });

  test('do not keep a SIM card from being linked, and are no claim of it', async () => {
    const { store, handler } = await start();
    const devices = new DeviceCommands({
      store,
      handler,
      linkedDevices: () => Promise.resolve([]),
    });
    const stream = linkStream('acme', 'simCardId', '8944');
    const links = { devEui: null, simCardId: '8944', sensorId: null };
    const createdAt = '2026-01-31T12:00:00.000Z';
    const register = (deviceId: string) => {
      const key = { keyId: `k-${deviceId}`, secretHash: 'h', issuedAt: createdAt };
      return devices.register({ deviceId, links, createdAt, key }, context);
    };
    placeForeign(stream, 2);
    await register('linked-1');
    placeForeign(stream, 2);
    await expect(register('linked-2')).rejects.toMatchObject({ code: 'link-taken' });
    await devices.change('linked-1', { simCardId: null }, context);
    expect(await register('linked-2')).toMatchObject({ outcome: 'recorded' });
  });

  test('do not keep an idempotent request from its reservation and its answer', async () => {
    const { store } = await start();
    const request = {
      projectId: 'acme',
      idempotencyKey: 'k1',
      requestDigest: 'd1',
      route: 'POST /tried',
      actor: 'k1',
      correlationId: 'r1',
    };
    const stream = streamName('request', 'acme', sha256('k1'));
    placeForeign(stream, 2);
    const requests = new IdempotentRequests(store, Buffer.alloc(32), () => new Date());
    let runs = 0;
    const run = () =>
      requests.run(request, async () => {
        runs += 1;
        placeForeign(stream);
        return { status: 201, headers: {}, body: { runs }, shownKeys: [], position: null };
      });

    expect(await run()).toMatchObject({ isReplayed: false, answer: { body: { runs: 1 } } });
    expect(await run()).toMatchObject({ isReplayed: true, answer: { body: { runs: 1 } } });

    const streamed = { ...request, idempotencyKey: 'k2' };
    const part = { count: 2, digest: 'd2' };
    for (const round of oneTo(2)) {
      placeForeign(streamName('request', 'acme', sha256('k2')));
      const { results } = await requests.reserve(streamed);
      const outcomes = await results.next(part, async (places) => {
        placeForeign(streamName('request', 'acme', sha256('k2')), 2);
        return places.map(() => ({ result: { round }, isFinal: true }));
      });
      expect(outcomes.map(({ result }) => result)).toEqual([{ round: 1 }, { round: 1 }]);
    }
  });
});

test('whatever others append in between, commands of two processes are all recorded once', async () => {
  const processes = [await start(), await start()] as const;
  const step = fc.oneof(
    fc.record({ kind: fc.constant('foreign' as const), count: fc.integer({ min: 1, max: 3 }) }),
    fc.record({ kind: fc.constantFrom('add' as const, 'raise' as const), by: fc.nat(1) }),
    fc.record({ kind: fc.constant('both' as const) }),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 12 }), async (steps) => {
      const stream = newStream();
      let total = 0;
      const addBy = async (process: WriteProcess): Promise<void> => {
        total += 1;
        expect(await execute(process, stream, add(1))).toMatchObject({ outcome: 'recorded' });
      };
      for (const planned of steps) {
        if (planned.kind === 'foreign') placeForeign(stream, planned.count);
        else if (planned.kind === 'both') await Promise.all(processes.map(addBy));
        else if (planned.kind === 'add') await addBy(processes[planned.by] ?? processes[0]);
        else {
          const process = processes[planned.by] ?? processes[0];
          const raised = await execute(process, stream, raiseTo(total));
          expect(raised).toMatchObject({ outcome: 'nothing', state: { total } });
        }
      }
      expect(await totals(processes[0], stream)).toEqual(
        Array.from({ length: total }, (_, index) => index + 1),
      );
    }),
    { numRuns: 30 },
  );
});
