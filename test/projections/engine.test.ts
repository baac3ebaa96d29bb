import {
  BEGINNING,
  type EventStore,
  type Position,
  type RecordedEvent,
} from '../../src/event-store/port.ts';
import { LedgerError } from '../../src/shared/errors.ts';
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from 'vitest';
import { openDatabase, type Database } from '../../src/database/database.ts';
import { migrate } from '../../src/database/migrations.ts';
import { sql, tablesOf } from '../../src/database/sql.ts';
import { createLogger } from '../../src/shared/logger.ts';
import { createTestDatabase } from '../database/test-database.ts';
import { closedGate } from '../gate.ts';
import { appendEvent, EVENTUALLY, Notes, numbered } from './notes.ts';
import { startReadProcess, type ReadProcess, type ReadProcessOptions } from './read-process.ts';

const logger = createLogger('silent');
const testDatabase = createTestDatabase();
const databaseName = new URL(testDatabase.url).pathname.slice(1);

let database: Database;

beforeAll(async () => {
  database = openDatabase({ url: testDatabase.url, logger, maxConnections: 3 });
  await migrate(database, logger);
});
afterAll(() => database.close());

function prepare(options: Omit<ReadProcessOptions, 'url'>): Promise<ReadProcess> {
  return startReadProcess({ url: testDatabase.url, ...options });
}

async function run(options: Omit<ReadProcessOptions, 'url'>): Promise<ReadProcess> {
  const process = await prepare(options);
  process.engine.start();
  return process;
}

test('a read that takes too long is given up, and says so; the next one is answered', async () => {
  const notes = new Notes(database);
  const projection = notes.projection('slowly-read');
  const { models } = await prepare({ projections: [projection], readTimeoutMs: 50 });
  const { checkpoint } = tablesOf(projection.name, ['checkpoint']);
  await expect(models.readAsIs(sql`select pg_sleep(30) from ${checkpoint}`)).rejects.toMatchObject({
    code: 'read-too-slow',
    message: expect.stringContaining('ask for less'),
  });
  expect(await models.readAsIs(sql`select 1 as one from ${checkpoint}`)).toMatchObject({
    value: [{ one: 1 }],
  });
});

describe('effects and checkpoint', () => {
  test('each event takes effect once, in order, from the beginning of the log on', async () => {
    const notes = new Notes(database);
    const process = await prepare({ projections: [notes.projection('one')] });
    await notes.append(process.store, numbered(30));
    process.engine.start();
    await notes.eventuallyNotes(numbered(30));

    const positions = await notes.append(process.store, numbered(30, 30));

    await notes.eventuallyNotes(numbered(60));
    await vi.waitFor(
      async () => expect(await notes.checkpoint()).toBeGreaterThanOrEqual(positions.at(-1)!),
      EVENTUALLY,
    );
  });

  test('move together: while applying fails midway, nothing has moved', async () => {
    const notes = new Notes(database);
    let failures = 0;
    let isFailing = false;
    const process = await run({
      projections: [
        notes.projection('one', {
          async after() {
            if (!isFailing) return;
            failures += 1;
            throw new LedgerError('store-unavailable', 'could not serialize access');
          },
        }),
      ],
    });
    await notes.append(process.store, ['before']);
    await notes.eventuallyNotes(['before']);
    isFailing = true;
    const [position] = await notes.append(process.store, ['during']);

    await vi.waitFor(() => expect(failures).toBeGreaterThanOrEqual(2), EVENTUALLY);
    expect(await notes.noted()).toEqual(['before']);
    expect(await notes.checkpoint()).toBeLessThan(position!);
    expect(await notes.status(process)).toMatchObject({ status: 'live', lastError: undefined });

    isFailing = false;
    await notes.append(process.store, ['after']);
    await notes.eventuallyNotes(['before', 'during', 'after']);
  });

  test('a process that stops finishes the batch at hand', async () => {
    const notes = new Notes(database);
    const [applying, gate] = [closedGate(), closedGate()];
    const process = await run({
      projections: [
        notes.projection('one', {
          async before() {
            applying.open();
            await gate.passed;
          },
        }),
      ],
    });
    const [position] = await notes.append(process.store, ['0']);
    await applying.passed;

    const stopped = process.engine.stop();
    gate.open();
    await stopped;

    expect(await notes.noted()).toEqual(['0']);
    expect(await notes.checkpoint()).toBeGreaterThanOrEqual(position!);
  });

  test('continue where they stood after a restart', async () => {
    const notes = new Notes(database);
    const first = await run({ projections: [notes.projection('first')] });
    await notes.append(first.store, numbered(5));
    await notes.eventuallyNotes(numbered(5));
    await first.stop();

    const second = await run({ projections: [notes.projection('second')] });
    await notes.append(second.store, numbered(5, 5));

    await notes.eventuallyNotes(numbered(10));
    expect((await notes.rows()).map(({ writer }) => writer)).toEqual([
      ...Array<string>(5).fill('first'),
      ...Array<string>(5).fill('second'),
    ]);
  });

  test('processes that start at once make the tables once', async () => {
    const notes = new Notes(database);

    const processes = await Promise.all(
      numbered(4).map((writer) => run({ projections: [notes.projection(writer)] })),
    );

    await notes.append(processes[0]!.store, numbered(3));
    await notes.eventuallyNotes(numbered(3));
  });
});

