import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { openDatabase } from '../src/database/database.ts';
import { openEmbeddedServer } from '../src/database/embedded-server/embedded-server.ts';
import { createLogger } from '../src/shared/logger.ts';

/** The one PostgreSQL server that all contestants use, each in a database of its own. */
export interface BenchServer {
  readonly postgresVersion: string;
  /** A new database, empty or a copy of `template` (to which nobody may be connected); its URL. */
  createDatabase(name: string, template?: string): Promise<string>;
  dropDatabase(name: string): Promise<void>;
  /** Writes out what the one before has left to be written, so that its successor does not pay. */
  checkpoint(): Promise<void>;
  close(): Promise<void>;
}

export async function startServer(): Promise<BenchServer> {
  const logger = createLogger('warn');
  const dataDir = await mkdtemp(path.join(tmpdir(), 'fleetledger-bench-'));
  // PostgreSQL does not run as root, and its user must get in.
  await chmod(dataDir, 0o755);
  const embedded = await openEmbeddedServer({ dataDir, logger, role: 'tool' }).catch(
    async (error: unknown) => {
      await rm(dataDir, { recursive: true, force: true });
      throw error;
    },
  );
  const database = openDatabase({ url: embedded.url, logger, maxConnections: 1 });
  const [row] = await database.query<{ version: string }>({
    text: `select current_setting('server_version') as version`,
  });
  return {
    postgresVersion: row?.version ?? 'unknown',
    async createDatabase(name, template) {
      const source = template === undefined ? '' : `template ${template} strategy file_copy`;
      await database.query({ text: `create database ${name} ${source}` });
      const url = new URL(embedded.url);
      url.pathname = `/${name}`;
      return url.href;
    },
    async dropDatabase(name) {
      await database.query({ text: `drop database if exists ${name} with (force)` });
    },
    async checkpoint() {
      await database.query({ text: 'checkpoint' });
    },
    async close() {
      await database.close();
      await embedded.close();
      await rm(dataDir, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}
