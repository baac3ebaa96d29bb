import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, onTestFinished, test, vi } from 'vitest';
import { openDatabase, type Connection, type Database } from '../../src/database/database.ts';
import { migrate } from '../../src/database/migrations.ts';
import { createLogger } from '../../src/shared/logger.ts';
import { createTestDatabase } from '../database/test-database.ts';
import { EVENTUALLY, Notes, numbered } from './notes.ts';
import { startReadProcess, type ReadProcess } from './read-process.ts';

const logger = createLogger('silent');
const testDatabase = createTestDatabase();
let database: Database;

beforeAll(async () => {
  database = openDatabase({ url: testDatabase.url, logger, maxConnections: 4 });
  await migrate(database, logger);
});
afterAll(() => database.close());

/** One process that runs the projection, and one that only reads. */
async function processes(notes: Notes): Promise<{ writing: ReadProcess; reading: ReadProcess }> {
  const options = {
    url: testDatabase.url,
    projections: [notes.projection('one', { isUnique: true })],
  };
  const writing = await startReadProcess(options);
  const reading = await startReadProcess(options);
  writing.engine.start();
  return { writing, reading };
}

async function rebuild({ administration }: ReadProcess, { name }: Notes): Promise<void> {
  const replayId = randomUUID();
  await administration.requestReplay(name, { replayId, kind: 'rebuild', actor: 'k1' });
  await vi.waitFor(async () => {
    const { progress } = await administration.replay('rebuild', replayId);
    expect(progress.status).toBe('completed');
  }, EVENTUALLY);
}

/** Somebody reads all tables of a schema in one transaction, as a dump does. */
async function dumping(schema: string): Promise<Connection> {
  const connection = await database.connect();
  onTestFinished(() => connection.close().catch(() => undefined));
  await connection.query({ text: 'set idle_in_transaction_session_timeout to 0' });
  await connection.query({ text: 'begin isolation level repeatable read' });
  for (const table of ['checkpoint', 'notes']) {
    await connection.query({ text: `select from ${schema}.${table}` });
  }
  return connection;
}

function exists(schema: string): Promise<object[]> {
  return database.query({ text: 'select from pg_namespace where nspname = $1', values: [schema] });
}

test('a rebuild does not wait for a transaction that reads the old tables', async () => {
  const notes = new Notes(database);
  const { writing, reading } = await processes(notes);
  await notes.append(writing.store, numbered(5));
  await notes.eventuallyNotes(numbered(5));
  const old = await notes.schema();
  const dump = await dumping(old);

  await rebuild(writing, notes);
  const [position] = await notes.append(writing.store, ['5']);

  expect((await notes.read(writing)).value).toHaveLength(6);
  expect((await notes.read(reading, position)).value).toHaveLength(6);
  // Whoever began before the swap ends with what it began with.
  expect(await dump.query({ text: `select from ${old}.notes` })).toHaveLength(5);
  expect(await exists(old)).toHaveLength(1);

  await dump.query({ text: 'commit' });
  await vi.waitFor(async () => expect(await exists(old)).toEqual([]), EVENTUALLY);
});

test('a process that did not take part reads the new tables while the old ones remain', async () => {
  const notes = new Notes(database);
  const { writing, reading } = await processes(notes);
  const positions = await notes.append(writing.store, numbered(3));
  await notes.eventuallyNotes(numbered(3));
  await notes.read(reading, positions.at(-1));
  const old = await notes.schema();
  await database.query({ text: `delete from ${old}.notes where note = '1'` });
  expect((await notes.read(reading)).value).toHaveLength(2);
  await dumping(old);

  await rebuild(writing, notes);

  const { value, position } = await notes.read(reading);
  expect(value.map(({ note }) => note)).toEqual(['0', '1', '2']);
  expect(position).toBeGreaterThanOrEqual(positions.at(-1)!);
  expect(await exists(old)).toHaveLength(1);
});

test('a process that did not take part reads the new tables when the old ones are dropped', async () => {
  const notes = new Notes(database);
  const { writing, reading } = await processes(notes);
  const positions = await notes.append(writing.store, numbered(3));
  await notes.eventuallyNotes(numbered(3));
  await notes.read(reading, positions.at(-1));
  const old = await notes.schema();

  await rebuild(writing, notes);
  await vi.waitFor(async () => expect(await exists(old)).toEqual([]), EVENTUALLY);

  expect((await notes.read(reading)).value).toHaveLength(3);
  const [position] = await notes.append(writing.store, ['3']);
  expect((await notes.read(reading, position)).value).toHaveLength(4);
  expect(await notes.status(reading)).toMatchObject({ generation: 2, status: 'live' });
});

test('rebuilds one after the other are not noticed by readers in any process', async () => {
  const notes = new Notes(database);
  const { writing, reading } = await processes(notes);
  const written = await notes.append(writing.store, numbered(20));
  await notes.read(reading, written.at(-1));
  const load = { isOver: false };
  const readers = [writing, reading, reading].map(async (process) => {
    let last = 0n;
    let rows = 20;
    while (!load.isOver) {
      const { value, position } = await notes.read(process);
      expect(position).toBeGreaterThanOrEqual(last);
      expect(value.length).toBeGreaterThanOrEqual(rows);
      last = position;
      rows = value.length;
    }
  });
  const writer = (async () => {
    for (let note = 20; !load.isOver; note += 1) await notes.append(writing.store, [String(note)]);
  })();

  for (let round = 0; round < 4; round += 1) await rebuild(writing, notes);
  load.isOver = true;
  await Promise.all([...readers, writer]);

  expect(await notes.status(writing)).toMatchObject({ generation: 5 });
});
