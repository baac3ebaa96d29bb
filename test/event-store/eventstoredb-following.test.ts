import type { EventStoreDBClient } from '@eventstore/db-client';
import { EventEmitter } from 'node:events';
import { pino } from 'pino';
import { expect, onTestFinished, test, vi } from 'vitest';
import { approximateSize } from '../../src/event-store/event-size.ts';
import { connect } from '../../src/event-store/eventstoredb/connection.ts';
import { LiveTail } from '../../src/event-store/eventstoredb/live-tail.ts';
import { Reading } from '../../src/event-store/eventstoredb/reading.ts';
import { positionOf, StreamNames } from '../../src/event-store/eventstoredb/wire-event.ts';
import type { NewEvent, OpenEventStore, Position } from '../../src/event-store/port.ts';
import type { StreamName } from '../../src/event-store/stream-name.ts';
import { Follower } from './contract/follower.ts';
import { ids, mustAppend, readStream, TestProject } from './contract/test-project.ts';
import {
  asSoonAs,
  eventually,
  openLog,
  recordingLogger,
  startServer,
} from './eventstoredb-fixture.ts';
import type { EventStoreStandIn } from './eventstoredb/stand-in.ts';

const NAMES = new StreamNames('', ['contract']);
const MAX_KEPT_EVENTS = 10_000;
const MAX_KEPT_BYTES = 8 * 1024 * 1024;

function connectTo(server: EventStoreStandIn): EventStoreDBClient {
  const connection = connect(`${server.connectionString}&connectionName=direct`);
  onTestFinished(() => connection.close());
  return connection.client;
}

function startTail(client: EventStoreDBClient, after: Position): LiveTail {
  const logger = pino({ level: 'silent' });
  const tail = new LiveTail(after, { client, names: NAMES, logger, onNews: () => undefined });
  onTestFinished(() => tail.close());
  return tail;
}

/** Position of the last record of the server, whoever wrote it, or of one before it. */
async function lastRecord(server: EventStoreStandIn, before = 0): Promise<Position> {
  let last: Position | undefined;
  await new Reading(connectTo(server)).all('end', {
    direction: 'backwards',
    maxCount: before + 1,
    take(event) {
      last = positionOf(event);
      return false;
    },
  });
  if (last === undefined) throw new Error('the server has no records');
  return last;
}

async function appendMany(
  store: OpenEventStore,
  stream: StreamName,
  events: readonly NewEvent[],
  perAppend: number,
): Promise<Position> {
  let position = await store.head();
  for (let from = 0; from < events.length; from += perAppend) {
    ({ position } = await mustAppend(store, stream, events.slice(from, from + perAppend)));
  }
  return position;
}

test.each([
  ['many small', 25_000, 1_000, 10],
  ['large', 60, 2, 400_000],
])(
  'of %s events, the end of the log is kept within bounds',
  { tags: ['slow'] },
  async (_, count, perAppend, bytes) => {
    const server = await startServer();
    const store = await openLog(server);
    const project = new TestProject();
    const tail = startTail(connectTo(server), await store.head());
    const begin = tail.start;
    const sent = Array.from({ length: count }, () => project.event({ text: 'x'.repeat(bytes) }));

    const last = await appendMany(store, project.stream('device'), sent, perAppend);
    await eventually(() => (tail.after(tail.start, 1, 1)?.events.length ?? 0) > 0);
    await eventually(() => tail.after(tail.start, Infinity, Infinity)?.position === last);

    const { events } = tail.after(tail.start, Infinity, Infinity) ?? { events: [] };
    expect(events.length).toBeLessThanOrEqual(MAX_KEPT_EVENTS);
    const size = events.reduce((sum, event) => sum + approximateSize(event), 0);
    expect(size).toBeLessThanOrEqual(MAX_KEPT_BYTES);
    // What is kept is the end of the log, and nothing in it is left out.
    expect(ids(events)).toEqual(ids(sent.slice(-events.length)));
    expect(tail.start).toBeGreaterThan(begin);
    expect(Math.max(events.length / MAX_KEPT_EVENTS, size / MAX_KEPT_BYTES)).toBeGreaterThan(0.9);
  },
);

test('of an event larger than what it asks for, a follower gets that one', async () => {
  const server = await startServer();
  const store = await openLog(server);
  const project = new TestProject();
  const tail = startTail(connectTo(server), await store.head());
  const { start } = tail;
  const sent = [project.event({ text: 'x'.repeat(500_000) }), project.event()];
  const last = await appendMany(store, project.stream('device'), sent, 1);
  await eventually(() => tail.after(start, 10, Infinity)?.position === last);
  const first = tail.after(start, 10, 1_000);
  expect(ids(first?.events ?? [])).toEqual([sent[0]?.id]);
  expect(ids(tail.after(first?.position ?? last, 10, 1_000)?.events ?? [])).toEqual([sent[1]?.id]);
  expect(tail.after(last, 10, 1_000)).toBeUndefined();
});

