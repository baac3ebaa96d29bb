import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openDatabase, type Database } from '../../src/database/database.ts';
import { observed, type ObservedLog } from '../../src/event-store/observed-log.ts';
import type { Position, Write } from '../../src/event-store/port.ts';
import type { StreamName } from '../../src/event-store/stream-name.ts';
import { createLogger } from '../../src/shared/logger.ts';
import { createTestDatabase } from '../database/test-database.ts';
import { openTestLog } from './test-log.ts';

const logger = createLogger('silent');
const testDatabase = createTestDatabase();

let database: Database;
let log: ObservedLog;

beforeAll(async () => {
  database = openDatabase({ url: testDatabase.url, logger, maxConnections: 3 });
  log = observed(await openTestLog({ databaseUrl: testDatabase.url, database, logger }));
});
afterAll(async () => {
  await log.close();
  await database.close();
});

function write(text: string, stream: string): Write {
  return {
    stream: `notes-p1.${stream}` as StreamName,
    events: [
      {
        id: randomUUID(),
        type: 'NoteTaken',
        data: { text },
        metadata: { projectId: 'p1', actor: 'test', correlationId: 'test', schemaVersion: 1 },
      },
    ],
    expectedRevision: 'no-stream',
  };
}

test('each write that is stored is told with its position, and a refused one is not', async () => {
  const told: [Write, Position][] = [];
  log.onAppended((stored, position) => told.push([stored, position]));
  const writes = [write('first', 'a'), write('refused', 'a'), write('other', 'b')];

  const answers = await log.append(writes);

  expect(answers.map(({ outcome }) => outcome)).toEqual(['appended', 'conflict', 'appended']);
  const positions = answers.flatMap((answer) =>
    answer.outcome === 'appended' ? [answer.position] : [],
  );
  expect(told).toEqual([
    [writes[0], positions[0]],
    [writes[2], positions[1]],
  ]);
});

test('every listener is told before the append is answered', async () => {
  const steps: string[] = [];
  log.onAppended(() => steps.push('one'));
  log.onAppended(() => steps.push('other'));

  await log.append([write('first', 'c')]);
  steps.push('answered');

  expect(steps).toEqual(['one', 'other', 'answered']);
});
