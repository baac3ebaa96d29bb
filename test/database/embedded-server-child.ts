import { openEmbeddedServer } from '../../src/database/embedded-server/embedded-server.ts';
import { createLogger } from '../../src/shared/logger.ts';
import pg from 'pg';

/**
 * A process to be killed: opens what it is told to, prints the url, and waits. SIGINT drains it the
 * way the service drains: one last write, then close.
 */
const [dataDir = '', role, binariesDir] = process.argv.slice(2);
const server = await openEmbeddedServer({
  dataDir,
  role: role === 'tool' ? 'tool' : 'service',
  logger: createLogger('silent'),
  ...(binariesDir === undefined ? {} : { binariesDir }),
});
process.on('SIGINT', () => void drain());
console.log(server.url);

async function drain(): Promise<void> {
  const client = new pg.Client({ connectionString: server.url });
  await client.connect();
  await client.query('create table drained (n int)');
  await client.end();
  await server.close();
}
