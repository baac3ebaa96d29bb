import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { openDatabase, type Database } from '../../src/database/database.ts';
import { migrate } from '../../src/database/migrations.ts';
import { sql } from '../../src/database/sql.ts';
import { projectionDecider } from '../../src/commands/projections/decider.ts';
import { projectionStream } from '../../src/event-store/stream-name.ts';
import type { Position } from '../../src/event-store/port.ts';
import type { Stop } from '../../src/projections/engine/running/stops.ts';
import type { Projection } from '../../src/projections/engine/projection.ts';
import type { Replay, ReplayKind } from '../../src/projections/engine/replaying/replays.ts';
import { createLogger } from '../../src/shared/logger.ts';
import { createTestDatabase } from '../database/test-database.ts';
import { closedGate } from '../gate.ts';
import { appendEvent, EVENTUALLY, Notes, numbered } from './notes.ts';
import { startReadProcess, type ReadProcess } from './read-process.ts';

const logger = createLogger('silent');
const testDatabase = createTestDatabase();

let database: Database;

beforeAll(async () => {
  database = openDatabase({ url: testDatabase.url, logger, maxConnections: 3 });
  await migrate(database, logger);
});
afterAll(() => database.close());

function prepare(...projections: Projection[]): Promise<ReadProcess> {
  return startReadProcess({ url: testDatabase.url, projections });
}

async function run(...projections: Projection[]): Promise<ReadProcess> {
  const process = await prepare(...projections);
  process.engine.start();
  return process;
}

function request(process: ReadProcess, notes: Notes, kind: ReplayKind): Promise<Replay> {
  const replayId = randomUUID();
  return process.administration.requestReplay(notes.name, { replayId, kind, actor: 'k1' });
}

async function ended(
  { administration }: ReadProcess,
  { kind, replayId }: Replay,
): Promise<Replay['progress']> {
  let { progress } = await administration.replay(kind, replayId);
  await vi.waitFor(async () => {
    ({ progress } = await administration.replay(kind, replayId));
    expect(progress.status).not.toBe('running');
  }, EVENTUALLY);
  return progress;
}

async function skip(process: ReadProcess, { name }: Notes, stop: Stop): Promise<void> {
  const { eventId, position, message: error } = stop;
  await process.handler.execute(
    projectionDecider,
    projectionStream(name),
    { type: 'ProjectionEventSkipped', data: { projection: name, eventId, position, error } },
    { projectId: '_installation', actor: 'k1', correlationId: 'r1' },
  );
}

async function schemasOf({ name }: Notes): Promise<string[]> {
  const rows = await database.query<{ schema: string }>({
    text: `
      select nspname as schema
      from pg_namespace
      where nspname like $1 || '%'
      order by nspname`,
    values: [`read_${name}_`],
  });
  return rows.map(({ schema }) => schema);
}

async function eventuallyOnlyLive(notes: Notes): Promise<void> {
  await vi.waitFor(
    async () => expect(await schemasOf(notes)).toEqual([await notes.schema()]),
    EVENTUALLY,
  );
  expect(
    await database.query({
      text: 'select generation from engine.generations where projection = $1',
      values: [notes.name],
    }),
  ).toHaveLength(1);
}

/** A projection with a table and an index that say which release made them. */
function nextRelease(notes: Notes, writer: string): Projection {
  return { ...notes.projection(writer, { isUnique: true }), version: 2 };
}

