// @module-tag slow
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import {
  openDatabase,
  type Connection,
  type Database,
  type Queryable,
} from '../../src/database/database.ts';
import { migrate } from '../../src/database/migrations.ts';
import type { Projection } from '../../src/projections/engine/projection.ts';
import type { Replay } from '../../src/projections/engine/replaying/replays.ts';
import { createLogger } from '../../src/shared/logger.ts';
import { createTestDatabase } from '../database/test-database.ts';
import type { NotesOptions } from './notes-projection.ts';
import { EVENTUALLY, Notes, numbered } from './notes.ts';
import { startReadProcess, type ReadProcess } from './read-process.ts';

const logger = createLogger('silent');
const testDatabase = createTestDatabase();
const LIMIT_MS = 1_000;
const TOO_SLOW = 'It takes longer than 1 s.';

let database: Database;

beforeAll(async () => {
  database = openDatabase({ url: testDatabase.url, logger, maxConnections: 3 });
  await migrate(database, logger);
});
afterAll(() => database.close());

function prepare(...projections: Projection[]): Promise<ReadProcess> {
  const { url } = testDatabase;
  return startReadProcess({ url, projections, applyTimeoutMs: LIMIT_MS, replayTurnMs: 500 });
}

/** Takes its time for each event, in one statement; for one that is `slow`, too long. */
const sleeping = (secondsOf: (note: unknown) => number): Pick<NotesOptions, 'before'> => ({
  async before(events, tx) {
    const seconds = events.reduce((sum, { data }) => sum + secondsOf(data['note']), 0);
    await tx.query({ text: 'select pg_sleep($1)', values: [seconds] });
  },
});
const slow = (note: unknown): number => (note === 'slow' ? 60 : 0);

async function stopped(process: ReadProcess, notes: Notes) {
  await vi.waitFor(
    async () => expect(await notes.status(process)).toMatchObject({ status: 'stopped' }),
    EVENTUALLY,
  );
  return notes.status(process);
}

async function goOn(process: ReadProcess, { name }: Notes): Promise<void> {
  await process.administration.clearStop(name, await process.administration.stopOf(name));
}

function rebuild(process: ReadProcess, notes: Notes): Promise<Replay> {
  const request = { replayId: randomUUID(), kind: 'rebuild', actor: 'k1' } as const;
  return process.administration.requestReplay(notes.name, request);
}

async function progressOf({ administration }: ReadProcess, { replayId }: Replay) {
  return (await administration.replay('rebuild', replayId)).progress;
}

async function ended(process: ReadProcess, replay: Replay) {
  await vi.waitFor(
    async () => expect((await progressOf(process, replay)).status).not.toBe('running'),
    EVENTUALLY,
  );
  return progressOf(process, replay);
}

describe('an event that cannot be applied in time', () => {
  test('stops its projection with the reason, and no other', async () => {
    const [notes, others] = [new Notes(database), new Notes(database)];
    const beside = new Notes(database, others.name, notes.type);
    let secondsOf = slow;
    const process = await prepare(
      notes.projection('one', {
        isUnique: true,
        ...sleeping((note) => secondsOf(note)),
      }),
      beside.projection('beside'),
    );
    const positions = await notes.append(process.store, ['0', '1', 'slow', '2']);
    process.engine.start();

    expect(await stopped(process, notes)).toMatchObject({
      position: positions[1],
      lastError: { position: String(positions[2]), message: TOO_SLOW },
    });
    expect(await notes.noted()).toEqual(['0', '1']);
    await beside.eventuallyNotes(['0', '1', 'slow', '2']);

    secondsOf = () => 0;
    await goOn(process, notes);
    await notes.eventuallyNotes(['0', '1', 'slow', '2']);
  });

  test('stops it also when no statement takes long, but all of them do', async () => {
    const notes = new Notes(database);
    const process = await prepare(
      notes.projection('one', {
        async before(_events, tx) {
          for (let n = 0; n < 1_000; n += 1) await tx.query({ text: 'select pg_sleep(0.05)' });
        },
      }),
    );
    process.engine.start();
    await notes.append(process.store, ['0']);
    expect(await stopped(process, notes)).toMatchObject({ lastError: { message: TOO_SLOW } });
  });

  test('ends a rebuild with the reason, and the live tables stay', async () => {
    const notes = new Notes(database);
    let secondsOf = (_note: unknown): number => 0;
    const process = await prepare(
      notes.projection('one', { ...sleeping((note) => secondsOf(note)) }),
    );
    process.engine.start();
    await notes.append(process.store, ['0', 'slow', '1']);
    await notes.eventuallyNotes(['0', 'slow', '1']);
    secondsOf = slow;
    const error = expect.stringContaining(TOO_SLOW);
    const replay = await rebuild(process, notes);
    expect(await ended(process, replay)).toMatchObject({ status: 'failed', error });
    expect(await notes.noted()).toEqual(['0', 'slow', '1']);
    expect(await notes.status(process)).toMatchObject({ status: 'live' });
  });
});

