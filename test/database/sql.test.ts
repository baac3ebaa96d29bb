import fc from 'fast-check';
import { expect, onTestFinished, test } from 'vitest';
import { openDatabase, type Database } from '../../src/database/database.ts';
import { insertRows, rowsAs } from '../../src/database/rows.ts';
import { projectionsIn, readPosition, render, sql, tablesOf } from '../../src/database/sql.ts';
import { createLogger } from '../../src/shared/logger.ts';
import { createTestDatabase } from './test-database.ts';

const testDatabase = createTestDatabase();
const state = tablesOf('state', ['sensors', 'history']);

function open(): Database {
  const database = openDatabase({
    url: testDatabase.url,
    logger: createLogger('silent'),
    maxConnections: 1,
  });
  onTestFinished(() => database.close());
  return database;
}

test('values in place become parameters, also those of templates within', () => {
  const since = sql`and recorded_at >= ${'2026-01-01'}`;

  expect(render(sql`select from sensors where id = ${'a'} ${since} limit ${10}`)).toMatchObject({
    text: 'select from sensors where id = $1 and recorded_at >= $2 limit $3',
    values: ['a', '2026-01-01', 10],
  });
});

test('parts are joined, and no part is nothing', () => {
  const parts = [sql`a = ${1}`, sql`b = ${2}`, sql`c`];

  expect(render(sql`where ${sql.join(parts, ' and ')}`)).toMatchObject({
    text: 'where a = $1 and b = $2 and c',
    values: [1, 2],
  });
  expect(render(sql`select ${sql.join([])}`)).toEqual({ text: 'select ' });
});

test('a table has its bare name where a projection writes, and any other in a read', () => {
  const query = sql`select ${readPosition} from ${state.sensors} where id = ${'a'}`;
  const names = {
    table: ({ projection, name }: { projection: string; name: string }) =>
      `${projection}_7.${name}`,
    readPosition: 'c.position',
  };

  expect(render(sql`select from ${state.sensors}`).text).toBe('select from sensors');
  expect(render(query, names).text).toBe('select c.position from state_7.sensors where id = $1');
  expect(() => render(query)).toThrow('only a read of read models has a position');
});

test('a statement knows the projections whose tables it names', () => {
  const { devices } = tablesOf('tenancy', ['devices']);
  const inner = sql`select from ${devices}`;

  expect([
    ...projectionsIn(sql`select from ${state.sensors}, ${state.history}, (${inner}) d`),
  ]).toEqual(['state', 'tenancy']);
});

test('a prepared statement is named by its final text', () => {
  const name = (schema: string, id: string): string | undefined =>
    render(sql`select from ${state.sensors} where id = ${id}`, {
      table: (table) => `${schema}.${table.name}`,
    }).name;

  expect(name('state_1', 'a')).toBe(name('state_1', 'b'));
  expect(name('state_1', 'a')).not.toBe(name('state_2', 'a'));
  expect(name('state_1', 'a')?.length).toBeLessThan(64);
});

test('a connection keeps a statement with parameters prepared, and no other', async () => {
  const database = open();
  for (const id of [1, 2]) await database.query(sql`select ${id}::integer as id`);
  await database.query(sql`select 3 as id`);

  expect(await database.query(sql`select statement from pg_prepared_statements`)).toEqual([
    { statement: 'select $1::integer as id' },
  ]);
});

const row = fc.record({
  text: fc.option(fc.string({ unit: 'binary' }).filter((text) => !text.includes('\0'))),
  uuid: fc.option(fc.uuid()),
  integer: fc.option(fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 })),
  bigint: fc.option(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n })),
  boolean: fc.option(fc.boolean()),
  timestamptz: fc.option(
    fc.date({ min: new Date('1900-01-01'), max: new Date('2100-01-01'), noInvalidDate: true }),
  ),
  json: fc.option(fc.dictionary(fc.string(), fc.jsonValue())),
});

test('rows of any values come back as they went in', async () => {
  const database = open();
  const things = tablesOf('any', ['things']).things;
  await database.query(sql`
    create temporary table things (
      ordinal integer, text text, uuid uuid, integer integer, bigint bigint, boolean boolean,
      timestamptz timestamptz, json json
    )`);
  await fc.assert(
    fc.asyncProperty(fc.array(row, { minLength: 1 }), async (rows) => {
      const sent = rows.map((its, ordinal) => ({
        ordinal,
        ...its,
        // What JSON makes of it: -0 is 0, for example.
        json: its.json === null ? null : (JSON.parse(JSON.stringify(its.json)) as object),
      }));
      await database.query(sql`delete from things`);
      await database.query(
        insertRows(
          things,
          {
            ordinal: ['integer', (its) => its.ordinal],
            text: ['text', (its) => its.text],
            uuid: ['uuid', (its) => its.uuid],
            integer: ['integer', (its) => its.integer],
            bigint: ['bigint', (its) => its.bigint],
            boolean: ['boolean', (its) => its.boolean],
            timestamptz: ['timestamptz', (its) => its.timestamptz],
            json: ['json', (its) => its.json],
          },
          sent,
        ),
      );
      expect(await database.query(sql`select * from things order by ordinal`)).toEqual(sent);
    }),
    { numRuns: 100 },
  );
});

test('rows can be joined with, and none are none', async () => {
  const database = open();
  const wanted = (ids: readonly string[]): Promise<object[]> =>
    database.query(sql`
      select w.id, w.at
      from ${rowsAs('w', { id: ['text', (id) => id], at: ['timestamptz', () => 'infinity'] }, ids)}`);

  expect(await wanted(['a', 'b'])).toMatchObject([{ id: 'a' }, { id: 'b' }]);
  expect(await wanted([])).toEqual([]);
});