describe('a rebuild', () => {
  test('makes the tables what the log says, whatever they held', async () => {
    const notes = new Notes(database);
    const process = await run(notes.projection('one', { isUnique: true }));
    await notes.append(process.store, numbered(20));
    await notes.eventuallyNotes(numbered(20));
    await database.query({ text: `delete from ${await notes.schema()}.notes where note = '7'` });

    const progress = await ended(process, await request(process, notes, 'rebuild'));

    expect(progress).toMatchObject({ status: 'completed' });
    expect(progress.eventsPerSecond).toBeGreaterThan(0);
    expect(await notes.noted()).toEqual(numbered(20));
    expect(await notes.status(process)).toMatchObject({ generation: 2, status: 'live' });
    await eventuallyOnlyLive(notes);
    await notes.append(process.store, ['20']);
    await notes.eventuallyNotes(numbered(21));
  });

  test('is not seen before it is done, and holds nothing up meanwhile', async () => {
    const notes = new Notes(database);
    const gate = closedGate();
    let isRebuilding = false;
    const process = await run(
      notes.projection('one', {
        isUnique: true,
        // The first note alone again: that is the replay.
        before: async (events) => {
          if (isRebuilding && events[0]?.data['note'] === '0') await gate.passed;
        },
      }),
    );
    await notes.append(process.store, numbered(700));
    await notes.eventuallyNotes(numbered(700));

    isRebuilding = true;
    const replay = await request(process, notes, 'rebuild');
    await vi.waitFor(async () => expect(await schemasOf(notes)).toHaveLength(2), EVENTUALLY);
    await notes.append(process.store, ['700']);
    await notes.eventuallyNotes(numbered(701));
    expect((await notes.read(process)).value).toHaveLength(701);
    gate.open();

    expect(await ended(process, replay)).toMatchObject({ status: 'completed' });
    // As far as the tables before at least, which held them all.
    expect(await notes.noted()).toEqual(numbered(701));
  });

  test('is carried out by one process, and taken over from one that stops', async () => {
    const notes = new Notes(database);
    const gate = closedGate();
    const one = await prepare(
      notes.projection('one', { isUnique: true, after: () => gate.passed }),
    );
    await notes.append(one.store, numbered(700));
    one.engine.startReplays();
    const replay = await request(one, notes, 'rebuild');
    await vi.waitFor(
      async () =>
        expect(
          await database.query({
            text: `
              select from engine.leases
              where projection = $1 and generation = $2 and holder = $3`,
            values: [notes.name, replay.generation, one.processId],
          }),
        ).toHaveLength(1),
      EVENTUALLY,
    );

    const two = await run(notes.projection('two', { isUnique: true }));
    gate.open();
    await one.stop();

    expect(await ended(two, replay)).toMatchObject({ status: 'completed' });
    await notes.eventuallyNotes(numbered(700));
  });

  test('runs one at a time, and the same request again is the same one', async () => {
    const notes = new Notes(database);
    const process = await prepare(notes.projection('one'));
    const replay = await request(process, notes, 'rebuild');

    await expect(request(process, notes, 'rebuild')).rejects.toMatchObject({
      code: 'projection-busy',
      conflicting: { kind: 'rebuild', id: replay.replayId },
    });
    await expect(request(process, notes, 'verification')).rejects.toMatchObject({
      code: 'projection-busy',
    });

    const { replayId } = replay;
    const same = await process.administration.requestReplay(notes.name, {
      replayId,
      kind: 'rebuild',
      actor: 'k1',
    });
    expect(same.generation).toBe(replay.generation);
  });

  test('that is cancelled leaves nothing behind', async () => {
    const notes = new Notes(database);
    const gate = closedGate();
    let isRebuilding = false;
    const process = await run(
      notes.projection('one', {
        after: async () => {
          if (isRebuilding) await gate.passed;
        },
      }),
    );
    await notes.append(process.store, numbered(600));
    await notes.eventuallyNotes(numbered(600));
    isRebuilding = true;
    const replay = await request(process, notes, 'rebuild');
    await vi.waitFor(async () => expect(await schemasOf(notes)).toHaveLength(2), EVENTUALLY);

    expect(await process.administration.cancel(replay)).toBe(true);
    gate.open();

    await eventuallyOnlyLive(notes);
    expect(await ended(process, replay)).toMatchObject({ status: 'cancelled' });
    expect(await process.administration.cancel(replay)).toBe(false);
    expect(await notes.status(process)).toMatchObject({ generation: 1 });
    expect(await request(process, notes, 'rebuild')).toMatchObject({ generation: 3 });
  });

  test('that is cancelled stops at its next batch', async () => {
    const notes = new Notes(database);
    const [hasBegun, gate] = [closedGate(), closedGate()];
    let batches = 0;
    const process = await prepare(
      notes.projection('one', {
        async before() {
          batches += 1;
          hasBegun.open();
          await gate.passed;
        },
      }),
    );
    // Read in windows that begin at 200.
    await Promise.all(numbered(2_000).map((note) => appendEvent(process.store, notes.type, note)));
    const replay = await request(process, notes, 'rebuild');
    process.engine.startReplays();
    await hasBegun.passed;

    const cancelling = process.administration.cancel(replay);
    gate.open();

    expect(await cancelling).toBe(true);
    await eventuallyOnlyLive(notes);
    expect(batches).toBeLessThanOrEqual(2);
  });

  test('takes the place of tables that are written and read without a rest', async () => {
    const notes = new Notes(database);
    const process = await run(
      notes.projection('one', {
        isUnique: true,
        after: () => new Promise((resolve) => setTimeout(resolve, 50)),
      }),
    );
    const load = { isOver: false };
    const writing = (async () => {
      for (let note = 0; !load.isOver; note += 1) await notes.append(process.store, [String(note)]);
    })();
    // More than there are connections.
    const reading = numbered(20).map(async () => {
      let last = 0n;
      while (!load.isOver) {
        const { position } = await process.models.read(
          sql`select count(*) as notes from ${notes.table}`,
        );
        expect(position).toBeGreaterThanOrEqual(last);
        last = position;
      }
    });

    const progress = await ended(process, await request(process, notes, 'rebuild'));
    load.isOver = true;
    await Promise.all([writing, ...reading]);

    expect(progress).toMatchObject({ status: 'completed' });
  });

  test('continues when its connection is lost at any time', async () => {
    const notes = new Notes(database);
    const process = await run(notes.projection('one', { isUnique: true }));
    await Promise.all(numbered(1_500).map((note) => appendEvent(process.store, notes.type, note)));
    const replay = await request(process, notes, 'rebuild');

    const cut = setInterval(() => {
      void database.query({
        text: `
          select pg_terminate_backend(pid)
          from pg_stat_activity
          where query ~ 'lock table|update checkpoint'
            and query !~ 'pg_stat_activity'`,
      });
    }, 15);
    const stopCutting = setTimeout(() => clearInterval(cut), 1_000);
    const progress = await ended(process, replay);
    clearInterval(cut);
    clearTimeout(stopCutting);

    expect(progress).toMatchObject({ status: 'completed' });
    await vi.waitFor(async () => expect(await notes.rows()).toHaveLength(1_500), EVENTUALLY);
  });

  test('fails at an event that it cannot apply, and the live tables stay', async () => {
    const notes = new Notes(database);
    let isPoison = false;
    const process = await run(
      notes.projection('one', {
        async before(events) {
          if (isPoison && events.some(({ data }) => data['note'] === '600')) {
            throw new Error('this cannot be noted');
          }
        },
      }),
    );
    await notes.append(process.store, numbered(700));
    await notes.eventuallyNotes(numbered(700));
    isPoison = true;

    const progress = await ended(process, await request(process, notes, 'rebuild'));

    expect(progress).toMatchObject({
      status: 'failed',
      error: expect.stringMatching(/event \S+ at position \d+: this cannot be noted/),
    });
    await eventuallyOnlyLive(notes);
    expect(await notes.noted()).toEqual(numbered(700));
  });

  test('makes its indexes, after the bulk', async () => {
    const notes = new Notes(database);
    const process = await run({
      ...notes.projection('one'),
      indexes: 'create index notes_by_text on notes (note)',
    });
    await notes.append(process.store, numbered(3));
    await ended(process, await request(process, notes, 'rebuild'));

    expect(
      await database.query({
        text: `select from pg_indexes where schemaname = $1 and indexname = 'notes_by_text'`,
        values: [await notes.schema()],
      }),
    ).toHaveLength(1);
  });
});

