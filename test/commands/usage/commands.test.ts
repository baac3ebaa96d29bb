import { expect, test } from 'vitest';
import type { CommandIdentity } from '../../../src/commands/core/context.ts';
import {
  UsageCommands,
  type RecordName,
  type UsageEntry,
} from '../../../src/commands/usage/commands.ts';
import { BEGINNING, type RecordedEvent } from '../../../src/event-store/port.ts';
import { context, prepareWriteProcesses, type WriteProcess } from '../core/write-process.ts';

const startProcess = prepareWriteProcesses();
let names = 0;

/** A name that no other test has. */
function newName(): RecordName {
  names += 1;
  return { kind: 'id', id: `record-${names}` };
}

function entry(name: RecordName, bytesUsed = 1_024, identity?: CommandIdentity): UsageEntry {
  return {
    usage: { simCardId: '8944', bytesUsed, usedAt: new Date('2022-02-18T00:00:00Z') },
    name,
    origin: { kind: 'http', correlationId: 'r1', index: 0 },
    sent: () => Buffer.from(`${bytesUsed} bytes, as they came`),
    ...(identity && { identity }),
  };
}

async function outcomes(process: WriteProcess, ...entries: readonly UsageEntry[]) {
  const recorded = await new UsageCommands(process).record(entries, context);
  return recorded.map(({ outcome }) => outcome);
}

async function logged(process: WriteProcess, type: string): Promise<RecordedEvent[]> {
  const events: RecordedEvent[] = [];
  const until = await process.store.head();
  for await (const batch of process.store.readAll({ after: BEGINNING, until, types: [type] })) {
    events.push(...batch.events);
  }
  return events;
}

test('a record is an event with the time of its use', async () => {
  const process = await startProcess();
  const before = await process.store.head();
  const [recorded] = await new UsageCommands(process).record([entry(newName())], context);
  expect(recorded?.outcome).toBe('recorded');
  expect(recorded?.position).toBeGreaterThan(before);
  expect((await logged(process, 'UsageRecorded')).at(-1)).toMatchObject({
    position: recorded?.position,
    data: { simCardId: '8944', bytesUsed: 1_024, usedAt: '2022-02-18T00:00:00.000Z' },
    metadata: { ...context, occurredAt: '2022-02-18T00:00:00.000Z' },
  });
});

test('of many copies in two processes one is recorded, and the others are duplicates', async () => {
  const [one, other] = [await startProcess(), await startProcess()];
  const name = newName();
  const found = await Promise.all(
    Array.from({ length: 20 }, (_, index) => outcomes(index % 2 === 0 ? one : other, entry(name))),
  );
  expect(found.flat().toSorted()).toEqual([...Array<string>(19).fill('duplicate'), 'recorded']);
});

test('copies within one call are duplicates of the first', async () => {
  const process = await startProcess();
  const [one, two] = [newName(), newName()];
  expect(await outcomes(process, entry(one), entry(two), entry(one))).toEqual([
    'recorded',
    'recorded',
    'duplicate',
  ]);
});

test('another record under the same name is refused, and listed once however often it comes', async () => {
  const process = await startProcess();
  const name = newName();
  const listed = (await logged(process, 'UsageRejected')).length;
  expect(await outcomes(process, entry(name, 1), entry(name, 2))).toEqual(['recorded', 'refused']);
  expect(await outcomes(process, entry(name, 2))).toEqual(['refused']);
  const rejected = (await logged(process, 'UsageRejected')).slice(listed);
  expect(rejected).toMatchObject([{ data: { reason: 'id-reused', origin: { kind: 'http' } } }]);
  expect(rejected[0]?.data['record']).toEqual({
    encoding: 'utf-8',
    content: '2 bytes, as they came',
    isCut: false,
  });
});

test.each<[string, RecordName, RecordName]>([
  ['an id and a message', { kind: 'id', id: 'a' }, message('a', 0, '0')],
  ['two sources', cloudEvent('s1', 'a'), cloudEvent('s2', 'a')],
  ['two ways to cut a source and id', cloudEvent('s', '/a'), cloudEvent('s/', 'a')],
  ['two partitions', message('t', 0, '7'), message('t', 1, '7')],
  ['two offsets', message('t', 2, '7'), message('t', 2, '8')],
  ['two lines', line('0', 1), line('0', 2)],
  ['nothing', { kind: 'new' }, { kind: 'new' }],
])('records that are told apart by %s are two', async (_what, first, second) => {
  const process = await startProcess();
  expect(await outcomes(process, entry(first), entry(second))).toEqual(['recorded', 'recorded']);
});

test('a request that runs again knows its own records from those of others', async () => {
  const process = await startProcess();
  const [name, identity] = [
    newName(),
    { id: '0f8fad5b-d9cb-469f-a165-70867728950e', reservedAt: BEGINNING },
  ];
  expect(await outcomes(process, entry(name, 1, identity))).toEqual(['recorded']);
  expect(await outcomes(process, entry(name, 1, identity))).toEqual(['recorded']);
  expect(await outcomes(process, entry(name, 1, { ...identity, ordinal: 1 }))).toEqual([
    'duplicate',
  ]);
});

test('a message that cannot be used is listed once, with what it held', async () => {
  const process = await startProcess();
  const commands = new UsageCommands(process);
  const listed = (await logged(process, 'UsageRejected')).length;
  const rejection = (offset: string, record: Buffer) =>
    ({
      reason: 'malformed-json',
      detail: 'it is none',
      origin: { kind: 'kafka', topic: 'usage', partition: 3, offset },
      record,
    }) as const;
  const text = Buffer.from('é'.repeat(5_000));
  const bytes = Buffer.from([0xff, 0x00, 0x7b]);
  for (let time = 0; time < 2; time += 1) {
    await commands.reject([rejection('1', text), rejection('2', bytes)], context);
  }
  const rejected = (await logged(process, 'UsageRejected')).slice(listed);
  expect(rejected.map(({ data }) => data['record'])).toEqual([
    { encoding: 'utf-8', content: 'é'.repeat(4_096), isCut: true },
    { encoding: 'base64', content: bytes.toString('base64'), isCut: false },
  ]);
});

test('a message of a topic that was recreated is another one under another source', async () => {
  const process = await startProcess();
  const topic = `recreated-${names}`;
  expect(await outcomes(process, entry(message(topic, 0, '7'), 1))).toEqual(['recorded']);
  expect(await outcomes(process, entry(message(topic, 0, '7'), 2))).toEqual(['refused']);
  const second = entry(message(topic, 0, '7', 'second'), 2);
  expect(await outcomes(process, second, second)).toEqual(['recorded', 'duplicate']);
  const third = entry(message(topic, 0, '7', 'third'), 2);
  expect(await outcomes(process, third)).toEqual(['recorded']);
});

function message(topic: string, partition: number, offset: string, source = ''): RecordName {
  return { kind: 'message', source, topic, partition, offset };
}

function cloudEvent(source: string, id: string): RecordName {
  return { kind: 'cloud-event', source, id };
}

function line(request: string, ordinal: number): RecordName {
  return { kind: 'request', identity: { id: request, ordinal, reservedAt: BEGINNING } };
}