test('a server that is slow for everything is waited for, and no event is blamed', async () => {
  const notes = new Notes(database);
  const server = { delayMs: 1_200, transactions: 0 };
  const process = await startReadProcess({
    url: testDatabase.url,
    // Two statements, the second of which would begin after the limit.
    projections: [
      notes.projection('one', {
        before: async (_events, tx) => void (await tx.query({ text: 'select' })),
      }),
    ],
    applyTimeoutMs: LIMIT_MS,
    database: {
      ...database,
      async connect(options) {
        const connection = await database.connect(options);
        return { ...connection, transaction: (work) => slowly(connection, work, server) };
      },
    },
  });
  await notes.append(process.store, ['0']);
  process.engine.start();

  // More than one attempt, a second one, and the look at the server.
  await vi.waitFor(() => expect(server.transactions).toBeGreaterThan(6), EVENTUALLY);
  expect(await notes.status(process)).toMatchObject({ status: 'live', lastError: undefined });

  server.delayMs = 0;
  await notes.eventuallyNotes(['0']);
});

/** A transaction whose statements each take longer, whatever they do. */
function slowly<T>(
  connection: Connection,
  work: (tx: Queryable) => Promise<T>,
  server: { readonly delayMs: number; transactions: number },
): Promise<T> {
  server.transactions += 1;
  return connection.transaction((tx) =>
    work({
      async query(statement, options) {
        await new Promise((resolve) => setTimeout(resolve, server.delayMs));
        return tx.query(statement, options);
      },
    }),
  );
}

test('events that cannot be applied together in time are applied in parts', async () => {
  const notes = new Notes(database);
  const process = await prepare(
    notes.projection('one', { isUnique: true, ...sleeping(() => 0.03) }),
  );
  await notes.append(process.store, numbered(100));
  process.engine.start();
  await notes.eventuallyNotes(numbered(100));
});

/** Holds the table, as `vacuum full` does. */
async function holding(table: string): Promise<Connection> {
  const holder = await database.connect();
  await holder.query({ text: 'begin' });
  await holder.query({ text: `lock table ${table} in access exclusive mode` });
  return holder;
}

test('a table that somebody holds is waited for, and no event is blamed', async () => {
  const notes = new Notes(database);
  let attempts = 0;
  const process = await prepare(
    notes.projection('one', { before: async () => void (attempts += 1) }),
  );
  const holder = await holding(`${await notes.schema()}.notes`);
  process.engine.start();
  await notes.append(process.store, ['0']);
  await vi.waitFor(() => expect(attempts).toBeGreaterThan(3), EVENTUALLY);
  expect(await notes.status(process)).toMatchObject({ status: 'live' });
  await holder.close();
  await notes.eventuallyNotes(['0']);
});

test('a rebuild that cannot continue keeps no other from being carried out', async () => {
  const [stuck, notes] = [new Notes(database), new Notes(database)];
  const process = await prepare(stuck.projection('one'), notes.projection('one'));
  await stuck.append(process.store, ['0']);
  const hanging = await rebuild(process, stuck);
  const other = await rebuild(process, notes);
  const holder = await holding(`read_${stuck.name}_g${hanging.generation}.notes`);
  process.engine.startReplays();

  expect(await ended(process, other)).toMatchObject({ status: 'completed' });
  expect(await progressOf(process, hanging)).toMatchObject({ status: 'running' });
  await holder.close();
  expect(await ended(process, hanging)).toMatchObject({ status: 'completed' });
  expect(await stuck.noted()).toEqual(['0']);
});

test('a rebuild whose batch takes many turns gives others theirs meanwhile, and completes', async () => {
  const [long, notes] = [new Notes(database), new Notes(database)];
  const process = await prepare(
    long.projection('one', {
      isUnique: true,
      // No two events can be applied together within the limit.
      async before(events, tx) {
        for (const _ of events) {
          for (let n = 0; n < 4; n += 1) await tx.query({ text: 'select pg_sleep(0.15)' });
        }
      },
    }),
    notes.projection('one'),
  );
  await long.append(process.store, numbered(8));
  const taking = await rebuild(process, long);
  const other = await rebuild(process, notes);
  process.engine.startReplays();

  expect(await ended(process, other)).toMatchObject({ status: 'completed' });
  const applied = await database.query({
    text: `select from read_${long.name}_g${taking.generation}.notes`,
  });
  expect(applied.length).toBeLessThan(8);
  expect(await ended(process, taking)).toMatchObject({ status: 'completed' });
  expect(await long.noted()).toEqual(numbered(8));
});