describe('a release with another version of a projection', () => {
  test('builds its own tables, while the older one continues writing and answering', async () => {
    const notes = new Notes(database);
    const older = await run(notes.projection('older'));
    await notes.append(older.store, numbered(5));
    await notes.eventuallyNotes(numbered(5));

    const newer = await prepare(nextRelease(notes, 'newer'));
    // Nothing is built yet: the older tables answer in the newer process, too.
    expect((await notes.read(newer)).value).toHaveLength(5);
    expect(await newer.administration.status(notes.name)).toMatchObject({ version: 1 });

    newer.engine.start();
    await vi.waitFor(
      async () =>
        expect(await newer.administration.status(notes.name)).toMatchObject({ version: 2 }),
      EVENTUALLY,
    );
    const [position] = await notes.append(older.store, ['5']);

    expect((await notes.read(older, position)).value).toHaveLength(6);
    expect((await notes.read(newer, position)).value).toHaveLength(6);
    expect(await notes.writers()).toEqual(['older']);
    expect(await older.administration.status(notes.name)).toMatchObject({ version: 1 });
    expect(await schemasOf(notes)).toEqual([await notes.schema(1), await notes.schema(2)]);
  });

  test('says that it is behind where the older tables do not fit its queries', async () => {
    const notes = new Notes(database);
    await prepare(notes.projection('older'));
    const newer = await prepare(nextRelease(notes, 'newer'));

    await expect(newer.models.read(sql`select mood from ${notes.table}`)).rejects.toMatchObject({
      code: 'read-model-behind',
    });
  });

  test('drops the tables that no release has answered from for long', async () => {
    const notes = new Notes(database);
    const older = await run(notes.projection('older'));
    await notes.append(older.store, ['0']);
    await notes.eventuallyNotes(['0']);
    await older.stop();
    const newer = await run(nextRelease(notes, 'newer'));
    await vi.waitFor(
      async () =>
        expect(await newer.administration.status(notes.name)).toMatchObject({ version: 2 }),
      EVENTUALLY,
    );
    await newer.stop();
    const both = [await notes.schema(1), await notes.schema(2)];
    expect(await schemasOf(notes)).toEqual(both);

    await database.query({
      text: `
        update engine.generations
        set used_at = now() - interval '11 minutes'
        where projection = $1 and version = 1`,
      values: [notes.name],
    });
    await run(nextRelease(notes, 'newest'));

    await vi.waitFor(
      async () => expect(await schemasOf(notes)).toEqual([await notes.schema(2)]),
      EVENTUALLY,
    );
  });

  test('ends a replay of a release that nobody has run for long', async () => {
    const notes = new Notes(database);
    const older = await prepare(notes.projection('older'));
    await notes.append(older.store, ['0']);
    const replay = await request(older, notes, 'rebuild');
    await older.stop();
    const newer = await run(nextRelease(notes, 'newer'));
    await vi.waitFor(
      async () =>
        expect(await newer.administration.status(notes.name)).toMatchObject({ version: 2 }),
      EVENTUALLY,
    );
    expect((await newer.administration.replay('rebuild', replay.replayId)).progress).toMatchObject({
      status: 'running',
    });
    await newer.stop();

    await database.query({
      text: `
        update engine.generations
        set used_at = now() - interval '11 minutes'
        where projection = $1 and version = 1`,
      values: [notes.name],
    });
    const newest = await run(nextRelease(notes, 'newest'));

    expect(await ended(newest, replay)).toMatchObject({
      status: 'failed',
      error: expect.stringContaining('version 1'),
    });
    await vi.waitFor(
      async () => expect(await schemasOf(notes)).toEqual([await notes.schema(2)]),
      EVENTUALLY,
    );
  });

  test('answers from tables that nobody moves on, and waits for what is asked for only', async () => {
    const notes = new Notes(database);
    const older = await run(notes.projection('older'));
    await notes.append(older.store, ['0']);
    await notes.eventuallyNotes(['0']);
    await older.stop();
    const newer = await startReadProcess({
      url: testDatabase.url,
      projections: [nextRelease(notes, 'newer')],
      waitForMs: 100,
    });
    const [position] = await notes.append(newer.store, ['1']);

    expect((await notes.read(newer)).value).toHaveLength(1);
    await expect(notes.read(newer, position)).rejects.toMatchObject({ code: 'read-model-behind' });
  });
});

