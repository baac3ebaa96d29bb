import { once } from 'node:events';
import { connect, createServer, type AddressInfo } from 'node:net';

/**
 * A server in front of PostgreSQL that refuses the startup parameter `options`, as PgBouncer does.
 */
export async function poolerWithoutOptions(
  databaseUrl: string,
): Promise<{ readonly url: string; close(): Promise<void> }> {
  const target = new URL(databaseUrl);
  const server = createServer((client) => {
    client.on('error', () => client.destroy());
    client.once('data', (startup) => {
      if (startup.includes('\0options\0')) {
        client.end(fatal('08P01', 'unsupported startup parameter: options'));
        return;
      }
      const upstream = connect(Number(target.port || 5432), target.hostname);
      upstream.on('error', () => client.destroy());
      client.on('close', () => upstream.destroy());
      upstream.write(startup);
      client.pipe(upstream).pipe(client);
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const url = new URL(databaseUrl);
  url.host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    url: url.href,
    async close() {
      server.close();
      await once(server, 'close');
    },
  };
}

/** An ErrorResponse of the PostgreSQL protocol. */
function fatal(code: string, message: string): Buffer {
  const fields = Buffer.from(`SFATAL\0VFATAL\0C${code}\0M${message}\0\0`);
  const head = Buffer.alloc(5);
  head.write('E');
  head.writeInt32BE(fields.length + 4, 1);
  return Buffer.concat([head, fields]);
}
