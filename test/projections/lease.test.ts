import { spawn, type ChildProcessByStdio } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from 'vitest';
import { openDatabase, type Database } from '../../src/database/database.ts';
import { migrate } from '../../src/database/migrations.ts';
import { Leases } from '../../src/projections/engine/running/lease.ts';
import { createLogger } from '../../src/shared/logger.ts';
import { createTestDatabase } from '../database/test-database.ts';
import { closedGate } from '../gate.ts';
import { EVENTUALLY, Notes, numbered } from './notes.ts';
import { startReadProcess, type ReadProcess, type ReadProcessOptions } from './read-process.ts';

const logger = createLogger('silent');
const testDatabase = createTestDatabase();

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

test('leases are not renewed again while that is under way', async () => {
  let queries = 0;
  const gate = closedGate();
  const leases = new Leases(
    {
      ...database,
      async query<Row extends object>(): Promise<Row[]> {
        queries += 1;
        if (queries === 2) await gate.passed;
        return [{ token: 1n, ordinal: 1n }] as unknown as Row[];
      },
    },
    'one',
    logger,
  );
  const lease = await leases.tryAcquire({
    projection: 'p',
    generation: 1,
    version: 1,
    logId: '00000000',
    status: 'live',
    schema: 's',
  });
  await new Promise((resolve) => setTimeout(resolve, 1_400));
  expect(queries).toBe(2);

  gate.open();
  await vi.waitFor(() => expect(queries).toBeGreaterThan(2), EVENTUALLY);
  await lease?.release();
});

describe('two processes', () => {
  test('one runs the projection, the other takes over when the first stops', async () => {
    const notes = new Notes(database);
    const processes = new Map<string, ReadProcess>();
    for (const writer of ['a', 'b']) {
      processes.set(writer, await run({ projections: [notes.projection(writer)] }));
    }
    const { store } = await prepare({ projections: [] });

    for (let round = 0; round < 20; round += 1) {
      await notes.append(store, numbered(5, 5 * round));
      await notes.eventuallyNotes(numbered(5 * (round + 1)));
    }
    const [runs, ...others] = await notes.writers();
    expect(others).toEqual([]);

    await processes.get(runs!)!.stop();
    await notes.append(store, numbered(5, 100));
    await notes.eventuallyNotes(numbered(105));
    expect((await notes.rows()).slice(100).map(({ writer }) => writer)).toEqual(
      Array(5).fill(runs === 'a' ? 'b' : 'a'),
    );
  });

  test.each([
    ['that may be there twice', false],
    ['that are unique', true],
  ] as const)(
    'a stalled holder that comes back neither commits nor stops anything, with rows %s',
    async (_rows, isUnique) => {
      const notes = new Notes(database);
      const [applying, gate] = [closedGate(), closedGate()];
      const stalled = await run({
        projections: [
          notes.projection('stalled', {
            isUnique,
            async before() {
              applying.open();
              await gate.passed;
            },
          }),
        ],
      });
      await notes.append(stalled.store, numbered(3));
      await applying.passed;
      const other = await run({ projections: [notes.projection('other', { isUnique })] });
      await loseLease(notes);
      await notes.eventuallyNotes(numbered(3));

      // It comes back, and then ends: on a slow machine the other one may be late with a renewal,
      // and the lease would rightly be taken by this one, if it continued.
      const stopping = stalled.stop();
      gate.open();

      await notes.append(other.store, numbered(3, 3));
      await notes.eventuallyNotes(numbered(6));
      await stopping;
      expect(await notes.writers()).toEqual(['other']);
      expect(await notes.status(other)).toMatchObject({ status: 'live', lastError: undefined });
    },
  );

  test('a stalled holder does not commit either when its successor has not begun yet', async () => {
    const notes = new Notes(database);
    const [applying, gate] = [closedGate(), closedGate()];
    const log: string[] = [];
    const stalled = await run({
      logger: pino({ level: 'warn' }, { write: (line) => log.push(line) }),
      projections: [
        notes.projection('stalled', {
          async before() {
            applying.open();
            await gate.passed;
          },
        }),
      ],
    });
    await notes.append(stalled.store, numbered(3));
    await applying.passed;
    const before = await notes.checkpoint();
    await giveLease(notes, 'successor');

    gate.open();

    await vi.waitFor(() => expect(log.join('')).toContain('projection waits'), EVENTUALLY);
    expect(await notes.noted()).toEqual([]);
    expect(await notes.checkpoint()).toBe(before);
    await loseLease(notes);
    await notes.eventuallyNotes(numbered(3));
  });

  test('a holder that lost its lease and finds it free again continues', async () => {
    const notes = new Notes(database);
    const process = await run({ projections: [notes.projection('one')] });
    for (let round = 0; round < 3; round += 1) {
      await notes.append(process.store, numbered(2, 2 * round));
      await notes.eventuallyNotes(numbered(2 * round + 2));
      await loseLease(notes);
    }

    await notes.append(process.store, numbered(2, 6));
    await notes.eventuallyNotes(numbered(8));
  });

  test('the projection of a killed process is taken over', async () => {
    const notes = new Notes(database);
    const child = await startChild(notes);
    const process = await prepare({
      projections: [notes.projection('survivor', { isUnique: true })],
    });
    await notes.append(process.store, numbered(3));
    await notes.eventuallyNotes(numbered(3));
    expect(await notes.writers()).toEqual(['child']);
    process.engine.start();

    child.kill('SIGKILL');
    await once(child, 'exit');
    await notes.append(process.store, numbered(3, 3));

    await notes.eventuallyNotes(numbered(6));
    expect((await notes.rows()).map(({ writer }) => writer)).toEqual([
      ...Array<string>(3).fill('child'),
      ...Array<string>(3).fill('survivor'),
    ]);
  });

  test.each(['killed', 'stopped'] as const)(
    'the projection of a process that was %s in the midst of a transaction is taken over',
    async (what) => {
      const notes = new Notes(database);
      const child = await startChild(notes, 'stalls');
      await eventuallyHeldByChild(notes);
      const process = await run({
        projections: [notes.projection('survivor', { isUnique: true })],
      });
      const stalled = new Promise<void>((resolve) => {
        createInterface(child.stdout).on('line', (line) => {
          if (line === 'stalled') resolve();
        });
      });
      await notes.append(process.store, numbered(3));
      await stalled;

      child.kill(what === 'killed' ? 'SIGKILL' : 'SIGSTOP');

      await notes.append(process.store, numbered(3, 3));
      await notes.eventuallyNotes(numbered(6));
      expect(await notes.writers()).toEqual(['survivor']);
      child.kill('SIGCONT');
      await notes.append(process.store, ['6']);
      await notes.eventuallyNotes(numbered(7));
    },
  );
});

