// @module-tag slow
import { AccessDeniedError } from '@eventstore/db-client';
import { pino } from 'pino';
import { expect, test } from 'vitest';
import { connectFailure } from '../../src/event-store/eventstoredb/connection.ts';
import { openEventStoreDB } from '../../src/event-store/eventstoredb/eventstoredb-event-store.ts';
import type { OpenEventStore } from '../../src/event-store/port.ts';
import { Follower } from './contract/follower.ts';
import {
  append,
  appendUntilAnswered,
  collect,
  ids,
  mustAppend,
  readStream,
  TestProject,
} from './contract/test-project.ts';
import {
  eventually,
  openAppender,
  openLog,
  startServer,
  watchUnhandledRejections,
} from './eventstoredb-fixture.ts';

const UNAVAILABLE = { name: 'LedgerError', code: 'store-unavailable' };

test('appends to a store that stays unavailable end as unavailable, and continue when it is back', async () => {
  const server = await startServer();
  const reader = await openLog(server, { connectionName: 'reader' });
  const { appender } = openAppender(server, 'writer', { attemptTimeoutMs: 100, retryForMs: 1_500 });
  const project = new TestProject();
  const write = (id: string, events = project.events(1)) => ({
    stream: project.stream(id),
    events,
    expectedRevision: 'no-stream' as const,
  });
  await appender.append([write('before')]);

  await server.kill();
  await expect(appender.append([write('killed')])).rejects.toMatchObject(UNAVAILABLE);
  await Promise.all(
    Array.from({ length: 20 }, (_, ordinal) =>
      expect(appender.append([write(`killed${ordinal}`)])).rejects.toMatchObject(UNAVAILABLE),
    ),
  );
  await server.restart();
  await appender.append([write('between')]);

  // It takes what is sent, and says nothing.
  server.stall();
  const stalled = write('stalled');
  await expect(appender.append([stalled])).rejects.toMatchObject(UNAVAILABLE);
  server.resume();
  await expect(appender.append([stalled])).resolves.toMatchObject([{ revision: 0n }]);

  for (const id of ['before', 'between', 'stalled']) {
    expect(await readStream(reader, project.stream(id))).toHaveLength(1);
  }
  expect(await readStream(reader, project.stream('killed'))).toEqual([]);
});

test('readings of a store that stays unavailable end as unavailable, and continue when it is back', async () => {
  const server = await startServer();
  const store = await openLog(server);
  const project = new TestProject();
  const stream = project.stream('device');
  const after = await store.head();
  const events = project.events(3);
  const { position } = await mustAppend(store, stream, events, 'no-stream');
  const { recordedAt } = (await readStream(store, stream))[0] ?? {};
  if (recordedAt === undefined) throw new Error('nothing was recorded');

  await server.kill();
  await Promise.all(
    [
      readStream(store, stream),
      collect(store.readAll({ after })),
      collect(store.readAll({ after, until: position })),
      store.head(),
      store.positionAt(recordedAt),
    ].map((reading) => expect(reading).rejects.toMatchObject(UNAVAILABLE)),
  );

  await server.restart();
  expect(ids(await readStream(store, stream))).toEqual(ids(events));
  expect(ids(project.own(await collect(store.readAll({ after }))))).toEqual(ids(events));
  expect(await store.head()).toBe(position);
  expect(await store.positionAt(new Date(recordedAt.getTime() - 60_000))).toBeLessThan(position);
});

test('readings wait for a store that is unavailable for a moment', async () => {
  const server = await startServer();
  const store = await openLog(server);
  const project = new TestProject();
  const stream = project.stream('device');
  const after = await store.head();
  const events = project.events(3);
  const { position } = await mustAppend(store, stream, events, 'no-stream');

  for (const away of ['killed', 'stalled'] as const) {
    if (away === 'killed') await server.kill();
    else server.stall();
    const readings = Promise.all([
      readStream(store, stream),
      collect(store.readAll({ after })).then((batches) => project.own(batches)),
      store.head(),
    ]);
    if (away === 'killed') await server.restart();
    else server.resume();
    const [inStream, inAll, head] = await readings;
    expect([ids(inStream), ids(inAll), head]).toEqual([ids(events), ids(events), position]);
  }
});

