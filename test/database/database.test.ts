import { expect, onTestFinished, test } from 'vitest';
import { isDisconnected, openDatabase, type Database } from '../../src/database/database.ts';
import { migrate } from '../../src/database/migrations.ts';
import { isTransient } from '../../src/shared/errors.ts';
import { createLogger } from '../../src/shared/logger.ts';
import { poolerWithoutOptions } from './pooler-without-options.ts';
import { createTestDatabase } from './test-database.ts';

const testDatabase = createTestDatabase();

function open(queryTimeoutMs?: number): Database {
  const database = openDatabase({
    url: testDatabase.url,
    logger: createLogger('silent'),
    maxConnections: 1,
    ...(queryTimeoutMs !== undefined && { queryTimeoutMs }),
  });
  onTestFinished(() => database.close());
  return database;
}

const silence = { text: 'select pg_sleep(60)' };
const pid = { text: 'select pg_backend_pid() as pid' };

test('what is promised does not depend on defaults of the database', async () => {
  const name = new URL(testDatabase.url).pathname.slice(1);
  for (const setting of [
    `default_transaction_isolation = 'serializable'`,
    'synchronous_commit = off',
    'statement_timeout = 1234',
    'lock_timeout = 1234',
    'transaction_timeout = 1234',
  ]) {
    await testDatabase.server.query({ text: `alter database ${name} set ${setting}` });
  }

  expect(
    await open().query({
      text: `
        select current_setting('transaction_isolation') as isolation,
          current_setting('synchronous_commit') as commit,
          current_setting('statement_timeout') as statements,
          current_setting('transaction_timeout') as transactions,
          current_setting('lock_timeout') as locks`,
    }),
  ).toEqual([
    {
      isolation: 'read committed',
      commit: 'on',
      statements: '0',
      transactions: '0',
      locks: '0',
    },
  ]);
});

test('a connection that went silent is not used again', async () => {
  const database = open(300);
  const away = { code: 'store-unavailable' };
  const [before] = await database.query(pid);

  await expect(database.query(silence)).rejects.toMatchObject(away);
  const [between] = await database.query(pid);
  expect(between).not.toEqual(before);

  await expect(database.transaction((tx) => tx.query(silence))).rejects.toMatchObject(away);
  expect(await database.query(pid)).not.toEqual([between]);

  const own = await database.connect();
  const lost = new Promise((resolve) => own.onLost(resolve));
  await expect(own.transaction((tx) => tx.query(silence))).rejects.toMatchObject(away);
  await lost;
  await expect(own.query(pid)).rejects.toMatchObject(away);
  await own.close();
});

test('a statement that is cancelled, or gets no lock in time, may succeed later', async () => {
  const database = open();
  const cancelled = database.transaction(async (tx) => {
    await tx.query({ text: `set local statement_timeout = 50` });
    await tx.query(silence);
  });
  const error: unknown = await cancelled.catch((caught: unknown) => caught);
  expect(error).toMatchObject({ code: 'store-unavailable', cause: { code: '57014' } });
  expect(isTransient(error)).toBe(true);
  const noLock = `do $$ begin raise exception 'no lock' using errcode = '55P03'; end $$`;
  const locked: unknown = await database.query({ text: noLock }).catch((caught: unknown) => caught);
  expect(isTransient(locked)).toBe(true);
  const mistake: unknown = await database
    .query({ text: 'select 1 / 0' })
    .catch((caught: unknown) => caught);
  expect(mistake).toMatchObject({ code: '22012' });
  expect(isTransient(mistake)).toBe(false);
});

test('a statement that exceeds the limit of its database is ended in the server, too', async () => {
  const database = openDatabase({
    url: testDatabase.url,
    logger: createLogger('silent'),
    maxConnections: 1,
    statementTimeoutMs: 50,
  });
  onTestFinished(() => database.close());
  const before = await database.query(pid);
  await expect(database.query(silence)).rejects.toMatchObject({ cause: { code: '57014' } });
  // It costs no connection: the next statement runs on the same one.
  expect(await database.query(pid)).toEqual(before);
});

test.each(['40001', '40P01', '53200', '55P03', '57014', '57P03'])(
  'what the server refuses for now (%s) is unavailable, and keeps its reason',
  async (code) => {
    const refused = open().query({
      text: `do $$ begin raise 'not now' using errcode = '${code}'; end $$`,
    });
    const error: unknown = await refused.catch((caught: unknown) => caught);
    expect(error).toMatchObject({ code: 'store-unavailable', cause: { code } });
    expect(isDisconnected(error)).toBe(/^(53|57P)/.test(code));
  },
);

test('a transaction is not said to be committed when a statement in it has failed', async () => {
  const swallowing = open().transaction(async (tx) => {
    await tx.query({ text: 'create table swallowed ()' });
    await tx.query({ text: 'select 1 / 0' }).catch(() => undefined);
  });
  await expect(swallowing).rejects.toThrow('rolled back');
});

test('a transaction that was refused for now costs no connection', async () => {
  const database = open();
  const before = await database.query(pid);
  const refused = database.transaction((tx) =>
    tx.query({ text: `do $$ begin raise 'not now' using errcode = '40001'; end $$` }),
  );
  await expect(refused).rejects.toMatchObject({ code: 'store-unavailable' });
  expect(await database.query(pid)).toEqual(before);
});

test('an `options` in the URL, and one that a pooler refuses, change nothing that is promised', async () => {
  const pooler = await poolerWithoutOptions(testDatabase.url);
  onTestFinished(() => pooler.close());
  const withOptions = new URL(testDatabase.url);
  withOptions.searchParams.set(
    'options',
    '-c synchronous_commit=off -c TimeZone=Asia/Tokyo -c ' +
      'default_transaction_isolation=serializable -c search_path=elsewhere',
  );
  const settings = {
    text: `
      select
        current_setting('synchronous_commit') as commit,
        current_setting('TimeZone') as zone,
        current_setting('transaction_isolation') as isolation,
        current_setting('idle_in_transaction_session_timeout') as idle,
        current_setting('search_path') as path`,
  };
  const promised = { commit: 'on', zone: 'UTC', isolation: 'read committed', idle: '10s' };
  for (const [url, path] of [
    [withOptions.href, 'elsewhere'],
    [pooler.url, '"$user", public'],
  ] as const) {
    const database = openDatabase({ url, logger: createLogger('silent'), maxConnections: 1 });
    onTestFinished(() => database.close());
    expect(await database.query(settings)).toEqual([{ ...promised, path }]);
    const own = await database.connect({ isPipelined: true });
    expect(await own.query(settings)).toEqual([{ ...promised, path }]);
    await own.close();
    await migrate(database, createLogger('silent'));
  }
});
