import { expect, onTestFinished, test } from 'vitest';
import { connect } from '../../src/event-store/eventstoredb/connection.ts';
import { Reading } from '../../src/event-store/eventstoredb/reading.ts';
import {
  BEGINNING,
  type OpenEventStore,
  type Position,
  type RecordedEvent,
} from '../../src/event-store/port.ts';
import { collectBatches, Follower } from './contract/follower.ts';
import { ids, mustAppend, readStream, TestProject } from './contract/test-project.ts';
import { openLog, startServer } from './eventstoredb-fixture.ts';
import type { EventStoreStandIn } from './eventstoredb/stand-in.ts';

const HOUR_MS = 3_600_000;

async function milestones(server: EventStoreStandIn): Promise<number> {
  const connection = connect(`${server.connectionString}&connectionName=milestones`);
  onTestFinished(() => connection.close());
  const { events } = await new Reading(connection.client).stream('ledger-_installation.log', {
    from: 'start',
    direction: 'forwards',
    maxCount: 1_000,
  });
  return events.filter(({ type }) => type === 'MilestoneReached').length;
}

async function all(store: OpenEventStore, after: Position): Promise<RecordedEvent[]> {
  const batches = await collectBatches(store.readAll({ after }), after);
  return batches.flatMap(({ events }) => events);
}

test('a reading and a subscription from a position of no record give what lies after it', async () => {
  const server = await startServer();
  const store = await openLog(server);
  const project = new TestProject();
  for (let round = 0; round < 12; round += 1) {
    server.appendForeign('orders-1', 'OrderPlaced', round % 3);
    await mustAppend(store, project.stream(String(round % 4)), project.events(3));
  }
  const recorded = await all(store, BEGINNING);
  expect(recorded).toHaveLength(36);

  const places = recorded.flatMap(({ position }) => [position - 1n, position, position + 1n]);
  for (const place of [1n, 1_166n, 1_168n, ...places]) {
    const after = place as Position;
    const expected = ids(recorded.filter(({ position }) => position > after));
    expect(ids(await all(store, after))).toEqual(expected);
  }
  const last = recorded.at(-1)?.position ?? BEGINNING;
  for (const { position } of recorded.filter((_, index) => index % 6 === 0)) {
    for (const after of [position - 1n, position + 1n] as Position[]) {
      const follower = new Follower(store, { project, after });
      await follower.reaches(last);
      expect(follower.events).toEqual(recorded.filter((event) => event.position > after));
      await follower.stop();
    }
  }
});

test('a reading up to a position of no record ends there', async () => {
  const server = await startServer();
  const store = await openLog(server);
  const project = new TestProject();
  await mustAppend(store, project.stream('device'), project.events(10));
  const recorded = await readStream(store, project.stream('device'));
  for (const { position } of recorded) {
    for (const until of [position - 1n, position + 1n] as Position[]) {
      const batches = await collectBatches(store.readAll({ after: BEGINNING, until }), BEGINNING);
      expect(project.own(batches)).toEqual(recorded.filter((event) => event.position <= until));
      expect(batches.at(-1)?.position).toBe(until);
    }
  }
});

test('a reading from beyond the end gives nothing, and one until there ends', async () => {
  const server = await startServer();
  const store = await openLog(server);
  const project = new TestProject();
  const { position } = await mustAppend(store, project.stream('device'), project.events(10));
  const beyond = (position + 1_000_000n) as Position;
  expect(await all(store, beyond)).toEqual([]);
  const until = (beyond + 1_000n) as Position;
  expect(await collectBatches(store.readAll({ after: beyond, until }), beyond)).toEqual([]);
  const batches = await collectBatches(
    store.readAll({ after: BEGINNING, until: beyond }),
    BEGINNING,
  );
  expect(project.own(batches)).toHaveLength(10);
});

test('from a position of no record far behind the last milestone, nothing is missed', async () => {
  const server = await startServer();
  const store = await openLog(server);
  const project = new TestProject();
  const { position: first } = await mustAppend(store, project.stream('a'), project.events(1));
  // More than a page, with no milestone in it.
  server.appendForeign('orders-1', 'OrderPlaced', 5_000);
  const { position: second } = await mustAppend(store, project.stream('a'), project.events(2));
  const recorded = await readStream(store, project.stream('a'));
  for (const after of [first + 1n, second - 1n, second + 1n] as Position[]) {
    expect(await all(store, after)).toEqual(recorded.filter(({ position }) => position > after));
  }
});

/** Whether it is the position of the last event by then; others may lie before the next. */
async function isPositionAt(
  store: OpenEventStore,
  recorded: readonly RecordedEvent[],
  time: number,
): Promise<void> {
  const position = await store.positionAt(new Date(time));
  const later = recorded.find(({ recordedAt }) => recordedAt.getTime() > time);
  const then = recorded.findLast(({ recordedAt }) => recordedAt.getTime() <= time);
  expect(position).toBeGreaterThanOrEqual(then?.position ?? BEGINNING);
  if (later === undefined) expect(position).toBe(then?.position ?? BEGINNING);
  else expect(position).toBeLessThan(later.position);
}

test(
  'the position at a time is what a reading of the whole log says, through many milestones',
  { tags: ['slow'] },
  async () => {
    const server = await startServer();
    const store = await openLog(server);
    const project = new TestProject();
    const hours = 44;
    for (let hour = 0; hour < hours; hour += 1) {
      server.setClock((hour - hours) * HOUR_MS);
      await mustAppend(store, project.stream(String(hour % 5)), project.events(100));
      server.appendForeign('orders-1', 'OrderPlaced', 5);
    }
    expect(await milestones(server)).toBeGreaterThanOrEqual(4);

    const recorded = await all(store, BEGINNING);
    expect(recorded).toHaveLength(hours * 100);
    const times = new Set(recorded.map(({ recordedAt }) => recordedAt.getTime()));
    expect(times.size).toBeGreaterThanOrEqual(hours);
    const fresh = await openLog(server, { connectionName: 'fresh' });
    for (const time of times) {
      await isPositionAt(store, recorded, time - 1);
      await isPositionAt(fresh, recorded, time + HOUR_MS / 2);
    }
    for (const time of [0, Date.now() - 365 * 24 * HOUR_MS, Date.now() + HOUR_MS]) {
      await isPositionAt(store, recorded, time);
    }
  },
);

test('an empty log has one position at all times', async () => {
  const server = await startServer();
  const store = await openLog(server);
  server.appendForeign('orders-1', 'OrderPlaced', 50);
  expect(await store.head()).toBe(BEGINNING);
  for (const time of [0, Date.now(), Date.now() + HOUR_MS]) {
    expect(await store.positionAt(new Date(time))).toBe(BEGINNING);
  }
});

test(
  'with a clock that goes back, the position at a time is never beyond the head',
  { tags: ['slow'] },
  async () => {
    const server = await startServer();
    const store = await openLog(server);
    const project = new TestProject();
    const offsets = [-8, -7, -9, -3, -6, -1, -12, -2, -20, 0, -5];
    for (const hours of offsets) {
      server.setClock(hours * HOUR_MS);
      await mustAppend(store, project.stream('device'), project.events(500));
      const head = await store.head();
      for (let at = -22; at <= 2; at += 3) {
        const position = await store.positionAt(new Date(Date.now() + at * HOUR_MS));
        expect(position).toBeLessThanOrEqual(head);
        expect(position).toBeGreaterThanOrEqual(BEGINNING);
      }
    }
    expect(await milestones(server)).toBeGreaterThanOrEqual(4);
  },
);
