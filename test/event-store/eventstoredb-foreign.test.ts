import { binaryEvent, jsonEvent, type EventData } from '@eventstore/db-client';
import { expect, onTestFinished, test } from 'vitest';
import { connect } from '../../src/event-store/eventstoredb/connection.ts';
import { AppendCall } from '../../src/event-store/eventstoredb/append-call.ts';
import { BEGINNING, type OpenEventStore, type RecordedEvent } from '../../src/event-store/port.ts';
import { collectBatches, Follower } from './contract/follower.ts';
import {
  append,
  ids,
  mustAppend,
  readStream,
  stored,
  TestProject,
} from './contract/test-project.ts';
import {
  asSoonAs,
  eventually,
  openLog,
  startServer,
  watchUnhandledRejections,
} from './eventstoredb-fixture.ts';
import type { EventStoreStandIn } from './eventstoredb/stand-in.ts';

const MIB = 1024 * 1024;

/** What another application does on the same server. */
function anotherApplication(
  server: EventStoreStandIn,
): (stream: string, ...events: EventData[]) => Promise<void> {
  const connection = connect(`${server.connectionString}&connectionName=another`);
  onTestFinished(() => connection.close());
  const call = new AppendCall(connection.client);
  return async (stream, ...events) => {
    await call.append({ stream, events, expectedRevision: 'any', timeoutMs: 10_000 });
  };
}

async function all(store: OpenEventStore): Promise<RecordedEvent[]> {
  const batches = await collectBatches(store.readAll({ after: BEGINNING }), BEGINNING);
  return batches.flatMap(({ events }) => events);
}

function foreignEvents(): EventData[] {
  return [
    jsonEvent({ type: 'OrderPlaced', data: { order: 1 } }),
    jsonEvent({ type: 'OrderPlaced', data: { order: 1 }, metadata: { tenant: 'a' } }),
    jsonEvent({ type: 'OrderPlaced', data: ['a'] as unknown as Record<string, string> }),
    binaryEvent({ type: 'OrderPlaced', data: Buffer.from([0, 255, 128]) }),
    binaryEvent({
      type: 'OrderPlaced',
      data: Buffer.from('{'),
      metadata: Buffer.from('{"projectId":"a"') as unknown as Record<string, string>,
    }),
    jsonEvent({
      type: 'OrderPlaced',
      data: {},
      metadata: 'projectId' as unknown as Record<string, string>,
    }),
  ];
}

test('events of other applications are passed over, also in streams of ours', async () => {
  const server = await startServer();
  const store = await openLog(server);
  const placeForeign = anotherApplication(server);
  const project = new TestProject();
  const stream = project.stream('device');
  const live = new Follower(store, { project, after: BEGINNING });
  const names = [
    stream,
    project.stream('foreign only'),
    'contract-',
    'contract-noid',
    'contract-.id',
    'contract-Upper.id',
    'contractor-p.id',
    'Contract-p.id',
    'contract',
    '-p.id',
    'contract-p\n.id',
  ];

  let last = BEGINNING;
  for (let round = 0; round < 3; round += 1) {
    for (const name of names) await placeForeign(name, ...foreignEvents());
    ({ position: last } = await mustAppend(store, stream, project.events(2)));
  }
  for (const name of names) await placeForeign(name, ...foreignEvents());

  const fresh = await openLog(server, { connectionName: 'fresh' });
  const recorded = await readStream(store, stream);
  expect(recorded.map(({ revision }) => revision)).toEqual([6n, 7n, 14n, 15n, 22n, 23n]);
  expect(await readStream(store, stream, { direction: 'backwards' })).toEqual(
    recorded.toReversed(),
  );
  expect(await readStream(store, project.stream('foreign only'))).toEqual([]);
  for (const log of [store, fresh]) {
    expect(await all(log)).toEqual(recorded);
    expect(await log.head()).toBe(last);
    expect(await log.positionAt(new Date(Date.now() + 60_000))).toBe(last);
  }
  const late = new Follower(fresh, { project, after: BEGINNING });
  for (const follower of [live, late]) {
    await follower.reaches(last);
    expect(follower.batches.flatMap(({ events }) => events)).toEqual(recorded);
  }
});

test('a limited reading of a stream is not used up by events of other applications', async () => {
  const server = await startServer();
  const store = await openLog(server);
  const project = new TestProject();
  const stream = project.stream('device');
  const sent = project.events(3);
  for (const event of sent) {
    await mustAppend(store, stream, [event]);
    server.appendForeign(stream, 'OrderPlaced', 2);
  }
  expect(ids(await readStream(store, stream, { limit: 2 }))).toEqual(ids(sent.slice(0, 2)));
  const backwards = { direction: 'backwards', limit: 1 } as const;
  expect(ids(await readStream(store, stream, backwards))).toEqual(ids(sent.slice(2)));
});

