import { randomBytes } from 'node:crypto';
import { expect, onTestFinished, test, vi } from 'vitest';
import { openDatabase, type Database } from '../../src/database/database.ts';
import { migrate } from '../../src/database/migrations.ts';
import { checkServer } from '../../src/database/server-check.ts';
import { createLogger } from '../../src/shared/logger.ts';
import { createTestDatabase } from './test-database.ts';

const testDatabase = createTestDatabase();
const logger = createLogger('silent');

function open(change: (url: URL) => void): Database {
  const url = new URL(testDatabase.url);
  change(url);
  const database = openDatabase({ url: url.href, logger, maxConnections: 1 });
  onTestFinished(() => database.close());
  return database;
}

async function refusal(database: Database): Promise<string> {
  const error: unknown = await checkServer(database).catch((caught: unknown) => caught);
  expect(error).toMatchObject({ name: 'DatabaseRefusedError' });
  return error instanceof Error ? error.message : '';
}

const { host, pathname, username } = new URL(testDatabase.url);
const name = pathname.slice(1);

test.each([
  {
    what: 'a server that is not there',
    change: (url: URL) => (url.port = '1'),
    line:
      `Cannot connect to PostgreSQL at 127.0.0.1:1 (database ${name}, user ${username}): ` +
      'connection refused (ECONNREFUSED). Check that it runs there, and DATABASE_URL.',
  },
  {
    what: 'a host that there is not',
    change: (url: URL) => (url.hostname = 'nowhere.invalid'),
    line: /at nowhere.invalid:\d+ \(.*\): .*\((ENOTFOUND|EAI_AGAIN)\)\. Check/,
  },
  {
    what: 'a missing database',
    change: (url: URL) => (url.pathname = '/of_nobody'),
    line:
      `Cannot connect to PostgreSQL at ${host} (database of_nobody, user ${username}): ` +
      'database "of_nobody" does not exist (3D000). Check that it runs there, and DATABASE_URL.',
  },
  {
    what: 'a missing user',
    change: (url: URL) => (url.username = 'nobody_knows_me'),
    line: /user nobody_knows_me\): (password authentication failed for user|role) "nobody_knows_me".*\(28\w{3}\)\. Check/,
  },
  {
    what: 'TLS that the server does not have',
    change: (url: URL) => url.searchParams.set('sslmode', 'require'),
    line: /: The server does not support SSL connections\. Check/,
  },
  {
    what: 'a certificate that is not there',
    change: (url: URL) => url.searchParams.set('sslrootcert', '/no/such/file'),
    line: /^DATABASE_URL cannot be used: .*'\/no\/such\/file' \(ENOENT\)\.$/,
  },
])('$what is named in one line', async ({ change, line }) => {
  const found = await refusal(open(change));
  if (typeof line === 'string') expect(found).toBe(line);
  else expect(found).toMatch(line);
  expect(found).not.toContain('\n');
});

test('a database in another encoding is refused, with the statement that makes one', async () => {
  const latin = `${name}_latin`;
  await testDatabase.server.query({
    text: `create database ${latin} encoding 'LATIN1' template template0 locale 'C'`,
  });
  onTestFinished(async () => {
    await testDatabase.server.query({ text: `drop database ${latin} with (force)` });
  });
  const found = await refusal(open((url) => (url.pathname = `/${latin}`)));
  expect(found).toContain('LATIN1');
  const [, statement = ''] = /\((CREATE DATABASE [^)]*)\)/.exec(found) ?? [];
  expect(statement).toContain('UTF8');
  const made = `${name}_made`;
  await testDatabase.server.query({
    text: statement.replace('CREATE DATABASE fleetledger', `create database ${made}`),
  });
  onTestFinished(async () => {
    await testDatabase.server.query({ text: `drop database ${made} with (force)` });
  });
  await checkServer(open((url) => (url.pathname = `/${made}`)));
});

test('a user that may not make schemas is told which right it lacks', async () => {
  const role = `role_${randomBytes(6).toString('hex')}`;
  await testDatabase.server.query({ text: `create role ${role} login password 'x'` });
  onTestFinished(async () => {
    await testDatabase.server.query({ text: `drop role ${role}` });
  });
  const database = open((url) => {
    url.username = role;
    url.password = 'x';
  });
  await checkServer(database);
  await expect(migrate(database, logger)).rejects.toMatchObject({
    name: 'DatabaseRefusedError',
    message: expect.stringContaining(`GRANT CREATE ON DATABASE "${name}" TO "${role}"`),
  });
});

test('a password that is changed while it runs makes statements unavailable, until it is put right', async () => {
  const role = `role_${randomBytes(6).toString('hex')}`;
  const setPassword = (password: string) =>
    testDatabase.server.query({ text: `alter role ${role} password '${password}'` });
  await testDatabase.server.query({ text: `create role ${role} login password 'x'` });
  const database = open((url) => {
    url.username = role;
    url.password = 'x';
  });
  onTestFinished(async () => {
    await testDatabase.server.query({ text: `drop role ${role}` });
  });
  const pid = { text: 'select pg_backend_pid() as pid' };
  const [before] = await database.query<{ pid: number }>(pid);
  await setPassword('y');
  await testDatabase.server.query({
    text: 'select pg_terminate_backend($1)',
    values: [before?.pid],
  });
  const refused = { code: 'store-unavailable', message: expect.stringContaining('refuses') };
  await vi.waitFor(() => expect(database.query(pid)).rejects.toMatchObject(refused), {
    timeout: 20_000,
  });
  await expect(database.connect()).rejects.toMatchObject(refused);
  await setPassword('x');
  expect(await database.query(pid)).not.toEqual([before]);
});
