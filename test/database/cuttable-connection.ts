import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { once } from 'node:events';

export interface CuttableConnection {
  /** The same database, reached through here. */
  readonly url: string;
  /**
   * Breaks every connection. What the server has received it still carries out, but nobody hears
   * the outcome: what a network does, and `pg_terminate_backend` does not.
   */
  cut(): void;
  /** Breaks the next connection on which the server answers, instead of passing the answer on. */
  loseNextAnswer(): void;
  /** Breaks every connection, and every new one until `restore`: the server is unavailable. */
  interrupt(): void;
  restore(): void;
  close(): Promise<void>;
}

/** Stands between a client and a PostgreSQL server, and can be cut. */
export async function cuttableConnection(databaseUrl: string): Promise<CuttableConnection> {
  const target = new URL(databaseUrl);
  const open = new Set<() => void>();
  let loseNext = false;
  let isInterrupted = false;

  const cutAll = (): void => {
    for (const cutOne of open) cutOne();
  };
  const server = createServer((client) => {
    if (isInterrupted) {
      client.destroy();
      return;
    }
    const upstream = connect(Number(target.port || 5432), target.hostname);
    const cut = (): void => {
      open.delete(cut);
      client.destroy();
      upstream.end();
    };
    open.add(cut);
    client.pipe(upstream);
    upstream.on('data', (answer) => {
      if (loseNext) {
        loseNext = false;
        cut();
      } else if (!client.destroyed && !client.write(answer)) {
        upstream.pause();
        client.once('drain', () => upstream.resume());
      }
    });
    for (const socket of [client, upstream] satisfies Socket[]) {
      socket.on('error', cut);
      socket.on('close', cut);
    }
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');

  const url = new URL(databaseUrl);
  url.hostname = '127.0.0.1';
  url.port = String((server.address() as AddressInfo).port);
  return {
    url: url.href,
    cut: cutAll,
    loseNextAnswer() {
      loseNext = true;
    },
    interrupt() {
      isInterrupted = true;
      cutAll();
    },
    restore() {
      isInterrupted = false;
    },
    async close() {
      cutAll();
      server.close();
      await once(server, 'close');
    },
  };
}