test('a subscription waits for a store that stays unavailable, and resumes automatically', async () => {
  const server = await startServer();
  const store = await openLog(server);
  const project = new TestProject();
  const stream = project.stream('device');
  const live = new Follower(store, { project, after: await store.head() });
  await eventually(() => server.openSubscriptions === 1);
  await server.kill();
  const begunMeanwhile = new Follower(store, { project, after: live.after });
  // As long as a reading is tried.
  await expect(store.head()).rejects.toMatchObject(UNAVAILABLE);
  await server.restart();

  const { position } = await mustAppend(store, stream, project.events(3));
  for (const follower of [live, begunMeanwhile]) {
    await follower.reaches(position);
    expect(follower.events).toEqual(await readStream(store, stream));
  }
});

test('a log on a server that is unavailable is not opened', async () => {
  const server = await startServer();
  await server.kill();
  await expect(openLog(server)).rejects.toMatchObject(UNAVAILABLE);
  await server.restart();
  await (await openLog(server)).close();
  await eventually(() => server.openConnections === 0, 'a connection is left open');
});

test('a user that is refused is named at the start, with the rights that a ledger needs', async () => {
  const server = await startServer();
  const url = `esdb://app:secret@127.0.0.1:${server.port}?tls=false`;
  const refused = async (from: string): Promise<string> => {
    const opened = openEventStoreDB({ url: from, logger: pino({ level: 'silent' }) });
    const error: unknown = await opened.catch((caught: unknown) => caught);
    expect(error).toMatchObject(UNAVAILABLE);
    return error instanceof Error ? error.message : '';
  };
  server.refuseUsers('accessDenied');
  // The client sends no credentials without TLS.
  expect(await refused(url)).toMatch(/refuses a connection without a user .*tls=false.*\$all/);
  const denied = new AccessDeniedError({ code: 7, message: '7 PERMISSION_DENIED' } as never);
  expect(connectFailure('esdb://app:secret@node:2113?tls=true', denied)).toBe(
    'EventStoreDB at node:2113 does not allow the user app what a ledger needs (7 ' +
      'PERMISSION_DENIED). A ledger reads $all, and reads and writes its own streams: ' +
      'docs/operations.md says how to grant it.',
  );
  const unknown = new AccessDeniedError({ code: 16, message: '16 UNAUTHENTICATED' } as never);
  expect(connectFailure('esdb://app:secret@node:2113', unknown)).toBe(
    'EventStoreDB at node:2113 does not know the user app with this password (16 ' +
      'UNAUTHENTICATED). Check EVENTSTORE_URL.',
  );
  await server.kill();
  expect(await refused(url)).toMatch(/^Cannot connect to EventStoreDB at 127.0.0.1:\d+: .*\bCheck/);
});

test.each(['unauthenticated', 'accessDenied'] as const)(
  'a user that is refused while the log is in use (%s) ends calls as unavailable, until it ' +
    'is put right',
  async (why) => {
    const server = await startServer();
    const store = await openLog(server);
    const project = new TestProject();
    const stream = project.stream('device');
    const after = await store.head();
    const follower = new Follower(store, { project, after });
    await mustAppend(store, stream, project.events(1), 'no-stream');

    server.refuseUsers(why);
    server.cutConnections();
    const refusal = { ...UNAVAILABLE, message: expect.stringContaining('refuses the user') };
    await expect(append(store, stream, project.events(1), 0n)).rejects.toMatchObject(refusal);
    await expect(readStream(store, stream)).rejects.toMatchObject(refusal);
    await expect(store.head()).rejects.toMatchObject(refusal);

    server.refuseUsers(undefined);
    const write = { stream, events: project.events(1), expectedRevision: 0n };
    const answer = await appendUntilAnswered(store, write);
    if (answer.outcome !== 'appended') throw new Error(`it was not appended: ${answer.outcome}`);
    await follower.reaches(answer.position);
    expect(follower.events).toEqual(await readStream(store, stream));
  },
);

test('closing waits for what was accepted, refuses what comes later, and leaves no connection', async () => {
  const server = await startServer();
  const reader = await openLog(server, { connectionName: 'reader' });
  const store = await openLog(server);
  const project = new TestProject();
  const stream = project.stream('device');
  await mustAppend(store, project.stream('other'), project.events(1));
  const received = server.counts.batchAppends;

  server.stall();
  const accepted = append(store, stream, project.events(2), 'no-stream');
  await eventually(() => server.counts.batchAppends > received);
  let isClosed = false;
  const closed = store.close().then(() => (isClosed = true));
  await expect(append(store, stream, project.events(1))).rejects.toMatchObject({
    name: 'LedgerError',
    code: 'shutting-down',
  });
  expect(isClosed).toBe(false);
  server.resume();

  expect(await accepted).toMatchObject({ outcome: 'appended', revision: 1n });
  await closed;
  expect(await readStream(reader, stream)).toHaveLength(2);
  await reader.close();
  await eventually(() => server.openConnections === 0, 'a connection is left open');
});

