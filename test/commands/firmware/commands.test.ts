import { expect, test } from 'vitest';
import { FirmwareCommands, type FirmwareReport } from '../../../src/commands/firmware/commands.ts';
import { BEGINNING, type RecordedEvent } from '../../../src/event-store/port.ts';
import { context, prepareWriteProcesses } from '../core/write-process.ts';

const startProcess = prepareWriteProcesses();

const REPORT: FirmwareReport = {
  deviceId: 'pump-1',
  component: 'main',
  version: '1.0.0-rc.1+build.7',
  reportedAt: new Date('2026-01-31T12:00:00Z'),
};

test('a report is an event of its own stream, with the time of the device', async () => {
  const { store } = await startProcess();
  const { eventId, position } = await new FirmwareCommands({ store }).report(REPORT, context);

  const events: RecordedEvent[] = [];
  for await (const batch of store.readAll({ after: BEGINNING, until: position })) {
    events.push(...batch.events.filter(({ id }) => id === eventId));
  }
  expect(events).toMatchObject([
    {
      id: eventId,
      type: 'FirmwareReported',
      data: {
        deviceId: 'pump-1',
        component: 'main',
        version: '1.0.0-rc.1+build.7',
        reportedAt: '2026-01-31T12:00:00.000Z',
      },
      metadata: { ...context, occurredAt: '2026-01-31T12:00:00.000Z' },
    },
  ]);
});

test('the same report again, wherever and however often, is the first one', async () => {
  const [one, other] = [await startProcess(), await startProcess()];
  const [first, second] = [new FirmwareCommands(one), new FirmwareCommands(other)];
  const report = { ...REPORT, deviceId: 'pump-2' };

  const kept = await Promise.all(
    Array.from({ length: 20 }, (_, index) =>
      (index % 2 === 0 ? first : second).report(
        { ...report, ...(index > 10 && { hardware: 'rev B' }) },
        { ...context, correlationId: `r${index}` },
      ),
    ),
  );

  expect(new Set(kept.map(({ eventId }) => eventId)).size).toBe(1);
  expect(new Set(kept.map(({ position }) => position)).size).toBe(1);
});

test.each<[string, Partial<FirmwareReport>]>([
  ['device', { deviceId: 'pump-4' }],
  ['component', { component: 'radio' }],
  ['version', { version: '1.0.0-rc.1+build.8' }],
  ['time', { reportedAt: new Date('2026-01-31T12:00:00.001Z') }],
])('another %s is another report', async (_what, change) => {
  const { store } = await startProcess();
  const commands = new FirmwareCommands({ store });
  const report = { ...REPORT, deviceId: 'pump-3' };
  const [first, second] = [
    await commands.report(report, context),
    await commands.report({ ...report, ...change }, context),
  ];
  expect(second.eventId).not.toBe(first.eventId);
});

test('what no separator keeps apart is another report, too', async () => {
  const { store } = await startProcess();
  const commands = new FirmwareCommands({ store });
  const one = await commands.report({ ...REPORT, component: 'a","b', version: 'c' }, context);
  const other = await commands.report({ ...REPORT, component: 'a', version: 'b","c' }, context);
  expect(one.eventId).not.toBe(other.eventId);
});
