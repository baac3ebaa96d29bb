import { expect, onTestFinished, test } from 'vitest';
import { openDatabase, type Database } from '../../src/database/database.ts';
import { copyLog } from '../../src/event-store/log-copy.ts';
import { BEGINNING, type OpenEventStore } from '../../src/event-store/port.ts';
import { openPostgresEventStore } from '../../src/event-store/postgres/postgres-event-store.ts';
import { createLogger } from '../../src/shared/logger.ts';
import { migrate } from '../../src/database/migrations.ts';
import { createTestDatabase } from '../database/test-database.ts';
import { mustAppend, TestProject } from './contract/test-project.ts';

const logger = createLogger('silent');
const original = createTestDatabase();
const empty = createTestDatabase();

async function openIn(url: string): Promise<{ database: Database; store: OpenEventStore }> {
  const database = openDatabase({ url, logger, maxConnections: 2 });
  await migrate(database, logger);
  const store = await openPostgresEventStore({ database, logger });
  onTestFinished(async () => {
    await store.close();
    await database.close();
  });
  return { database, store };
}

/** The definition, by looking at every event. */
async function expectEveryTimeFound({ store }: { readonly store: OpenEventStore }): Promise<void> {
  const events: { time: number; position: bigint }[] = [];
  for await (const batch of store.readAll({ after: BEGINNING })) {
    for (const event of batch.events) {
      events.push({ time: event.recordedAt.getTime(), position: event.position });
    }
  }
  for (const time of events.flatMap((event) => [event.time - 1, event.time, event.time + 1])) {
    const last = events.findLast((event) => event.time <= time);
    expect(await store.positionAt(new Date(time))).toBe(last?.position ?? BEGINNING);
  }
}

test('a clock that was ahead once stops no time, and every time is found, also in a copy', async () => {
  const { database, store } = await openIn(original.url);
  const project = new TestProject();
  const append = (stream: string) =>
    mustAppend(store, project.stream(stream), project.events(2), 'no-stream');
  for (const [round, ahead] of ['1 year', '1 day', '1 hour'].entries()) {
    await append(`before-${round}`);
    // As it would be after an append while the clock was ahead.
    await database.query({
      text: `
        update ledger.events
        set recorded_at = recorded_at + $1::interval /* ahead */
        where position = (select max(position) from ledger.events)`,
      values: [ahead],
    });
  }
  const startedAtMs = Date.now();
  const { position } = await append('after');
  expect(await store.positionAt(new Date(startedAtMs + 60_000))).toBe(position);
  await expectEveryTimeFound({ store });

  const copy = await openIn(empty.url);
  const { signal } = new AbortController();
  await copyLog({ from: store, to: copy.store, signal, onProgress: () => undefined });
  await expectEveryTimeFound(copy);
});
