import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';

interface Connection {
  readonly client: Socket;
  readonly upstream: Socket;
}

/** Stands between the clients and the server, and can be cut, held and closed. */
export class Connections {
  #server: Server | undefined;
  readonly #target: number;
  readonly #open = new Set<Connection>();
  #port: number;
  #isHeld = false;
  #accepted = 0;

  constructor(port: number, target: number) {
    this.#port = port;
    this.#target = target;
  }

  get port(): number {
    return this.#port;
  }

  get count(): number {
    return this.#open.size;
  }

  /** Ever. */
  get accepted(): number {
    return this.#accepted;
  }

  get isOpen(): boolean {
    return this.#server !== undefined;
  }

  async open(): Promise<void> {
    const server = createServer({ noDelay: true }, (client) => this.#accept(client));
    this.#server = server;
    server.listen(this.#port, '127.0.0.1');
    await once(server, 'listening');
    this.#port = (server.address() as AddressInfo).port;
  }

  /** The port takes no connections any more, and there are none. */
  async close(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    this.cut();
    if (server === undefined) return;
    await new Promise((resolve) => {
      server.close(resolve);
    });
  }

  cut(): void {
    for (const connection of this.#open) this.#cutOne(connection);
  }

  /** Known by the port from which the server is reached for it. */
  cutOf(upstreamPort: number | undefined): void {
    for (const connection of this.#open) {
      if (connection.upstream.localPort === upstreamPort) this.#cutOne(connection);
    }
  }

  /** Clients hear nothing from the server, not even an answer to a ping. */
  hold(): void {
    this.#isHeld = true;
    for (const { upstream } of this.#open) upstream.pause();
  }

  release(): void {
    this.#isHeld = false;
    for (const { client, upstream } of this.#open) {
      if (!client.writableNeedDrain) upstream.resume();
    }
  }

  #accept(client: Socket): void {
    this.#accepted += 1;
    const upstream = connect({ port: this.#target, host: '127.0.0.1', noDelay: true });
    const connection = { client, upstream };
    this.#open.add(connection);
    client.pipe(upstream);
    upstream.on('data', (answer) => {
      if (client.destroyed || client.write(answer)) return;
      upstream.pause();
      client.once('drain', () => {
        if (!this.#isHeld) upstream.resume();
      });
    });
    if (this.#isHeld) upstream.pause();
    for (const socket of [client, upstream]) {
      socket.on('error', () => this.#cutOne(connection));
      socket.on('close', () => this.#cutOne(connection));
    }
  }

  #cutOne(connection: Connection): void {
    this.#open.delete(connection);
    connection.client.destroy();
    connection.upstream.destroy();
  }
}
