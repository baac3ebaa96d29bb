import { once } from 'node:events';
import { createServer, type Http2Server, type ServerHttp2Session } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { status } from '@grpc/grpc-js';
import { GrpcCall } from './grpc-call.ts';

export type Handlers = ReadonlyMap<string, (call: GrpcCall) => void>;

/** What the real server grants: beyond it, appends wait in the client. */
const STREAM_WINDOW = 96 * 1024;
const CONNECTION_WINDOW = 128 * 1024;

/**
 * gRPC on plain HTTP/2: the server of grpc-js sends message by message, each after the one before
 * it was taken up, which is too slow for reading a log.
 */
export class GrpcServer {
  readonly #server: Http2Server;
  readonly #sessions = new Set<ServerHttp2Session>();

  private constructor(server: Http2Server, handlers: Handlers) {
    this.#server = server;
    server.on('session', (session) => {
      this.#sessions.add(session);
      session.setLocalWindowSize(CONNECTION_WINDOW);
      session.on('error', () => undefined);
      session.on('close', () => this.#sessions.delete(session));
    });
    server.on('stream', (stream, headers) => {
      const call = new GrpcCall(stream, headers);
      const handle = handlers.get(headers[':path'] ?? '');
      if (handle === undefined) {
        call.fail({ code: status.UNIMPLEMENTED, details: 'Service is unimplemented.' });
      } else {
        handle(call);
      }
    });
  }

  static async start(handlers: Handlers, maxConcurrentStreams: number): Promise<GrpcServer> {
    const server = createServer({
      settings: { maxConcurrentStreams, initialWindowSize: STREAM_WINDOW },
      maxSessionMemory: Number.MAX_SAFE_INTEGER,
    });
    const started = new GrpcServer(server, handlers);
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return started;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** Settles when no call is open any more. */
  async endConnections(): Promise<void> {
    await Promise.all(
      [...this.#sessions].map(async (session) => {
        const closed = once(session, 'close');
        session.destroy();
        await closed;
      }),
    );
  }

  async close(): Promise<void> {
    await this.endConnections();
    await new Promise((resolve) => {
      this.#server.close(resolve);
    });
  }
}