async function eventAt(store: EventStore, position: Position): Promise<RecordedEvent | undefined> {
  const after = (position - 1n) as Position;
  for await (const { events } of store.readAll({ after, until: position })) return events[0];
  return undefined;
}

async function firstRecordedAt(store: EventStore): Promise<number> {
  for await (const { events } of store.readAll({ after: BEGINNING })) {
    const [first] = events;
    if (first !== undefined) return first.recordedAt.getTime();
  }
  throw new Error('the log is empty');
}

describe('an event that cannot be applied', () => {
  const poisonous = (notes: Notes, writer = 'one') =>
    notes.projection(writer, {
      async before(events) {
        if (events.some(({ data }) => data['note'] === 'poison')) {
          throw new Error('this cannot be noted');
        }
      },
    });

  test('stops its projection behind all that came before it, with its error', async () => {
    const notes = new Notes(database);
    const process = await prepare({ projections: [poisonous(notes)] });
    const positions = await notes.append(process.store, ['0', '1', 'poison', '2']);
    const poison = await eventAt(process.store, positions[2]!);
    process.engine.start();

    await vi.waitFor(
      async () => expect(await notes.status(process)).toMatchObject({ status: 'stopped' }),
      EVENTUALLY,
    );
    expect(await notes.status(process)).toMatchObject({
      position: positions[1],
      lastError: {
        eventId: poison?.id,
        position: String(positions[2]),
        message: 'this cannot be noted',
      },
    });
    expect(await notes.noted()).toEqual(['0', '1']);
  });

  test('stops no other projection', async () => {
    const [notes, others] = [new Notes(database), new Notes(database)];
    const beside = new Notes(database, others.name, notes.type);
    const process = await run({
      projections: [poisonous(notes), beside.projection('beside')],
    });

    await notes.append(process.store, ['0', 'poison', '1']);

    await beside.eventuallyNotes(['0', 'poison', '1']);
    await vi.waitFor(
      async () => expect(await notes.status(process)).toMatchObject({ status: 'stopped' }),
      EVENTUALLY,
    );
    await notes.append(process.store, ['2']);
    await beside.eventuallyNotes(['0', 'poison', '1', '2']);
    expect(await beside.status(process)).toMatchObject({ status: 'live' });
    expect(await notes.noted()).toEqual(['0']);
  });

  test('keeps its projection stopped in every process, also after a restart', async () => {
    const [notes, others] = [new Notes(database), new Notes(database)];
    const beside = new Notes(database, others.name, notes.type);
    const first = await run({ projections: [poisonous(notes)] });
    await notes.append(first.store, ['0', 'poison', '1']);
    await vi.waitFor(
      async () => expect(await notes.status(first)).toMatchObject({ status: 'stopped' }),
      EVENTUALLY,
    );
    await first.stop();

    // This release could apply it; whether to is for an admin to decide.
    const second = await run({
      projections: [notes.projection('second'), beside.projection('second')],
    });
    await notes.append(second.store, ['2']);
    await beside.eventuallyNotes(['0', 'poison', '1', '2']);

    expect(await notes.status(second)).toMatchObject({ status: 'stopped' });
    expect(await notes.noted()).toEqual(['0']);
  });

  test('keeps the lease of its projection, which continues when the stop is cleared', async () => {
    const notes = new Notes(database);
    let isPoison = true;
    const process = await run({
      projections: [
        notes.projection('one', {
          async before() {
            if (isPoison) throw new Error('this cannot be noted');
          },
        }),
      ],
    });
    const token = async (): Promise<unknown> =>
      database.query({
        text: 'select token from engine.leases where projection = $1',
        values: [notes.name],
      });
    await notes.append(process.store, ['0']);
    await vi.waitFor(
      async () => expect(await notes.status(process)).toMatchObject({ status: 'stopped' }),
      EVENTUALLY,
    );
    const before = await token();
    await new Promise((resolve) => setTimeout(resolve, 1_200));
    expect(await token()).toEqual(before);

    isPoison = false;
    await database.query({
      text: 'update engine.generations set stopped = null where projection = $1',
      values: [notes.name],
    });
    await notes.eventuallyNotes(['0']);
  });

  test('is found in the midst of a large batch, also when the database refuses it', async () => {
    const notes = new Notes(database);
    const process = await prepare({
      projections: [
        notes.projection('one', {
          async after(events, tx) {
            const bad = events.filter(({ data }) => data['note'] === '57');
            await tx.query({ text: 'select 1 / $1::integer', values: [bad.length === 0 ? 1 : 0] });
          },
        }),
      ],
    });
    const positions = await notes.append(process.store, numbered(100));
    process.engine.start();

    await vi.waitFor(
      async () => expect(await notes.status(process)).toMatchObject({ status: 'stopped' }),
      EVENTUALLY,
    );
    expect(await notes.noted()).toEqual(numbered(57));
    expect(await notes.status(process)).toMatchObject({
      lastError: { position: String(positions[57]), message: 'division by zero' },
    });
  });

  test('answers who waits for what is behind it that the read model is behind', async () => {
    const notes = new Notes(database);
    const process = await run({ projections: [poisonous(notes)], waitForMs: 300 });
    await notes.append(process.store, ['poison']);

    await expect(notes.read(process)).rejects.toMatchObject({ code: 'read-model-behind' });
  });
});