test('a follower that is left behind by more than what is kept misses nothing', async () => {
  const server = await startServer();
  const store = await openLog(server);
  const project = new TestProject();
  const stream = project.stream('device');
  const after = await store.head();
  const fast = new Follower(store, { project, after });
  const abort = new AbortController();
  onTestFinished(() => abort.abort());
  const slow = store.subscribe({ after, signal: abort.signal });
  await eventually(() => server.openSubscriptions === 1);

  const received: string[] = [];
  let last = (await mustAppend(store, stream, project.events(1))).position;
  for await (const batch of slow) {
    received.push(...ids(project.own([batch])));
    expect(batch.events.reduce((sum, event) => sum + approximateSize(event), 0)).toBeLessThan(
      4 * 1024 * 1024,
    );
    if (received.length === 1) {
      // 16 MiB come while it is busy with the first.
      const large = Array.from({ length: 40 }, () => project.event({ text: 'x'.repeat(400_000) }));
      last = await appendMany(store, stream, large, 2);
      await fast.reaches(last);
    }
    if (batch.position >= last) break;
  }

  const sent = ids(await readStream(store, stream));
  expect(sent).toHaveLength(41);
  expect(received).toEqual(sent);
  expect(ids(fast.events)).toEqual(sent);
  expect(server.openSubscriptions).toBe(1);
});

test('on a store where only others append, a position moves on, and the head stays', async () => {
  const server = await startServer();
  const store = await openLog(server);
  const project = new TestProject();
  const { position: own } = await mustAppend(store, project.stream('device'), project.events(1));
  const followers = [
    new Follower(store, { project, after: own }),
    new Follower(store, { project, after: own, types: ['ContractUnheardOf'] }),
  ];
  await eventually(() => server.openSubscriptions === 1);

  for (let round = 0; round < 3; round += 1) {
    server.appendForeign('orders-1', 'OrderPlaced', 200);
    server.appendForeign('$stats-somewhere', '$statsCollected', 200);
    const nearlyLast = await lastRecord(server, 64);
    for (const follower of followers) await follower.reaches(nearlyLast);
    expect(await store.head()).toBe(own);
  }
  // What is ours is found behind them all.
  const { position } = await mustAppend(store, project.stream('device'), project.events(1));
  for (const follower of followers) await follower.reaches(position);
  expect(followers.map(({ events }) => events.length)).toEqual([1, 0]);
  expect(await store.head()).toBe(position);
});

test('the head is found behind thousands of events of others', async () => {
  const server = await startServer();
  const store = await openLog(server);
  const project = new TestProject();
  const { position: own } = await mustAppend(store, project.stream('device'), project.events(1));
  server.appendForeign('orders-1', 'OrderPlaced', 5_000);
  const fresh = await openLog(server, { connectionName: 'fresh' });
  expect(await Promise.all([store.head(), fresh.head(), fresh.head()])).toEqual([own, own, own]);
  const reads = server.counts.reads;
  expect(await fresh.head()).toBe(own);
  // Not all of it once more.
  expect(server.counts.reads - reads).toBe(1);
});

test('a subscription from beyond the end waits, says so, and gives what comes after it', async () => {
  const server = await startServer();
  const { logger, lines } = recordingLogger();
  const store = await openLog(server, { logger });
  const project = new TestProject();
  const stream = project.stream('device');
  await mustAppend(store, stream, project.events(1));
  const after = ((await lastRecord(server)) + 20_000n) as Position;
  const follower = new Follower(store, { project, after });
  await eventually(() => lines.length > 0);
  expect(lines[0]?.msg).toContain('ends before this position');

  while ((await store.head()) <= after) await mustAppend(store, stream, project.events(10));
  const { position } = await mustAppend(store, stream, project.events(10));
  await follower.reaches(position);
  const recorded = await readStream(store, stream);
  expect(follower.events).toEqual(recorded.filter((event) => event.position > after));
  expect(follower.events.length).toBeGreaterThan(10);
});

test('a subscription from beyond the end continues where the log grows beyond it at any moment', async () => {
  const server = await startServer();
  const store = await openLog(server);
  const project = new TestProject();
  const stream = project.stream('device');
  await mustAppend(store, stream, project.events(1));
  const after = ((await lastRecord(server)) + 1n) as Position;
  const { reads } = server.counts;
  const follower = new Follower(store, { project, after });
  // Right after it has read that there is nothing more.
  await asSoonAs(() => server.counts.reads > reads);
  server.appendForeign('orders-1', 'OrderPlaced', 3);

  const { position } = await mustAppend(store, stream, project.events(2));
  await eventually(() => follower.position >= position, 'the subscription does not advance');
  expect(follower.events).toHaveLength(2);
});

test('a subscription goes live also on a log that does not stop growing', async () => {
  const server = await startServer();
  const store = await openLog(server);
  const project = new TestProject();
  const follower = new Follower(store, { project, after: await store.head() });
  let { reads } = server.counts;
  // Whenever it has read to the end, there is more.
  for (let count = 0; count < 100 && server.openSubscriptions === 0; count += 1) {
    await asSoonAs(() => server.counts.reads > reads || server.openSubscriptions > 0);
    ({ reads } = server.counts);
    server.appendForeign('orders-1', 'OrderPlaced');
  }
  expect(server.openSubscriptions).toBe(1);
  await follower.stop();
});

test('a subscription that is never confirmed is made anew', async () => {
  const made: EventEmitter[] = [];
  const client = {
    subscribeToAll() {
      const subscription = new EventEmitter();
      made.push(subscription);
      return Object.assign(subscription, { unsubscribe: async () => undefined });
    },
  };
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  onTestFinished(() => {
    vi.useRealTimers();
  });
  const tail = startTail(client as unknown as EventStoreDBClient, 5n as Position);
  expect(made).toHaveLength(1);
  vi.advanceTimersByTime(20_000);
  await asSoonAs(() => made.length === 2);
  made[1]?.emit('confirmation');
  vi.advanceTimersByTime(60_000);
  expect(tail.drops).toBe(1);
  expect(made).toHaveLength(2);
});
