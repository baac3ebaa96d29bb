import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openDatabase, type Database } from '../../src/database/database.ts';
import { migrate } from '../../src/database/migrations.ts';
import { createGeneration } from '../../src/projections/engine/generations/generation-tables.ts';
import { changeStatus } from '../../src/projections/engine/generations/generations.ts';
import {
  ProjectionLock,
  TRANSITIONS,
  type Creation,
  type GenerationStatus,
  type StatusChange,
} from '../../src/projections/engine/generations/state-machine.ts';
import { createLogger } from '../../src/shared/logger.ts';
import { createTestDatabase } from '../database/test-database.ts';
import { Notes } from './notes.ts';

const README = readFileSync(
  new URL('../../src/projections/engine/README.md', import.meta.url),
  'utf8',
);
const testDatabase = createTestDatabase();
let database: Database;

beforeAll(async () => {
  const logger = createLogger('silent');
  database = openDatabase({ url: testDatabase.url, logger, maxConnections: 2 });
  await migrate(database, logger);
});
afterAll(() => database.close());

function change({ from, to }: { readonly from: readonly string[]; readonly to: string }): string {
  return `${from.join('/')} → ${to}`;
}

test('the table in the README lists every transition as the code has it', () => {
  const rows = README.split('\n')
    .filter((line) => line.startsWith('| `') && line.includes('→'))
    .map((line) => line.split('|').map((cell) => cell.trim()));
  expect(rows.map(([, ...cells]) => cells.slice(0, 4))).toEqual(
    Object.entries(TRANSITIONS).map(([name, transition]) => [
      `\`${name}\``,
      change(transition.generation),
      'replay' in transition ? change(transition.replay) : '',
      transition.locks.join(', '),
    ]),
  );
});

test('the diagram in the README has every change of status, and no other', () => {
  const state = (name: string): string => (name === 'absent' ? '[*]' : name);
  const expected = Object.entries(TRANSITIONS).flatMap(([name, transition]) =>
    [transition.generation, 'replay' in transition ? transition.replay : { from: [], to: '' }]
      .flatMap(({ from, to }) => from.map((status) => [status, to] as const))
      .map(([from, to]) => `${state(from)} --> ${state(to)}: ${name}`),
  );
  const [, diagram = ''] = /```mermaid\n(stateDiagram[^`]*)```/.exec(README) ?? [];
  const drawn = [...diagram.matchAll(/^ +(\S+ --> \S+): (.+)$/gm)].flatMap(([, arrow, names]) =>
    (names ?? '').split(', ').map((name) => `${arrow}: ${name}`),
  );
  expect(drawn.toSorted()).toEqual(expected.toSorted());
});

const CREATIONS: Readonly<Record<Exclude<GenerationStatus, 'retired'>, Creation>> = {
  live: 'createFirst',
  building: 'requestRebuild',
  shadow: 'requestVerification',
};
const CHANGES: readonly StatusChange[] = [
  'swapIn',
  'retireReplaced',
  'completeVerification',
  'cancel',
  'fail',
];

test('a status changes only along the table', async () => {
  for (const [status, creation] of Object.entries(CREATIONS)) {
    for (const transition of CHANGES) {
      const projection = new Notes(database).projection('one');
      const changed = database.transaction(async (tx) => {
        const lock = await ProjectionLock.take(tx, projection.name);
        const generation = await createGeneration(lock, projection, '00000000', creation);
        await changeStatus(lock, generation, transition);
        const [row] = await tx.query<{ status: string }>({
          text: 'select status from engine.generations where projection = $1',
          values: [projection.name],
        });
        return row?.status;
      });
      const { from, to } = TRANSITIONS[transition].generation;
      if ((from as readonly string[]).includes(status)) await expect(changed).resolves.toBe(to);
      else await expect(changed).rejects.toThrow(`${transition}: generation 1`);
    }
  }
});