/** Another process has the lease, for as long as the test lasts. */
async function giveLease(notes: Notes, holder: string): Promise<void> {
  await database.query({
    text: `
      with given as (
        update engine.leases
        set holder = $2, /* holder */
            token = token + 1,
            expires_at = 'infinity'
        where projection = $1 /* name */
        returning token
      )
      update ${await notes.schema()}.checkpoint
      set token = given.token
      from given`,
    values: [notes.name, holder],
  });
}

/** The lease is over, as if its holder had not renewed it. */
async function loseLease(notes: Notes): Promise<void> {
  await database.query({
    text: `update engine.leases set expires_at = '-infinity' where projection = $1 /* name */`,
    values: [notes.name],
  });
}

/** A process that starts beside the child must not be the first to get the lease. */
async function eventuallyHeldByChild(notes: Notes): Promise<void> {
  await vi.waitFor(async () => {
    const held = await database.query({
      text: `
        select from engine.leases
        where projection = $1 /* name */
          and holder like 'child-%'
          and expires_at > clock_timestamp()`,
      values: [notes.name],
    });
    expect(held).toHaveLength(1);
  }, EVENTUALLY);
}

async function startChild(
  notes: Notes,
  stalls?: 'stalls',
): Promise<ChildProcessByStdio<null, Readable, null>> {
  const script = fileURLToPath(new URL('engine-child.ts', import.meta.url));
  const options = [testDatabase.url, notes.name, notes.type, ...(stalls ? [stalls] : [])];
  const child = spawn(process.execPath, ['--import', 'tsx', script, ...options], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  onTestFinished(() => {
    child.kill('SIGKILL');
  });
  const [first] = (await once(child.stdout, 'data')) as [Buffer];
  expect(first.toString()).toMatch(/^started/);
  return child;
}
