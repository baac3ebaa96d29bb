import { beforeAll, describe, expect, onTestFinished, test, vi } from 'vitest';
import { openDatabase, type Database } from '../../src/database/database.ts';
import { render, Sql } from '../../src/database/sql.ts';
import { migrate } from '../../src/database/migrations.ts';
import {
  BEGINNING,
  type NewEvent,
  type OpenEventStore,
  type Position,
  type Write,
} from '../../src/event-store/port.ts';
import {
  openPostgresEventStore,
  type PostgresEventStoreOptions,
} from '../../src/event-store/postgres/postgres-event-store.ts';
import { RecentEvents } from '../../src/event-store/postgres/recent-events.ts';
import { LedgerError } from '../../src/shared/errors.ts';
import { createLogger } from '../../src/shared/logger.ts';
import { cuttableConnection, type CuttableConnection } from '../database/cuttable-connection.ts';
import { createTestDatabase } from '../database/test-database.ts';
import { eventStoreContract } from './contract.ts';
import { Follower } from './contract/follower.ts';
import {
  append,
  collect,
  ids,
  mustAppend,
  readStream,
  stored,
  TestProject,
} from './contract/test-project.ts';

const logger = createLogger('silent');
const testDatabase = createTestDatabase();
const databaseName = new URL(testDatabase.url).pathname.slice(1);

beforeAll(async () => {
  const database = openDatabase({ url: testDatabase.url, logger });
  await migrate(database, logger);
  await database.close();
});

/** A store as a process of its own has it. */
async function openProcess(
  url: string,
  options: Partial<PostgresEventStoreOptions> = {},
): Promise<{ store: OpenEventStore; database: Database; close(): Promise<void> }> {
  const database = openDatabase({ url, logger });
  const store = await openPostgresEventStore({ database, logger, ...options });
  return {
    store,
    database,
    async close() {
      await store.close();
      await database.close();
    },
  };
}

async function openStore(...options: Parameters<typeof openProcess>): Promise<OpenEventStore> {
  const { store, close } = await openProcess(...options);
  onTestFinished(close);
  return store;
}

eventStoreContract('PostgreSQL', async () => {
  const connection = await cuttableConnection(testDatabase.url);
  return {
    open: () => openProcess(connection.url),
    faults: { cutConnections: async () => connection.cut() },
    tearDown: () => connection.close(),
  };
});

