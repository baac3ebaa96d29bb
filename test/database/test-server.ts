import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { findBinaries } from '../../src/database/embedded-server/binaries.ts';
import {
  chooseServiceUser,
  giveTo,
  spawnAs,
} from '../../src/database/embedded-server/service-user.ts';
import { openDatabase } from '../../src/database/database.ts';
import { migrate } from '../../src/database/migrations.ts';
import { createLogger } from '../../src/shared/logger.ts';

export interface TestServer {
  readonly url: string;
  /** Stops the server. Its data is kept when the databases of failed tests are still in it. */
  close(): Promise<void>;
}

/**
 * A PostgreSQL server for one run of tests. It writes nothing through to the disk, which its tests
 * would wait for and which only a crash of the machine could tell: tests of crashes and of
 * durability start embedded servers of their own.
 */
export async function startTestServer(): Promise<TestServer> {
  const folder = await mkdtemp(path.join(tmpdir(), 'fleetledger-test-'));
  await chmod(folder, 0o755);
  const binaries = await findBinaries(undefined, path.join(folder, 'libraries'));
  const user = await chooseServiceUser(folder, [...binaries.files, folder]);
  await giveTo(user, folder);
  const cluster = path.join(folder, 'cluster');
  const passwordFile = path.join(folder, 'password');
  await writeFile(passwordFile, PASSWORD, { mode: 0o600 });
  await giveTo(user, passwordFile);
  const { libraryPath } = binaries;
  const options = {
    stdio: ['ignore', 'ignore', 'inherit'] as ('ignore' | 'inherit')[],
    cwd: path.parse(folder).root,
    env: {
      PATH: process.env['PATH'],
      LC_ALL: 'C',
      TZ: 'UTC',
      ...(libraryPath !== undefined && { LD_LIBRARY_PATH: libraryPath }),
    },
  };
  const initdb = await spawnAs(
    user,
    binaries.initdb,
    [`--pgdata=${cluster}`, `--pwfile=${passwordFile}`, ...INITDB_OPTIONS],
    options,
  );
  const [code] = await once(initdb, 'exit');
  if (code !== 0) throw new Error(`initdb ended with ${String(code)}`);

  const port = await freePort();
  const settings = Object.entries(SETTINGS).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
  const server = await spawnAs(
    user,
    binaries.postgres,
    ['-D', cluster, '-p', String(port), ...settings],
    options,
  );
  const exited = once(server, 'exit');
  // A server must not outlive a run that ends early.
  process.on('exit', () => server.kill('SIGKILL'));
  const url = `postgres://${SUPERUSER}:${PASSWORD}@127.0.0.1:${port}/postgres`;
  await accepting(url);
  return {
    url,
    async close() {
      const hasKept = await hasTestDatabases(url);
      // Immediate: a checkpoint of what is about to be removed would take seconds.
      server.kill(hasKept ? 'SIGINT' : 'SIGQUIT');
      await exited;
      if (hasKept) console.error(`kept, with the databases of failed tests: ${folder}`);
      else await rm(folder, { recursive: true, force: true });
    },
  };
}

export interface Template {
  readonly name: string;
  remove(): Promise<void>;
}

/** The migrated database that each test database of the run is a copy of. */
export async function createTemplate(serverUrl: string): Promise<Template> {
  const logger = createLogger('warn');
  const name = `fleetledger_template_${randomBytes(6).toString('hex')}`;
  const server = openDatabase({ url: serverUrl, logger, maxConnections: 1 });
  await server.query({ text: `create database ${name} template template0` });
  const template = openDatabase({ url: databaseUrl(serverUrl, name), logger });
  await migrate(template, logger);
  await template.close();
  return {
    name,
    async remove() {
      await server.query({ text: `drop database ${name}` });
      await server.close();
    },
  };
}

export function databaseUrl(serverUrl: string, name: string): string {
  const url = new URL(serverUrl);
  url.pathname = `/${name}`;
  return url.href;
}

async function accepting(url: string): Promise<void> {
  const database = openDatabase({ url, logger: createLogger('silent'), maxConnections: 1 });
  const deadline = performance.now() + START_TIMEOUT_MS;
  for (;;) {
    try {
      await database.query({ text: 'select' });
      return await database.close();
    } catch (error) {
      if (performance.now() > deadline) throw error;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}

async function hasTestDatabases(url: string): Promise<boolean> {
  const database = openDatabase({ url, logger: createLogger('silent'), maxConnections: 1 });
  const kept = await database.query({
    text: `select from pg_database where starts_with(datname, 'fleetledger_test_')`,
  });
  await database.close();
  return kept.length > 0;
}

async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address() as AddressInfo;
  probe.close();
  await once(probe, 'close');
  return port;
}

const SUPERUSER = 'fleetledger';
const PASSWORD = 'fleetledger';
const START_TIMEOUT_MS = 60_000;
const INITDB_OPTIONS = [
  `--username=${SUPERUSER}`,
  '--auth=scram-sha-256',
  '--no-instructions',
  '--no-sync',
  '--encoding=UTF8',
  '--locale=C',
  '--locale-provider=builtin',
  '--builtin-locale=C.UTF-8',
];
const SETTINGS = {
  listen_addresses: '127.0.0.1',
  unix_socket_directories: '',
  max_connections: '300',
  shared_buffers: '256MB',
  fsync: 'off',
  full_page_writes: 'off',
  autovacuum: 'on',
  max_wal_size: '4GB',
  checkpoint_timeout: '1h',
  timezone: 'UTC',
  log_min_messages: 'fatal',
  client_connection_check_interval: '1s',
};