describe('a verification', () => {
  async function verified(process: ReadProcess, notes: Notes) {
    return ended(process, await request(process, notes, 'verification'));
  }

  test('finds nothing in tables that are what the log says', async () => {
    const notes = new Notes(database);
    const process = await run(notes.projection('one', { isUnique: true }));
    await notes.append(process.store, numbered(600));
    await notes.eventuallyNotes(numbered(600));

    expect(await verified(process, notes)).toMatchObject({
      status: 'completed',
      rowCount: 600n,
      differing: [],
    });
    await eventuallyOnlyLive(notes);
  });

  test('names the rows that were changed, added and taken away by hand', async () => {
    const notes = new Notes(database);
    const process = await run(notes.projection('one', { isUnique: true }));
    const positions = await notes.append(process.store, numbered(5));
    await notes.eventuallyNotes(numbered(5));
    const table = `${await notes.schema()}.notes`;
    await database.query({ text: `update ${table} set note = 'other' where note = '1'` });
    await database.query({ text: `delete from ${table} where note = '3'` });
    await database.query({ text: `insert into ${table} values (0, 'mine', 'me')` });
    const key = (index: number) => ({ position: Number(positions[index]) });
    const row = (index: number, note: string) => ({ ...key(index), note, writer: 'one' });

    const progress = await verified(process, notes);

    expect(progress).toMatchObject({ status: 'completed', rowCount: 5n });
    expect(progress.status === 'completed' && progress.differing).toEqual([
      {
        table: 'notes',
        key: { position: 0 },
        live: { position: 0, note: 'mine', writer: 'me' },
        replayed: null,
      },
      { table: 'notes', key: key(1), live: row(1, 'other'), replayed: row(1, '1') },
      { table: 'notes', key: key(3), live: null, replayed: row(3, '3') },
    ]);
    // It has named them, and not touched them.
    expect(await notes.noted()).toEqual(['mine', '0', 'other', '2', '4']);
  });

  test('compares a projection that moves on meanwhile as of one position', async () => {
    const notes = new Notes(database);
    const process = await run(notes.projection('one', { isUnique: true }));
    let isWriting = true;
    const writing = (async () => {
      for (let note = 0; isWriting; note += 1) await notes.append(process.store, [String(note)]);
    })();

    for (let round = 0; round < 3; round += 1) {
      expect(await verified(process, notes)).toMatchObject({ status: 'completed', differing: [] });
    }
    isWriting = false;
    await writing;
  });
});