test('logs of different prefixes on one server do not see each other', async () => {
  const server = await startServer();
  const logs = await Promise.all([
    openLog(server),
    openLog(server, { streamPrefix: 'a.' }),
    openLog(server, { streamPrefix: 'b.' }),
    openLog(server, { streamPrefix: 'a.b.', connectionName: 'own' }),
  ]);
  expect(new Set(logs.map(({ logId }) => logId)).size).toBe(4);
  const project = new TestProject();
  const stream = project.stream('device');
  const followers = logs.map((log) => new Follower(log, { project, after: BEGINNING }));
  const heads = logs.map(() => BEGINNING);
  const sent = logs.map(() => project.events(2));

  for (const [index, log] of logs.entries()) {
    const answer = await mustAppend(log, stream, sent[index] ?? [], 'no-stream');
    heads[index] = answer.position;
    expect(await Promise.all(logs.map((other) => other.head()))).toEqual(heads);
  }

  for (const [index, log] of logs.entries()) {
    const own = ids(sent[index] ?? []);
    const head = heads[index] ?? BEGINNING;
    expect(ids(await readStream(log, stream))).toEqual(own);
    expect(ids(await all(log))).toEqual(own);
    await followers[index]?.reaches(head);
    expect(ids(followers[index]?.events ?? [])).toEqual(own);
    expect(await log.positionAt(new Date(Date.now() + 60_000))).toBe(head);
    const [first] = await readStream(log, stream);
    expect(await log.positionAt(new Date(0))).toBeLessThan(first?.position ?? BEGINNING);
  }
});

test('a soft-deleted stream has nothing, and continues at its old revision', async () => {
  const server = await startServer();
  const store = await openLog(server);
  const project = new TestProject();
  const stream = project.stream('device');
  await mustAppend(store, stream, project.events(3), 'no-stream');
  server.softDelete(stream);
  expect(await readStream(store, stream)).toEqual([]);
  expect(await readStream(store, stream, { direction: 'backwards', limit: 1 })).toEqual([]);

  const after = project.events(2);
  expect(await mustAppend(store, stream, after, 'no-stream')).toMatchObject({ revision: 4n });
  expect(ids(await readStream(store, stream))).toEqual(ids(after));
  expect(await append(store, stream, project.events(1), 'no-stream')).toEqual({
    outcome: 'conflict',
    actualRevision: 4n,
  });
  expect(await mustAppend(store, stream, project.events(1), 4n)).toMatchObject({ revision: 5n });
});

test('an append to a soft-deleted stream whose answer was lost is stored once, and answered so', async () => {
  const server = await startServer();
  const store = await openLog(server);
  const project = new TestProject();
  const stream = project.stream('device');
  // Its first append writes a milestone beside it, which would meet the fault.
  const received = server.counts.batchAppends;
  await mustAppend(store, stream, project.events(3), 'no-stream');
  await eventually(() => server.counts.batchAppends === received + 2);
  server.softDelete(stream);

  const after = project.events(2);
  server.loseAnswers(1);
  const answer = await append(store, stream, after, 'no-stream');
  expect(ids(await readStream(store, stream))).toEqual(ids(after));
  expect(stored(answer).revision).toBe(4n);
});

test('a tombstoned stream has nothing, and takes nothing', async () => {
  const server = await startServer();
  const store = await openLog(server);
  const project = new TestProject();
  const stream = project.stream('device');
  const follower = new Follower(store, { project, after: await store.head() });
  await mustAppend(store, stream, project.events(3), 'no-stream');
  server.tombstone(stream);
  expect(await readStream(store, stream)).toEqual([]);
  const before = ids(await all(store));

  for (const expectedRevision of ['no-stream', 'any', 'stream-exists', 2n] as const) {
    await expect(append(store, stream, project.events(1), expectedRevision)).rejects.toMatchObject({
      type: 'stream-deleted',
    });
  }
  expect(ids(await all(store))).toEqual(before);
  // It harms no others.
  const { position } = await mustAppend(store, project.stream('other'), project.events(1));
  await follower.reaches(position);
  expect(follower.events).toHaveLength(4);
  expect(await store.head()).toBe(position);
});

test.each([1, 5, 20])(
  'an append of more than %s MiB is refused, and harms no others',
  async (mib) => {
    const unhandled = watchUnhandledRejections();
    const server = await startServer();
    const store = await openLog(server);
    const project = new TestProject();
    const follower = new Follower(store, { project, after: await store.head() });
    await mustAppend(store, project.stream('first'), project.events(1));
    const accepted = server.acceptedConnections;

    const large = project.event({ text: 'x'.repeat(mib * MIB) });
    const refused = append(store, project.stream('large'), [large]);
    const others = Array.from({ length: 50 }, (_, ordinal) =>
      mustAppend(store, project.stream(String(ordinal)), project.events(1), 'no-stream'),
    );
    await expect(refused).rejects.toMatchObject({ name: 'LedgerError', code: 'body-too-large' });
    await Promise.all(others);

    // The other writes of the same call are stored.
    const write = (id: string, events = project.events(1)) => ({
      stream: project.stream(id),
      events,
      expectedRevision: 'no-stream' as const,
    });
    await expect(
      store.append([write('before'), write('large', [large]), write('behind')]),
    ).rejects.toMatchObject({ code: 'body-too-large' });
    expect(await readStream(store, project.stream('large'))).toEqual([]);
    for (const id of ['before', 'behind']) {
      expect(await readStream(store, project.stream(id))).toHaveLength(1);
    }
    await follower.reaches(await store.head());
    expect(follower.events).toHaveLength(53);
    expect(server.acceptedConnections).toBe(accepted);
    expect(unhandled).toEqual([]);
  },
);

test('a milestone that cannot be written harms no append', async () => {
  const unhandled = watchUnhandledRejections();
  const server = await startServer();
  const store = await openLog(server);
  const project = new TestProject();
  server.tombstone('ledger-_installation.log');
  const received = server.counts.batchAppends;
  await mustAppend(store, project.stream('device'), project.events(1));
  // The append itself, and the milestone that the first one is followed by.
  await asSoonAs(() => server.counts.batchAppends >= received + 2);
  await mustAppend(store, project.stream('device'), project.events(1));
  await store.close();
  expect(unhandled).toEqual([]);
});
