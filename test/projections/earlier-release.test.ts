import { randomUUID } from 'node:crypto';
import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { runner } from 'node-pg-migrate';
import pg from 'pg';
import { afterAll, beforeEach, expect, test, vi } from 'vitest';
import { openDatabase, type Database } from '../../src/database/database.ts';
import { migrate } from '../../src/database/migrations.ts';
import { createLogger } from '../../src/shared/logger.ts';
import { createTestDatabase } from '../database/test-database.ts';
import { openTestLog } from '../event-store/test-log.ts';
import { EVENTUALLY, Notes, numbered } from './notes.ts';
import { startReadProcess, type ReadProcess } from './read-process.ts';

const logger = createLogger('silent');
const testDatabase = createTestDatabase();
const database: Database = openDatabase({ url: testDatabase.url, logger, maxConnections: 3 });
afterAll(() => database.close());

/** The last migration of the release in which a swap renamed schemas. */
const MIGRATIONS_OF_EARLIER_RELEASE = 7;

const MIGRATIONS = fileURLToPath(new URL('../../migrations', import.meta.url));

async function runMigrations(direction: 'up' | 'down', count: number): Promise<void> {
  const client = new pg.Client({ connectionString: testDatabase.url });
  await client.connect();
  await runner({
    dbClient: client,
    dir: MIGRATIONS,
    direction,
    count,
    migrationsSchema: 'ledger',
    createMigrationsSchema: true,
    migrationsTable: 'migrations',
    log: () => undefined,
  });
  await client.end();
}

/** A generation as the earlier release made and named it. */
async function earlierGeneration(
  notes: Notes,
  logId: string,
  status: 'live' | 'building',
): Promise<{ schema: string; generation: number }> {
  const generation = status === 'live' ? 4 : 5;
  const schema = `read_${notes.name}_${status === 'live' ? 'v1' : 'g5'}`;
  await database.query({
    text: `
      insert into engine.generations (projection, version, generation, log_id, status, is_indexed)
      values ($1, 1, $2, $3, $4::text, $4::text = 'live')`,
    values: [notes.name, generation, logId, status],
  });
  await database.query({ text: `create schema ${schema}` });
  await database.query({
    text: `
      create table ${schema}.checkpoint (
        singleton  boolean     primary key default true check (singleton),
        position   bigint      not null,
        token      bigint      not null,
        updated_at timestamptz not null
      )`,
  });
  await database.query({ text: `insert into ${schema}.checkpoint values (true, 0, 0, now())` });
  await database.query({
    text: `
      create table ${schema}.notes (
        position bigint primary key,
        note     text   not null,
        writer   text   not null
      )`,
  });
  return { schema, generation };
}

function prepare(notes: Notes): Promise<ReadProcess> {
  const projections = [notes.projection('this release', { isUnique: true })];
  return startReadProcess({ url: testDatabase.url, projections });
}

async function run(notes: Notes): Promise<ReadProcess> {
  const process = await prepare(notes);
  process.engine.start();
  return process;
}

async function logId(): Promise<string> {
  const log = await openTestLog({ databaseUrl: testDatabase.url, database, logger });
  await log.close();
  return log.logId;
}

async function ended({ administration }: ReadProcess, replayId: string): Promise<void> {
  await vi.waitFor(async () => {
    const { progress } = await administration.replay('rebuild', replayId);
    expect(progress.status).toBe('completed');
  }, EVENTUALLY);
}

beforeEach(async () => {
  await database.query({ text: 'drop schema if exists ledger, engine cascade' });
  await runMigrations('up', MIGRATIONS_OF_EARLIER_RELEASE);
});

test('tables of the release that renamed schemas are read, written and replaced', async () => {
  const notes = new Notes(database);
  const { schema } = await earlierGeneration(notes, await logId(), 'live');
  await migrate(database, logger);

  const process = await run(notes);
  await notes.append(process.store, numbered(3));
  await notes.eventuallyNotes(numbered(3));
  expect(await notes.schema()).toBe(schema);
  expect((await notes.read(process)).value).toHaveLength(3);

  const replayId = randomUUID();
  await process.administration.requestReplay(notes.name, { replayId, kind: 'rebuild', actor: 'k' });
  await ended(process, replayId);
  expect(await notes.schema()).toBe(`read_${notes.name}_g5`);
  expect((await notes.read(process)).value).toHaveLength(3);
  await vi.waitFor(
    async () =>
      expect(
        await database.query({
          text: 'select from pg_namespace where nspname = $1',
          values: [schema],
        }),
      ).toEqual([]),
    EVENTUALLY,
  );
});

test('a rebuild that the earlier release has begun is carried out', async () => {
  const notes = new Notes(database);
  const id = await logId();
  await earlierGeneration(notes, id, 'live');
  const { schema, generation } = await earlierGeneration(notes, id, 'building');
  const replayId = randomUUID();
  await database.query({
    text: `
      insert into engine.replays (replay_id, kind, projection, version, generation, status, actor)
      values ($1, 'rebuild', $2, 1, $3, 'running', 'k')`,
    values: [replayId, notes.name, generation],
  });
  await migrate(database, logger);

  const process = await run(notes);
  await notes.append(process.store, numbered(3));
  await ended(process, replayId);

  await notes.eventuallyNotes(numbered(3));
  expect(await notes.schema()).toBe(schema);
});

test('a generation that a process of the earlier release makes after the migration is used', async () => {
  const notes = new Notes(database);
  const id = await logId();
  await migrate(database, logger);
  const { schema } = await earlierGeneration(notes, id, 'live');

  const process = await prepare(notes);
  expect(await notes.status(process)).toMatchObject({ generation: 4, eventsPerSecond: 0 });
  expect((await notes.read(process)).value).toEqual([]);
  process.engine.start();
  await notes.append(process.store, numbered(3));

  await notes.eventuallyNotes(numbered(3));
  expect(await notes.schema()).toBe(schema);
});

test('the migration can be reverted, and tables have the names of that release again', async () => {
  const notes = new Notes(database);
  await migrate(database, logger);
  const process = await run(notes);
  await notes.append(process.store, numbered(3));
  await notes.eventuallyNotes(numbered(3));
  await process.stop();

  await runMigrations('down', readdirSync(MIGRATIONS).length - MIGRATIONS_OF_EARLIER_RELEASE);

  const [{ count } = { count: 0n }] = await database.query<{ count: bigint }>({
    text: `select count(*) from read_${notes.name}_v1.notes`,
  });
  expect(count).toBe(3n);
});