describe('errors that pass', () => {
  test('connections that are cut do not stop a projection, nor make it apply anything twice', async () => {
    const notes = new Notes(database);
    const process = await run({ projections: [notes.projection('one')] });
    const { store } = process;

    let appended = 0;
    for (let round = 0; round < 5; round += 1) {
      const appending = notes.append(store, numbered(20, appended));
      appended += 20;
      await cutConnections();
      await appending;
      await cutConnections();
      await notes.eventuallyNotes(numbered(appended));
    }

    expect(await notes.status(process)).toMatchObject({ status: 'live', lastError: undefined });
  });

  test('a connection that is cut in the midst of a transaction loses nothing', async () => {
    const notes = new Notes(database);
    let cuts = 0;
    const process = await run({
      projections: [
        notes.projection('one', {
          async after(_events, tx) {
            if (cuts === 3) return;
            cuts += 1;
            const [row] = await tx.query<{ pid: number }>({
              text: 'select pg_backend_pid() as pid',
            });
            await testDatabase.server.query({
              text: 'select pg_terminate_backend($1)',
              values: [row?.pid],
            });
          },
        }),
      ],
    });

    await notes.append(process.store, numbered(4));

    await notes.eventuallyNotes(numbered(4));
    expect(cuts).toBe(3);
    expect(await notes.status(process)).toMatchObject({ status: 'live' });
  });

  test('no connection to be had, right after the lease was: the projection continues later', async () => {
    const notes = new Notes(database);
    const own = openDatabase({ url: testDatabase.url, logger, maxConnections: 4 });
    onTestFinished(() => own.close());
    let refused = 0;
    const process = await run({
      projections: [notes.projection('one')],
      database: {
        ...own,
        connect() {
          if (refused === 2) return own.connect();
          refused += 1;
          return Promise.reject(new LedgerError('store-unavailable', 'Too many connections.'));
        },
      },
    });

    await notes.append(process.store, numbered(3));

    await notes.eventuallyNotes(numbered(3));
    expect(refused).toBe(2);
  });
});

async function cutConnections(): Promise<void> {
  await testDatabase.server.query({
    text: `
      select pg_terminate_backend(pid)
      from pg_stat_activity
      where datname = $1 /* database */
        and pid <> pg_backend_pid()`,
    values: [databaseName],
  });
}

describe('a projection with nothing to do', () => {
  test('moves on with the log', async () => {
    const notes = new Notes(database);
    const process = await run({ projections: [notes.projection('one')] });
    for (let round = 0; round < 3; round += 1) {
      const position = await appendEvent(process.store, 'NothingToNote', '');

      await vi.waitFor(
        async () => expect(await notes.checkpoint()).toBeGreaterThanOrEqual(position),
        EVENTUALLY,
      );
    }
    expect(await notes.status(process)).toMatchObject({
      status: 'live',
      version: 1,
      generation: 1,
      position: await process.store.head(),
      head: await process.store.head(),
      lagSeconds: 0,
    });
  });

  test('moves on also while the log never rests', async () => {
    const notes = new Notes(database);
    const process = await run({ projections: [notes.projection('one')] });
    await notes.append(process.store, ['0']);
    await notes.eventuallyNotes(['0']);
    const checkpoints = new Set([await notes.checkpoint()]);
    let isNeeded = true;
    const appending = numbered(8).map(async (note) => {
      while (isNeeded) await appendEvent(process.store, 'NothingToNote', note);
    });

    await vi
      .waitFor(
        async () => {
          checkpoints.add(await notes.checkpoint());
          expect(checkpoints.size).toBeGreaterThan(10);
        },
        { timeout: 30_000, interval: 5 },
      )
      .finally(() => {
        isNeeded = false;
      });
    await Promise.all(appending);
  });

  test('tells how long the first event beyond it has been waiting', async () => {
    const notes = new Notes(database);
    const process = await prepare({ projections: [notes.projection('never runs')] });
    const position = await appendEvent(process.store, 'NothingToNote', '');

    const health = await notes.status(process);

    expect(health).toMatchObject({ position: 0n, status: 'live' });
    expect(health?.head).toBeGreaterThanOrEqual(position);
    const recordedAt = await firstRecordedAt(process.store);
    expect(health?.lagSeconds).toBeGreaterThan(0);
    expect(health?.lagSeconds).toBeLessThanOrEqual((Date.now() - recordedAt) / 1_000);
  });
});