describe('an event that an admin skips', () => {
  test('is left out by the live projection, and by every replay', async () => {
    const notes = new Notes(database);
    const process = await run(
      notes.projection('one', {
        isUnique: true,
        async before(events) {
          if (events.some(({ data }) => data['note'] === 'poison')) throw new Error('unheard of');
        },
      }),
    );
    await notes.append(process.store, ['0', 'poison', '1']);
    await vi.waitFor(
      async () => expect(await notes.status(process)).toMatchObject({ status: 'stopped' }),
      EVENTUALLY,
    );
    const stop = await process.administration.stopOf(notes.name);

    await skip(process, notes, stop);
    await process.administration.clearStop(notes.name, stop);

    await notes.eventuallyNotes(['0', '1']);
    expect(await notes.status(process)).toMatchObject({ status: 'live', lastError: undefined });
    const rebuilt = await ended(process, await request(process, notes, 'rebuild'));
    expect(rebuilt).toMatchObject({ status: 'completed' });
    expect(await notes.noted()).toEqual(['0', '1']);
    const verified = await ended(process, await request(process, notes, 'verification'));
    expect(verified).toMatchObject({ status: 'completed', differing: [] });
  });

  test('while a rebuild is running that may have applied it, ends that', async () => {
    const notes = new Notes(database);
    const [hasBegun, gate] = [closedGate(), closedGate()];
    let isRebuilding = false;
    const process = await run(
      notes.projection('one', {
        after: async () => {
          if (!isRebuilding) return;
          hasBegun.open();
          await gate.passed;
        },
      }),
    );
    await notes.append(process.store, numbered(600));
    await notes.eventuallyNotes(numbered(600));
    isRebuilding = true;
    const replay = await request(process, notes, 'rebuild');
    await hasBegun.passed;
    await skip(process, notes, { eventId: randomUUID(), position: '1', message: 'unheard of' });
    gate.open();

    expect(await ended(process, replay)).toMatchObject({
      status: 'failed',
      error: expect.stringContaining('skipped meanwhile'),
    });
  });

  test('counts also when the skip came before the stop was written', async () => {
    const notes = new Notes(database);
    const process = await run(
      notes.projection('one', {
        async before(events) {
          if (events.some(({ data }) => data['note'] === 'poison')) throw new Error('unheard of');
        },
      }),
    );
    await notes.append(process.store, ['poison', '1']);
    await vi.waitFor(
      async () => expect(await notes.status(process)).toMatchObject({ status: 'stopped' }),
      EVENTUALLY,
    );

    // Without `clearStop`: as if that had come first.
    await skip(process, notes, await process.administration.stopOf(notes.name));

    await notes.eventuallyNotes(['1']);
    expect(await notes.status(process)).toMatchObject({ status: 'live', lastError: undefined });
  });

  test('is tried again when the admin says so, as often as it fails', async () => {
    const notes = new Notes(database);
    let isPoison = true;
    const process = await run(
      notes.projection('one', {
        async before() {
          if (isPoison) throw new Error('not yet');
        },
      }),
    );
    await notes.append(process.store, ['0']);
    const stopped = () =>
      vi.waitFor(
        async () => expect(await notes.status(process)).toMatchObject({ status: 'stopped' }),
        EVENTUALLY,
      );
    await stopped();
    await process.administration.clearStop(
      notes.name,
      await process.administration.stopOf(notes.name),
    );
    await stopped();

    isPoison = false;
    await process.administration.clearStop(
      notes.name,
      await process.administration.stopOf(notes.name),
    );

    await notes.eventuallyNotes(['0']);
    await expect(process.administration.stopOf(notes.name)).rejects.toMatchObject({
      code: 'projection-not-stopped',
    });
  });
});

