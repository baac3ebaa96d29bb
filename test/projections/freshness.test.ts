import type { NewEvent, Position } from '../../src/event-store/port.ts';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openDatabase, type Database } from '../../src/database/database.ts';
import { migrate } from '../../src/database/migrations.ts';
import { createLogger } from '../../src/shared/logger.ts';
import { createTestDatabase } from '../database/test-database.ts';
import { appendEvent, Notes, numbered } from './notes.ts';
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

describe('freshness', () => {
  test('a process reads what it has just written', async () => {
    const notes = new Notes(database);
    const process = await run({ projections: [notes.projection('one')] });

    for (let count = 1; count <= 40; count += 1) {
      const [position] = await notes.append(process.store, [String(count - 1)]);
      const read = await notes.read(process);

      expect(read.value.map(({ note }) => note)).toEqual(numbered(count));
      expect(read.position).toBeGreaterThanOrEqual(position!);
    }
  });

  test('a process reads what it has just written when another runs the projection', async () => {
    const notes = new Notes(database);
    await run({ projections: [notes.projection('runs')] });
    const process = await prepare({ projections: [notes.projection('reads')] });

    for (let count = 1; count <= 20; count += 1) {
      await notes.append(process.store, [String(count - 1)]);
      expect((await notes.read(process)).value).toHaveLength(count);
    }
  });

  test('a client reads what it wrote through another process, by the position it was told', async () => {
    const notes = new Notes(database);
    const writing = await run({ projections: [notes.projection('runs')] });
    const reading = await prepare({ projections: [notes.projection('reads')] });

    for (let count = 1; count <= 20; count += 1) {
      const [position] = await notes.append(writing.store, [String(count - 1)]);
      const read = await notes.read(reading, position);

      expect(read.value).toHaveLength(count);
      expect(read.position).toBeGreaterThanOrEqual(position!);
    }
  });

  test('a position is reached also when what stands there is nothing to the projection', async () => {
    const notes = new Notes(database);
    const writing = await run({ projections: [notes.projection('runs')] });
    const reading = await prepare({ projections: [notes.projection('reads')] });

    for (const process of [writing, reading]) {
      const position = await appendEvent(process.store, 'NothingToNote', '');
      expect((await notes.read(process, position)).position).toBeGreaterThanOrEqual(position);
    }
  });

  test('rows and position are of the same moment', async () => {
    const notes = new Notes(database);
    const process = await run({ projections: [notes.projection('one')] });
    const { store } = await prepare({ projections: [] });
    const appending = notes.append(store, numbered(300));
    let isAppending = true;
    void appending.finally(() => {
      isAppending = false;
    });
    const reads: Awaited<ReturnType<Notes['read']>>[] = [];
    while (isAppending) reads.push(await notes.read(process));

    const positions = await appending;
    expect(reads.length).toBeGreaterThan(10);
    for (const { value, position } of reads) {
      expect(value).toHaveLength(positions.filter((written) => written <= position).length);
    }
  });

  test('many who wait at once are all served', async () => {
    const notes = new Notes(database);
    const process = await run({ projections: [notes.projection('one')] });

    const reads = await Promise.all(
      numbered(50).map(async (note) => {
        const [position] = await notes.append(process.store, [note]);
        const { value } = await notes.read(process, position);
        return value.map((row) => row.note).includes(note);
      }),
    );

    expect(reads).toEqual(Array(50).fill(true));
  });

  test('who waits in vain is told that the read model is behind', async () => {
    const notes = new Notes(database);
    const process = await prepare({
      projections: [notes.projection('never runs')],
      waitForMs: 200,
    });
    await notes.append(process.store, ['0']);

    await expect(notes.read(process)).rejects.toMatchObject({ code: 'read-model-behind' });

    process.engine.start();
    await notes.eventuallyNotes(['0']);
    expect((await notes.read(process)).value).toHaveLength(1);
  });

  test('a position that nobody has written yet is waited for, and then given up', async () => {
    const notes = new Notes(database);
    const process = await run({ projections: [notes.projection('one')], waitForMs: 200 });
    const beyond = ((await process.store.head()) + 1_000n) as Position;

    await expect(notes.read(process, beyond)).rejects.toMatchObject({
      code: 'read-model-behind',
    });
    expect((await notes.read(process)).value).toEqual([]);
  });

  test('nobody waits for what is nothing to the projection', async () => {
    const notes = new Notes(database);
    const process = await prepare({
      projections: [notes.projection('never runs')],
      waitForMs: 200,
    });
    await appendEvent(process.store, 'NothingToNote', '');

    expect(await notes.read(process)).toEqual({ value: [], position: 0n });
  });

  describe('of one project', () => {
    const behind = { code: 'read-model-behind' };
    const inX = { projectId: 'x' };

    async function paused(subjectOf?: (event: NewEvent) => string) {
      const notes = new Notes(database);
      const projection = { ...notes.projection('never runs'), ...(subjectOf && { subjectOf }) };
      const process = await prepare({ projections: [projection], waitForMs: 200 });
      return { notes, process };
    }

    test('does not wait for what was written in another one', async () => {
      const { notes, process } = await paused();
      const [position] = await notes.append(process.store, ['0'], 'y');
      process.models.answered(position!, 'y');

      expect(await notes.read(process, undefined, inX)).toEqual({ value: [], position: 0n });
      await expect(notes.read(process, undefined, { projectId: 'y' })).rejects.toMatchObject(
        behind,
      );
      await expect(notes.read(process)).rejects.toMatchObject(behind);
      await expect(notes.read(process, position, inX)).rejects.toMatchObject(behind);
    });

    test('waits for what was written or answered in it', async () => {
      const { notes, process } = await paused();
      const [position] = await notes.append(process.store, ['0'], 'x');
      await expect(notes.read(process, undefined, inX)).rejects.toMatchObject(behind);

      const other = await paused();
      other.process.models.answered(position!, 'x');
      await expect(other.notes.read(other.process, undefined, inX)).rejects.toMatchObject(behind);
    });

    test('waits for what was written for the installation', async () => {
      const { notes, process } = await paused();
      await notes.append(process.store, ['0'], '_installation');
      await expect(notes.read(process, undefined, inX)).rejects.toMatchObject(behind);
    });

    test('waits for its own subject only, where it names one', async () => {
      const { notes, process } = await paused(({ data, metadata }) =>
        JSON.stringify([metadata.projectId, data['note']]),
      );
      const aboutSim = (projectId: string, note: string) =>
        notes.read(process, undefined, { projectId, about: [JSON.stringify([projectId, note])] });
      const [position] = await notes.append(process.store, ['0'], 'x');
      process.models.answered(position!, 'y');

      expect((await aboutSim('x', '1')).position).toBeLessThanOrEqual(position!);
      await expect(aboutSim('x', '0')).rejects.toMatchObject(behind);
    });
  });
});
