// @module-tag slow
import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { openDatabase } from '../../src/database/database.ts';
import { migrate } from '../../src/database/migrations.ts';
import { openEventStoreDB } from '../../src/event-store/eventstoredb/eventstoredb-event-store.ts';
import { copyLog, digestOf } from '../../src/event-store/log-copy.ts';
import {
  BEGINNING,
  type OpenEventStore,
  type Position,
  type RecordedEvent,
} from '../../src/event-store/port.ts';
import { openPostgresEventStore } from '../../src/event-store/postgres/postgres-event-store.ts';
import { createLogger } from '../../src/shared/logger.ts';
import { createTestDatabase, type TestDatabase } from '../database/test-database.ts';
import { collect, ids, mustAppend, readStream, TestProject } from './contract/test-project.ts';
import { EventStoreStandIn } from './eventstoredb/stand-in.ts';

const logger = createLogger('silent');
/** A log can be copied into once: each test takes the next. */
const databases: readonly TestDatabase[] = Array.from({ length: 9 }, () => createTestDatabase());
const unused = [...databases];
let standIn: EventStoreStandIn;

beforeAll(async () => {
  standIn = await EventStoreStandIn.start();
});
afterAll(() => standIn.close());

type Kind = 'PostgreSQL' | 'EventStoreDB';

async function newLog(kind: Kind): Promise<OpenEventStore> {
  if (kind === 'EventStoreDB') {
    const prefix = `copy${randomBytes(6).toString('hex')}.`;
    const url = `${standIn.connectionString}&streamPrefix=${prefix}`;
    const log = await openEventStoreDB({ url, logger, categories: ['contract'] });
    onTestFinished(() => log.close());
    return log;
  }
  const testDatabase = unused.pop();
  if (testDatabase === undefined) throw new Error('more databases are needed');
  const database = openDatabase({ url: testDatabase.url, logger, maxConnections: 3 });
  await migrate(database, logger);
  const log = await openPostgresEventStore({ database, logger });
  onTestFinished(async () => {
    await log.close();
    await database.close();
  });
  return log;
}

const going = new AbortController().signal;

function copy(from: OpenEventStore, to: OpenEventStore, signal = going): Promise<Position> {
  return copyLog({ from, to, signal, onProgress: () => undefined });
}

function digest(log: OpenEventStore) {
  return digestOf(log, { signal: going, onProgress: () => undefined });
}

async function eventsOf(log: OpenEventStore): Promise<Omit<RecordedEvent, 'position'>[]> {
  const batches = await collect(log.readAll({ after: BEGINNING }));
  return batches.flatMap(({ events }) => events.map(({ position: _position, ...event }) => event));
}

/** Some 1,500 events in 40 streams, in an order that no single stream has. */
async function fill(log: OpenEventStore, project: TestProject): Promise<void> {
  for (let round = 0; round < 15; round += 1) {
    await log.append(
      Array.from({ length: 40 }, (_, stream) => ({
        stream: project.stream(String(stream)),
        events: project.events(1 + ((stream + round) % 4)),
        expectedRevision: 'any' as const,
      })),
    );
  }
}

describe.each<[Kind, Kind]>([
  ['PostgreSQL', 'EventStoreDB'],
  ['EventStoreDB', 'PostgreSQL'],
  ['PostgreSQL', 'PostgreSQL'],
  ['EventStoreDB', 'EventStoreDB'],
])('a log copied from %s to %s', (fromKind, toKind) => {
  test('holds the same events in the same order, with their ids, revisions and times', async () => {
    const [from, to] = [await newLog(fromKind), await newLog(toKind)];
    const project = new TestProject();
    const event = project.event({ text: 'Grüße \u0000 🛰️ \ud800', __proto__: 1, 10: 1, 9: 2 });
    await mustAppend(from, project.stream('odd/%'), [event]);
    await fill(from, project);
    // What one append takes is counted in bytes: of characters beyond ASCII, and of numbers.
    for (const data of [
      { text: '日'.repeat(130_000) },
      { list: Array.from({ length: 40_000 }, () => Math.PI) },
    ]) {
      for (let count = 0; count < 3; count += 1) {
        await mustAppend(from, project.stream('large'), [project.event(data)]);
      }
    }

    await copy(from, to);

    expect(await eventsOf(to)).toEqual(await eventsOf(from));
    expect(await digest(to)).toEqual(await digest(from));
    expect(to.logId).not.toBe(from.logId);

    // As of each time it answers the same, whatever its own clock says.
    const source = (await collect(from.readAll({ after: BEGINNING }))).flatMap((b) => b.events);
    const target = (await collect(to.readAll({ after: BEGINNING }))).flatMap((b) => b.events);
    for (let index = 0; index < source.length; index += 97) {
      const time = source[index]?.recordedAt ?? new Date();
      const [there, here] = [await from.positionAt(time), await to.positionAt(time)];
      expect(ids(target.filter(({ position }) => position <= here))).toEqual(
        ids(source.filter(({ position }) => position <= there)),
      );
    }

    // And it continues as a log of its own.
    const stream = project.stream('0');
    const { revision } = (await readStream(to, stream)).at(-1) ?? {};
    await mustAppend(to, stream, project.events(1), revision);
    expect((await eventsOf(to)).at(-1)?.recordedAt.getTime()).toBeGreaterThanOrEqual(
      source.at(-1)?.recordedAt.getTime() ?? Infinity,
    );
  });

  test('is copied on from where an interruption left it, and as it grows', async () => {
    const [from, to] = [await newLog(fromKind), await newLog(toKind)];
    const project = new TestProject();
    await fill(from, project);
    const interruption = new AbortController();

    await copyLog({
      from,
      to,
      signal: interruption.signal,
      onProgress: ({ events }) => {
        if (events > 0) interruption.abort();
      },
    });
    const first = await digest(to);
    await copy(from, to);
    expect(await eventsOf(to)).toEqual(await eventsOf(from));
    expect(first.events).toBeGreaterThan(0);

    await fill(from, project);
    await copy(from, to);
    await copy(from, to);
    expect(await digest(to)).toEqual(await digest(from));
  });
});

describe('a copy is refused', () => {
  test.each<Kind>(['PostgreSQL', 'EventStoreDB'])(
    'by a log in %s that holds events of its own, or copies of another',
    async (kind) => {
      const [from, other, to] = [
        await newLog('EventStoreDB'),
        await newLog('EventStoreDB'),
        await newLog(kind),
      ];
      const project = new TestProject();
      for (const log of [from, other]) {
        await mustAppend(log, project.stream('a'), project.events(3));
      }
      await copy(from, to);
      await expect(copy(other, to)).rejects.toThrow('the copy of another log');
      await expect(copy(to, to)).rejects.toThrow('the same log');

      await mustAppend(to, project.stream('b'), project.events(1));
      const before = await eventsOf(to);
      await expect(copy(from, to)).rejects.toThrow('events of its own');
      expect(await eventsOf(to)).toEqual(before);
    },
  );
});