describe('a paused projection', () => {
  test('moves no further in any process, until it is resumed', async () => {
    const notes = new Notes(database);
    const one = await run(notes.projection('one'));
    const two = await run(notes.projection('two'));
    await notes.append(one.store, ['0']);
    await notes.eventuallyNotes(['0']);

    await two.administration.pause(notes.name, 'k1');
    const at = await notes.checkpoint();
    const [position] = await notes.append(one.store, ['1']);
    // A takeover would be done by then, and a renewal, too.
    await new Promise((resolve) => setTimeout(resolve, 2_000));
    expect(await notes.checkpoint()).toBe(at);
    expect(await notes.status(one)).toMatchObject({ status: 'paused' });

    await one.administration.resume(notes.name);
    await vi.waitFor(
      async () => expect(await notes.checkpoint()).toBeGreaterThanOrEqual(position as Position),
      EVENTUALLY,
    );
    expect(await notes.noted()).toEqual(['0', '1']);
  });

  test('is rebuilt as any other, stays paused, and is not moved on by that', async () => {
    const notes = new Notes(database);
    const process = await run(notes.projection('one'));
    await notes.append(process.store, ['0']);
    await notes.eventuallyNotes(['0']);
    await process.administration.pause(notes.name, 'k1');
    const at = await notes.checkpoint();
    await notes.append(process.store, ['1']);

    await ended(process, await request(process, notes, 'rebuild'));

    expect(await notes.status(process)).toMatchObject({
      status: 'paused',
      generation: 2,
      position: at,
    });
    expect(await notes.noted()).toEqual(['0']);
    await process.administration.resume(notes.name);
    await notes.eventuallyNotes(['0', '1']);
  });

  test('waits for its resumption with a rebuild that is beyond it already', async () => {
    const notes = new Notes(database);
    const [hasBegun, gate] = [closedGate(), closedGate()];
    const process = await prepare(
      notes.projection('one', {
        after: async () => {
          hasBegun.open();
          await gate.passed;
        },
      }),
    );
    await notes.append(process.store, ['0']);
    const at = await notes.checkpoint();
    const replay = await request(process, notes, 'rebuild');
    process.engine.startReplays();
    await hasBegun.passed;
    await process.administration.pause(notes.name, 'k1');
    gate.open();

    const turns = new Set<bigint>();
    await vi.waitFor(async () => {
      const leases = await database.query<{ token: bigint }>({
        text: 'select token from engine.leases where projection = $1 and generation = $2',
        values: [notes.name, replay.generation],
      });
      for (const { token } of leases) turns.add(token);
      expect(turns.size).toBeGreaterThan(2);
    }, EVENTUALLY);
    expect(await notes.checkpoint()).toBe(at);

    await process.administration.resume(notes.name);
    expect(await ended(process, replay)).toMatchObject({ status: 'completed' });
    expect(await notes.noted()).toEqual(['0']);
  });
});
