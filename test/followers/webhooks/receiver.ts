import { createServer, type IncomingHttpHeaders, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** A request as the receiver of a webhook got it. */
export interface Received {
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

/** Answers a request; without an answer it is left open until the client gives up. */
export type Respond = (request: Received, response: ServerResponse) => void;

export interface Receiver {
  readonly url: string;
  /** In the order in which they came. */
  readonly requests: Received[];
  /** Decides about what comes from now on. Default: 204. */
  respond: Respond;
  stop(): Promise<void>;
}

/** The receiver of a webhook: a real HTTP server on loopback. */
export async function startReceiver(port = 0): Promise<Receiver> {
  const requests: Received[] = [];
  const receiver = {
    requests,
    respond: ((_request, response) => {
      response.statusCode = 204;
      response.end();
    }) as Respond,
  };
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const { url = '', headers } = request;
      const received = { path: url, headers, body: Buffer.concat(chunks).toString('utf8') };
      requests.push(received);
      receiver.respond(received, response);
    });
  });
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
  const { port: listening } = server.address() as AddressInfo;
  return Object.assign(receiver, {
    url: `http://127.0.0.1:${listening}`,
    stop: () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  });
}

/** Answers with a status, and nothing else. */
export function status(code: number, headers: Readonly<Record<string, string>> = {}): Respond {
  return (_request, response) => {
    response.writeHead(code, headers);
    response.end();
  };
}