describe('the log in PostgreSQL', () => {
  describe.each(['commits', 'rolls back', 'dies'] as const)(
    'when a writer stalls with the appender lock, and then %s',
    (ending) => {
      test('the others wait, reading continues, and a subscription misses nothing', async () => {
        const project = new TestProject();
        const [store, another] = [
          await openStore(testDatabase.url),
          await openStore(testDatabase.url),
        ];
        const after = await store.head();
        const followers = [store, another].map(
          (client) => new Follower(client, { project, after }),
        );
        const first = await mustAppend(store, project.stream('first'), project.events(2));
        const stalled = await stalledWriter();

        const event = project.event();
        const position = await stalled.insert(project.stream('stalled'), event);
        const waiting = [store, another].map((client, index) =>
          mustAppend(client, project.stream(`waiting ${index}`), project.events(3), 'no-stream'),
        );
        await vi.waitFor(async () => expect(await waitersForAppenderLock()).toBe(2), {
          timeout: 40_000,
        });
        for (const follower of followers) await follower.reaches(first.position);
        expect(await store.head()).toBe(first.position);
        expect(await readStream(store, project.stream('stalled'))).toEqual([]);

        await stalled.end(ending);
        const answers = await Promise.all(waiting);

        const last = await store.head();
        expect(answers.map((answer) => answer.position)).toContain(last);
        const streams = ['first', 'stalled', 'waiting 0', 'waiting 1'].map((id) =>
          project.stream(id),
        );
        const recorded = await project.recorded(store, streams);
        expect(recorded.filter(({ id }) => id === event.id).map((found) => found.position)).toEqual(
          ending === 'commits' ? [position] : [],
        );
        expect(recorded).toHaveLength(ending === 'commits' ? 9 : 8);
        for (const follower of followers) {
          await follower.reaches(last);
          expect(follower.events).toEqual(recorded);
        }
      });
    },
  );

  test('positions have no gaps, whatever was refused, cut or rolled back', async () => {
    const { database, close } = await openProcess(testDatabase.url);
    onTestFinished(close);

    const [row] = await database.query<{ events: bigint; first: bigint; last: bigint }>({
      text: `
        select count(*) as events, min(position) as first, max(position) as last
        from ledger.events`,
    });
    expect(row?.events).toBeGreaterThan(0n);
    expect(row).toMatchObject({ first: 1n, last: row?.events });
  });

  test('an append whose answer is lost is stored once, and answered', async () => {
    const project = new TestProject();
    const connection = await cuttable();
    const store = await openStore(connection.url);
    for (const expectedRevision of ['no-stream', 'any'] as const) {
      for (let count = 0; count < 5; count += 1) {
        const stream = project.stream(expectedRevision, String(count));
        const events = project.events(3);
        connection.loseNextAnswer();

        const answer = await append(store, stream, events, expectedRevision);

        const recorded = await readStream(store, stream);
        expect(ids(recorded)).toEqual(ids(events));
        expect(answer).toEqual({
          outcome: 'appended',
          revision: 2n,
          position: recorded.at(-1)?.position,
        });
      }
    }
  });

  test('notifications alone carry news between processes, also after their connection was lost', async () => {
    const project = new TestProject();
    const [writer, reader] = [
      await openStore(testDatabase.url),
      await openStore(testDatabase.url, { pollIntervalMs: 2 ** 30 }),
    ];
    const follower = new Follower(reader, { project, after: await writer.head() });
    const stream = project.stream('device');
    for (const event of project.events(300)) {
      const { position } = await mustAppend(writer, stream, [event]);
      await follower.reaches(position);
    }

    for (let round = 0; round < 3; round += 1) {
      await vi.waitFor(async () => expect(await endListeners()).toBeGreaterThan(0), {
        timeout: 40_000,
      });
      // Nobody listens now: whoever reconnects has to look for what it missed.
      const { position } = await mustAppend(writer, stream, project.events(1));
      await follower.reaches(position);
    }

    expect(follower.events).toEqual(await project.recorded(writer, [stream]));
  });

  test('polling alone carries news between processes', async () => {
    const project = new TestProject();
    const store = await openStore(testDatabase.url);
    const follower = new Follower(store, { project, after: await store.head() });

    for (const event of project.events(3)) {
      // Unlike an append, a bare insert notifies nobody.
      const writer = await stalledWriter();
      const position = await writer.insert(project.stream(event.id), event);
      await writer.end('commits');
      await follower.reaches(position);
    }

    expect(follower.events).toHaveLength(3);
  });

  test('more appends than may wait are refused, and those that wait are stored', async () => {
    const project = new TestProject();
    const store = await openStore(testDatabase.url);
    const stalled = await stalledWriter();
    const writes = (count: number): Write[] =>
      Array.from({ length: count }, (_, ordinal) => ({
        stream: project.stream(String(count), String(ordinal)),
        events: project.events(1),
        expectedRevision: 'no-stream',
      }));
    const first = store.append(writes(1));
    const second = store.append(writes(19_000));

    // In a promise, as every failure of an append.
    const refused = store.append(writes(2_000));
    await expect(refused).rejects.toMatchObject({ name: 'LedgerError', code: 'overloaded' });

    await stalled.end('rolls back');
    (await Promise.all([first, second])).flat().forEach(stored);
    expect(await readStream(store, project.stream('2000', '0'))).toEqual([]);
  });

  test('a closing process stores what it accepted, and refuses the rest', async () => {
    const project = new TestProject();
    const { store, close } = await openProcess(testDatabase.url);
    const stream = project.stream('device');
    const accepted = Promise.all(project.events(20).map((event) => append(store, stream, [event])));

    const closed = close();
    const refused = store.append([{ stream, events: project.events(1), expectedRevision: 'any' }]);

    await expect(refused).rejects.toMatchObject({ name: 'LedgerError', code: 'shutting-down' });
    (await accepted).forEach(stored);
    await closed;
    expect(await readStream(await openStore(testDatabase.url), stream)).toHaveLength(20);
  });

  test('a write that the database cannot take does not fail the writes beside it', async () => {
    const project = new TestProject();
    const store = await openStore(testDatabase.url);
    const write = (id: string, events = project.events(1)): Write => ({
      stream: project.stream(id),
      events,
      expectedRevision: 'any',
    });
    const impossible = write('b', [{ ...project.event(), id: 'no UUID' }]);

    const answers = await Promise.allSettled(
      [write('a'), impossible, write('c')].map((one) => store.append([one])),
    );

    expect(answers.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
  });

  test.each([2n ** 63n, 2n ** 64n, -1n, -2n, -3n])(
    'a revision that no stream can have (%s) is a conflict',
    async (expectedRevision) => {
      const project = new TestProject();
      const store = await openStore(testDatabase.url);

      expect(
        await append(store, project.stream('missing'), project.events(1), expectedRevision),
      ).toEqual({
        outcome: 'conflict',
        actualRevision: 'no-stream',
      });
      await mustAppend(store, project.stream('existing'), project.events(1));
      expect(
        await append(store, project.stream('existing'), project.events(1), expectedRevision),
      ).toEqual({
        outcome: 'conflict',
        actualRevision: 0n,
      });
    },
  );

  test('a subscription waits for a database that is unavailable, and ends when it is aborted', async () => {
    const project = new TestProject();
    const connection = await cuttable();
    const store = await openStore(connection.url);
    const follower = new Follower(store, { project, after: await store.head() });
    const { position } = await mustAppend(store, project.stream('device'), project.events(1));
    await follower.reaches(position);

    await connection.close();
    await follower.stop();

    expect(follower.events).toHaveLength(1);
  });
});

describe('the position at a time', () => {
  test('is that of the last event until then, for every event of the log', async () => {
    const { store, database, close } = await openProcess(testDatabase.url);
    onTestFinished(close);
    const rows = await database.query<{ time: Date; position: bigint }>({
      text: `
        select recorded_at as time, max(position) as position
        from ledger.events
        group by recorded_at
        order by recorded_at`,
    });
    expect(rows.length).toBeGreaterThan(2);

    let before = 0n;
    for (const { time, position } of [...rows.slice(0, 20), ...rows.slice(-20)]) {
      expect(await store.positionAt(time)).toBe(position);
      if (position === rows[0]?.position) {
        expect(await store.positionAt(new Date(time.getTime() - 1))).toBe(before);
      }
      before = position;
    }
    expect(await store.positionAt(new Date('2100-01-01'))).toBe(await store.head());
  });
});

describe('a subscription', () => {
  test('outlives a cancelled statement', async () => {
    const project = new TestProject();
    const database = openDatabase({ url: testDatabase.url, logger });
    onTestFinished(() => database.close());
    let cancelled = 0;
    const store = await openPostgresEventStore({
      database: {
        ...database,
        query(statement) {
          const { text } = statement instanceof Sql ? render(statement) : statement;
          if (!text.includes('where position > ') || cancelled === 2) {
            return database.query(statement);
          }
          cancelled += 1;
          // As the database reports it.
          const cause = Object.assign(new Error('canceling statement'), { code: '57014' });
          return Promise.reject(new LedgerError('store-unavailable', 'busy', { cause }));
        },
      },
      logger,
    });
    onTestFinished(() => store.close());
    const writer = await openStore(testDatabase.url);
    const follower = new Follower(store, { project, after: await store.head() });
    const { position } = await mustAppend(writer, project.stream('device'), project.events(1));

    await follower.reaches(position);

    expect(cancelled).toBe(2);
  });
});

describe('recent events', () => {
  test('are found from any position on, however they were stored', () => {
    const project = new TestProject();
    const recent = new RecentEvents();
    let next = 11n;
    for (const size of [1, 3, 2, 1, 5, 4]) {
      const events = project.events(size);
      const write: Write = { stream: project.stream('a'), events, expectedRevision: 'any' };
      recent.add([
        {
          write,
          firstRevision: next,
          firstPosition: next as Position,
          recordedAt: new Date(),
          size: 1,
        },
      ]);
      next += BigInt(size);
    }

    expect(recent.after(9n as Position, 100)).toBeUndefined();
    for (let after = 10n; after < next - 1n; after += 1n) {
      const found = recent.after(after as Position, 4)?.map(({ position }) => position);
      const count = Math.min(4, Number(next - 1n - after));
      expect(found).toEqual(Array.from({ length: count }, (_, index) => after + BigInt(index + 1)));
    }
    expect(recent.after((next - 1n) as Position, 4)).toBeUndefined();
  });
});

describe('a restored copy of the log', () => {
  test('has the same id, the same events at the same positions, and continues from there', async () => {
    const project = new TestProject();
    const original = await openProcess(testDatabase.url);
    const streams = ['a', 'b', 'c'].map((id) => project.stream(id));
    const repeated = project.events(2);
    for (const stream of streams) await mustAppend(original.store, stream, project.events(5));
    const first = await mustAppend(
      original.store,
      project.stream('repeated'),
      repeated,
      'no-stream',
    );
    const head = await original.store.head();
    const events = (await collect(original.store.readAll({ after: BEGINNING }))).flatMap(
      (batch) => batch.events,
    );
    const checkpoint = events.at(-5)?.position ?? BEGINNING;
    await original.close();

    const url = await testDatabase.copy();

    const store = await openStore(url);
    expect(store.logId).toBe(original.store.logId);
    expect(await store.head()).toBe(head);
    const copied = (await collect(store.readAll({ after: BEGINNING }))).flatMap(
      (batch) => batch.events,
    );
    expect(copied).toEqual(events);
    expect(await append(store, project.stream('repeated'), repeated, 'no-stream')).toMatchObject(
      first,
    );
    const follower = new Follower(store, { project, after: checkpoint });
    const next = await mustAppend(store, project.stream('a'), project.events(1), 4n);
    expect(next.position).toBeGreaterThan(head);
    await follower.reaches(next.position);
    expect(ids(follower.events)).toEqual(
      ids(await project.recorded(store, [...streams, project.stream('repeated')])).slice(-5),
    );
  });
});

async function cuttable(): Promise<CuttableConnection> {
  const connection = await cuttableConnection(testDatabase.url);
  onTestFinished(() => connection.close());
  return connection;
}

/** Holds the appender lock in a transaction that does not end until it is told to. */
async function stalledWriter() {
  const database = openDatabase({ url: testDatabase.url, logger, maxConnections: 1 });
  const connection = await database.connect();
  onTestFinished(async () => {
    await connection.close();
    await database.close();
  });
  await connection.query({ text: 'begin' });
  await connection.query({ text: 'select pg_advisory_xact_lock(7001, 1)' });
  const [{ pid } = { pid: 0 }] = await connection.query<{ pid: number }>({
    text: 'select pg_backend_pid() as pid',
  });
  return {
    async insert(stream: string, event: NewEvent): Promise<Position> {
      const [row] = await connection.query<{ position: Position }>({
        text: `
          insert into ledger.events
            (position, stream, revision, event_id, type, data, metadata, recorded_at)
          select max(position) + 1, $1, 0, $2, $3, $4, $5, max(recorded_at)
          from ledger.events
          returning position`,
        values: [
          stream,
          event.id,
          event.type,
          JSON.stringify(event.data),
          JSON.stringify(event.metadata),
        ],
      });
      if (row === undefined) throw new Error('nothing was inserted');
      return row.position;
    },
    async end(ending: 'commits' | 'rolls back' | 'dies'): Promise<void> {
      if (ending === 'dies') {
        await testDatabase.server.query({ text: 'select pg_terminate_backend($1)', values: [pid] });
      } else {
        await connection.query({ text: ending === 'commits' ? 'commit' : 'rollback' });
      }
    },
  };
}

async function waitersForAppenderLock(): Promise<number> {
  const rows = await testDatabase.server.query({
    text: `
      select pid
      from pg_locks
      where locktype = 'advisory'
        and classid = 7001
        and not granted
        and database = (select oid from pg_database where datname = $1 /* database */)`,
    values: [databaseName],
  });
  return rows.length;
}

/** Ends the connections that listen for notifications; gives how many there were. */
async function endListeners(): Promise<number> {
  const rows = await testDatabase.server.query({
    text: `
      select pg_terminate_backend(pid)
      from pg_stat_activity
      where datname = $1 /* database */
        and query ilike 'listen %'`,
    values: [databaseName],
  });
  return rows.length;
}