test('closing one log does not harm another on the same server, nor one of the same name', async () => {
  const server = await startServer();
  const open = (streamPrefix: string, connectionName?: string): Promise<OpenEventStore> =>
    openLog(server, { streamPrefix, ...(connectionName && { connectionName }) });
  const [staying, another, ofOwnConnection] = [
    await open('a.'),
    await open('b.'),
    await open('a.', 'own'),
  ];
  const project = new TestProject();
  const stream = project.stream('device');
  const follower = new Follower(staying, { project, after: await staying.head() });
  await eventually(() => server.openSubscriptions === 1);
  const appending = (async () => {
    let last = 0n;
    for (let count = 0; count < 200; count += 1) {
      ({ position: last } = await mustAppend(staying, stream, project.events(1)));
    }
    return last;
  })();
  await mustAppend(another, project.stream('device'), project.events(1));
  await mustAppend(ofOwnConnection, project.stream('other'), project.events(1));
  await Promise.all([another.close(), ofOwnConnection.close()]);

  const last = await appending;
  await follower.reaches((await readStream(staying, stream)).at(-1)?.position ?? follower.after);
  expect(await staying.head()).toBe(last);
  expect(follower.events).toHaveLength(201);
  expect(staying.resumedSubscriptions).toBe(0);
  await follower.stop();
  await staying.close();
  await eventually(() => server.openConnections === 0, 'a connection is left open');
});

test('logs that are opened and closed beside one that stays leave nothing on its connection', async () => {
  const server = await startServer();
  const staying = await openLog(server);
  const project = new TestProject();
  // More than a connection carries streams.
  for (let count = 0; count < 110; count += 1) {
    const passing = await openLog(server);
    await mustAppend(passing, project.stream('device'), project.events(1));
    await passing.close();
  }
  await mustAppend(staying, project.stream('device'), project.events(1));
  expect(await readStream(staying, project.stream('device'))).toHaveLength(111);
});

test('closing ends also while a subscription is followed, and leaves no connection', async () => {
  const unhandled = watchUnhandledRejections();
  const server = await startServer();
  const store = await openLog(server);
  const project = new TestProject();
  const follower = new Follower(store, { project, after: await store.head() });
  await mustAppend(store, project.stream('device'), project.events(1));
  await follower.reaches(await store.head());
  await eventually(() => server.openSubscriptions === 1);
  await store.close();
  await eventually(() => server.openConnections === 0, 'a connection is left open');
  await follower.stop();
  expect(server.openConnections).toBe(0);
  expect(unhandled).toEqual([]);
});

test.each(['killed', 'stalled'])('closing ends while the server is %s', async (away) => {
  const unhandled = watchUnhandledRejections();
  const server = await startServer();
  const store = await openLog(server);
  const project = new TestProject();
  const abort = new AbortController();
  const following = collect(store.subscribe({ after: await store.head(), signal: abort.signal }));
  await mustAppend(store, project.stream('device'), project.events(1));
  await eventually(() => server.openSubscriptions === 1);
  if (away === 'killed') await server.kill();
  else server.stall();
  abort.abort();
  await following;
  await store.close();
  if (away === 'stalled') server.resume();
  await eventually(() => server.openConnections === 0, 'a connection is left open');
  expect(unhandled).toEqual([]);
});

test('outages under load leave no connections behind', async () => {
  const server = await startServer();
  const store = await openLog(server);
  const project = new TestProject();
  let isOver = false;
  let stored = 0;
  const writing = Array.from({ length: 100 }, async (_, writer) => {
    while (!isOver) {
      await appendUntilAnswered(store, {
        stream: project.stream(String(writer)),
        events: project.events(1),
        expectedRevision: 'any',
      });
      stored += 1;
    }
  });
  for (let outage = 0; outage < 4; outage += 1) {
    const before = stored;
    await eventually(() => stored > before + 200);
    await server.kill();
    await expect(store.head()).rejects.toMatchObject(UNAVAILABLE);
    await server.restart();
  }
  const before = stored;
  await eventually(() => stored > before + 500);
  isOver = true;
  await Promise.all(writing);
  await eventually(() => server.openConnections <= 8, 'connections are left open');
});
