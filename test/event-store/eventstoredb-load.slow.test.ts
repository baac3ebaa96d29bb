// @module-tag slow
import { expect, test } from 'vitest';
import type { OpenEventStore } from '../../src/event-store/port.ts';
import { Follower } from './contract/follower.ts';
import {
  appendUntilAnswered,
  ids,
  mustAppend,
  readStream,
  stored,
  TestProject,
} from './contract/test-project.ts';
import {
  eventually,
  openLog,
  recordingLogger,
  startServer,
  watchUnhandledRejections,
} from './eventstoredb-fixture.ts';

const CALLERS = 256;
const LARGE = { text: 'x'.repeat(20_000) };

interface Load {
  readonly acknowledged: string[];
  readonly appends: number;
  readonly project: TestProject;
  readonly ended: Promise<unknown>;
}

/** So many callers at once, each to a stream of its own, one append after the other. */
function beginLoad(
  store: OpenEventStore,
  appendsPerCaller: number,
  data: Record<string, string>,
  project = new TestProject(),
): Load {
  const acknowledged: string[] = [];
  const ended = Promise.all(
    Array.from({ length: CALLERS }, async (_, caller) => {
      let revision: 'no-stream' | bigint = 'no-stream';
      for (let append = 0; append < appendsPerCaller; append += 1) {
        const event = project.event(data);
        const answer = await appendUntilAnswered(store, {
          stream: project.stream(String(caller)),
          events: [event],
          // Half of them trust the ids alone.
          expectedRevision: caller % 2 === 0 ? revision : 'any',
        });
        ({ revision } = stored(answer));
        expect(revision).toBe(BigInt(append));
        acknowledged.push(event.id);
      }
    }),
  );
  return { acknowledged, appends: CALLERS * appendsPerCaller, project, ended };
}

async function isAllStored(store: OpenEventStore, load: Load): Promise<void> {
  const streams = Array.from({ length: CALLERS }, (_, caller) =>
    load.project.stream(String(caller)),
  );
  const recorded = await load.project.recorded(store, streams);
  expect(ids(recorded).toSorted()).toEqual(load.acknowledged.toSorted());
  expect(recorded).toHaveLength(load.appends);
}

test('large appends of 256 callers all end as stored once when the connection is cut again and again', async () => {
  const unhandled = watchUnhandledRejections();
  const server = await startServer();
  const store = await openLog(server);
  const load = beginLoad(store, 4, LARGE);

  for (let cut = 1; cut <= 5; cut += 1) {
    const received = server.counts.batchAppends;
    await eventually(() => server.counts.batchAppends >= received + 60);
    server.cutConnections();
  }
  await load.ended;

  await isAllStored(store, load);
  expect(unhandled).toEqual([]);
});

test('large appends of 256 callers all end as stored once when the server is killed again and again', async () => {
  const unhandled = watchUnhandledRejections();
  const server = await startServer();
  const store = await openLog(server);
  const load = beginLoad(store, 4, LARGE);

  for (let kill = 1; kill <= 3; kill += 1) {
    const received = server.counts.batchAppends;
    await eventually(() => server.counts.batchAppends >= received + 60);
    await server.kill();
    await server.restart();
  }
  await load.ended;

  await isAllStored(store, load);
  expect(unhandled).toEqual([]);
});

test('256 large appends sent at once all end while the server is killed as they are written', async () => {
  const unhandled = watchUnhandledRejections();
  const server = await startServer();
  const store = await openLog(server);
  const project = new TestProject();
  for (let round = 0; round < 4; round += 1) {
    const received = server.counts.batchAppends;
    const writes = Array.from({ length: CALLERS }, (_, caller) => ({
      stream: project.stream(String(round), String(caller)),
      events: [project.event(LARGE)],
      expectedRevision: 'no-stream' as const,
    }));
    const answers = Promise.all(writes.map((write) => appendUntilAnswered(store, write)));
    await eventually(() => server.counts.batchAppends > received);
    await server.kill();
    await server.restart();
    for (const answer of await answers) expect(stored(answer).revision).toBe(0n);
  }
  expect(unhandled).toEqual([]);
});

test('subscriptions that are dropped again and again under load miss nothing, and that is no warning', async () => {
  const server = await startServer({ liveBufferSize: 4 });
  const { logger, lines } = recordingLogger();
  const store = await openLog(server, { logger });
  const after = await store.head();
  const project = new TestProject();
  const followers = [
    new Follower(store, { project, after }),
    new Follower(store, { project, after }),
    new Follower(store, { project, after, types: ['ContractTested'] }),
  ];
  await eventually(() => server.openSubscriptions === 1);
  const load = beginLoad(store, 16, { text: 'x'.repeat(200) }, project);

  let isOver = false;
  const ended = load.ended.finally(() => (isOver = true));
  let dropped = 0;
  for (let share = 1; share < 30 && !isOver; share += 1) {
    const until = load.acknowledged.length + load.appends / 40;
    await eventually(() => isOver || load.acknowledged.length >= until);
    dropped += server.openSubscriptions;
    server.dropSubscriptions();
  }
  await ended;

  const last = await store.head();
  const streams = Array.from({ length: CALLERS }, (_, caller) => project.stream(String(caller)));
  const recorded = await project.recorded(store, streams);
  expect(recorded).toHaveLength(load.appends);
  for (const follower of followers) {
    await follower.reaches(last);
    expect(ids(follower.events)).toEqual(ids(recorded));
  }
  expect(dropped).toBeGreaterThan(0);
  await eventually(() => store.resumedSubscriptions === server.counts.drops);
  expect(store.resumedSubscriptions).toBeGreaterThanOrEqual(dropped);
  expect(lines).toEqual([]);
});

test('300 readings at once, with appends and a subscription beside them, all end', async () => {
  const server = await startServer();
  const store = await openLog(server);
  const project = new TestProject();
  const stream = project.stream('long');
  const events = project.events(300);
  const after = await store.head();
  await mustAppend(store, stream, events, 'no-stream');
  const follower = new Follower(store, { project, after });
  await follower.reaches(await store.head());

  let isOver = false;
  const other = project.stream('other');
  const appending = (async () => {
    let appends = 0;
    for (; !isOver || appends === 0; appends += 1) {
      await mustAppend(store, other, project.events(1));
    }
    return appends;
  })();
  const readings = await Promise.all(
    Array.from({ length: 300 }, (_, reading) =>
      readStream(store, stream, reading % 2 === 0 ? {} : { direction: 'backwards' }),
    ),
  ).finally(() => (isOver = true));

  const [forwards, backwards] = [ids(events), ids(events).toReversed()];
  for (const [reading, recorded] of readings.entries()) {
    expect(ids(recorded)).toEqual(reading % 2 === 0 ? forwards : backwards);
  }
  const appends = await appending;
  await follower.reaches(await store.head());
  expect(follower.events).toHaveLength(300 + appends);
});
