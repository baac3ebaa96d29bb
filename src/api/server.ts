import { createServer, IncomingMessage, ServerResponse, type Server } from 'node:http';
import { Server as NetServer, type AddressInfo, type Socket } from 'node:net';
import express, { type NextFunction, type Request, type Response } from 'express';
import helmet from 'helmet';
import { LedgerError } from '../shared/errors.ts';
import type { Logger } from '../shared/logger.ts';
import { closeUnlessRead, Connections, tooManyRequests } from './admission/connections.ts';
import { CONSOLE_FOLDER, consoleRouter } from './console.ts';
import { crossOrigin } from './cors.ts';
import { docsRouter } from './docs.ts';
import { forwardedPrefix } from './forwarded-prefix.ts';
import { healthRouter, type Health } from './health.ts';
import {
  answerFault,
  endWithFault,
  faultOfConnection,
  faultOfMessage,
  originForm,
} from './http-faults.ts';
import type { Metrics } from './metrics.ts';
import { openApiDocument } from './openapi.ts';
import { refuseMethod } from './page.ts';
import type { Pipeline } from './pipeline.ts';
import { problemsRouter } from './problems-page.ts';
import { withoutKeys } from './redaction.ts';
import type { Responder } from './responder.ts';
import type { Route } from './route.ts';

const BASE_PATH = '/api/v1';

export interface ServerParts {
  readonly routes: readonly Route[];
  readonly pipeline: Pick<Pipeline, 'run'>;
  readonly responder: Responder;
  readonly health: Health;
  readonly metrics: Metrics;
  readonly logger: Logger;
  readonly corsOrigins: readonly string[];
  /** Proxies whose `X-Forwarded-For` says where a request comes from: addresses or networks. */
  readonly trustedProxies: readonly string[];
}

export function createApp({
  routes,
  pipeline,
  responder,
  health,
  metrics,
  logger,
  corsOrigins,
  trustedProxies,
}: ServerParts): express.Express {
  const app = express();
  app.disable('x-powered-by');
  app.disable('etag');
  // The pipeline reads queries, and refuses what is not UTF-8.
  app.disable('query parser');
  app.set('trust proxy', trustedProxies);
  app.use(securityHeaders());
  app.use(metrics.middleware);
  if (logger.isLevelEnabled('debug')) app.use(accessLog(logger));
  if (corsOrigins.length > 0) app.use(crossOrigin(corsOrigins));
  const methodsByPath = new Map<string, string[]>();
  for (const route of routes) {
    for (const template of [route.path, ...(route.aliases ?? [])]) {
      const path = BASE_PATH + template.replace(/\{(\w+)\}/g, ':$1');
      methodsByPath.set(path, [...(methodsByPath.get(path) ?? []), route.method.toUpperCase()]);
      app[route.method](path, async (request: Request, response: Response) => {
        metrics.nameRoute(response, route);
        await pipeline.run(route, request, response);
      });
    }
  }
  for (const [path, methods] of methodsByPath) app.all(path, refuseMethod(methods));
  app.use(healthRouter(health));
  app.use(metrics.router);
  if (routes.length > 0) {
    app.use(problemsRouter());
    app.use(docsRouter(openApiDocument(routes, BASE_PATH)));
    serveConsole(app);
  }
  app.use((request: Request, response: Response) => {
    const detail = 'No route has this path: see /docs for all routes.';
    responder.problem(request, response, new LedgerError('not-found', detail));
  });
  app.use((error: unknown, request: Request, response: Response, _next: NextFunction) => {
    setHeadersOf(error, response);
    responder.problem(request, response, ledgerErrorOf(error));
  });
  return app;
}

/**
 * The root leads a browser to the console, where it was built, and any other client to the
 * documentation.
 */
function serveConsole(app: express.Express): void {
  const router = consoleRouter(CONSOLE_FOLDER);
  if (router !== undefined) app.use(router);
  app.get('/', (request: Request, response: Response) => {
    const isBrowser = request.headers.accept?.includes('text/html') === true;
    const place = isBrowser && router !== undefined ? '/console/' : '/docs';
    response.redirect(forwardedPrefix(request) + place);
  });
}

/** Helmet's headers are the same for every answer: they are made once, and set each time. */
function securityHeaders(): express.RequestHandler {
  const headers = new Map<string, string>();
  const recorder = {
    setHeader: (name: string, value: string) => headers.set(name, value),
    removeHeader: (name: string) => headers.delete(name),
  };
  helmet()({} as Request, recorder as unknown as Response, () => undefined);
  return (_request, response, next) => {
    for (const [name, value] of headers) response.setHeader(name, value);
    next();
  };
}

/**
 * Express, and what serves its files, throw errors with an HTTP status: most are the client's
 * mistakes.
 */
function ledgerErrorOf(error: unknown): unknown {
  const status = error instanceof Error && 'status' in error ? error.status : undefined;
  switch (status) {
    case 400:
      return new LedgerError(
        'validation-failed',
        'The percent-encoding of the path is not valid UTF-8: encode it again.',
        { fields: [{ path: 'path', message: 'must be percent-encoded UTF-8' }] },
      );
    case 412:
      return new LedgerError(
        'precondition-failed',
        'The file has changed: request it again without If-Match and If-Unmodified-Since.',
      );
    case 416:
      return new LedgerError(
        'range-not-satisfiable',
        'The range is outside the file: see Content-Range for its length.',
      );
    default:
      return error;
  }
}

/** Express sets headers on some errors: `Content-Range` says how long a file is. */
function setHeadersOf(error: unknown, response: Response): void {
  if (!(error instanceof Error) || !('headers' in error)) return;
  for (const [name, value] of Object.entries(error.headers ?? {})) {
    response.setHeader(name, String(value));
  }
}

function accessLog(logger: Logger): express.RequestHandler {
  return (request, response, next) => {
    const startedAtMs = performance.now();
    response.on('finish', () => {
      logger.debug(
        {
          method: request.method,
          // Whoever pastes a key into a path must not find it in a log.
          path: withoutKeys(request.path),
          status: response.statusCode,
          durationMs: Math.round(performance.now() - startedAtMs),
          correlationId: response.getHeader('X-Correlation-Id'),
        },
        'request',
      );
    });
    next();
  };
}

export interface RunningServer {
  readonly address: AddressInfo;
  /** Without a slash at its end. */
  readonly url: string;
  /** No new requests; those that run finish. */
  drain(): Promise<void>;
}

/**
 * How long requests that idle clients are sending just now are still answered, with
 * `Connection: close`.
 */
const IDLE_GRACE_MS = 1_000;
const DRAIN_TIMEOUT_MS = 30_000;
/** A long upload, line by line, is one request. */
const REQUEST_TIMEOUT_MS = 3_600_000;

export async function listen(
  app: express.Express,
  host: string,
  port: number,
): Promise<RunningServer> {
  const running = new Set<ServerResponse>();
  const connections = new Connections();
  let isDraining = false;
  // A missing Host header is refused here, because Node does it without a problem document.
  const options = { ...messagesOf(app), requireHostHeader: false };
  const server = createServer(options, (request, response) => {
    connections.enter(request, response, (isRefused) => {
      if (isDraining) response.shouldKeepAlive = false;
      running.add(response);
      response.once('close', () => running.delete(response));
      const fault = isRefused ? tooManyRequests() : faultOfMessage(request);
      if (fault !== undefined) {
        answerFault(response, fault);
        return;
      }
      request.url = originForm(request.url ?? '/');
      app(request, response);
    });
  });
  server.on('clientError', (error: NodeJS.ErrnoException, socket: Socket) => {
    const isAnswered = [...running].some((response) => {
      return response.socket === socket && response.headersSent;
    });
    if (isAnswered || !socket.writable || error.code === 'ECONNRESET') socket.destroy();
    else endWithFault(socket, faultOfConnection(error));
  });
  // Longer than proxies keep idle connections, so that theirs is the side that closes.
  server.keepAliveTimeout = 75_000;
  server.headersTimeout = 80_000;
  server.requestTimeout = REQUEST_TIMEOUT_MS;
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, resolve);
  });
  const address = server.address() as AddressInfo;
  const authority = address.family === 'IPv6' ? `[${address.address}]` : address.address;
  return {
    address,
    url: `http://${reachable(authority)}:${address.port}`,
    drain() {
      isDraining = true;
      // `Connection: close`, where the head of the answer is not sent yet.
      for (const response of running) response.shouldKeepAlive = false;
      return drain(server);
    },
  };
}

/**
 * A server that listens at every address is reached at that of its own machine; browsers refuse
 * 0.0.0.0.
 */
function reachable(authority: string): string {
  if (authority === '0.0.0.0') return '127.0.0.1';
  return authority === '[::]' ? 'localhost' : authority;
}

/**
 * The kinds of message that the server makes, with the app's own prototypes. Express gives each
 * message its prototype when it arrives, which costs V8 the message's hidden class, and every
 * access to it afterwards: a route that echoes its body then answers 10,000 requests/s, where it
 * answers 31,000 when the message is made with that prototype, and giving it changes nothing.
 */
function messagesOf(app: express.Express): {
  IncomingMessage: typeof IncomingMessage;
  ServerResponse: typeof ServerResponse;
} {
  class AppRequest extends IncomingMessage {}
  class AppResponse<Of extends IncomingMessage> extends ServerResponse<Of> {
    override writeHead(status: number, ...rest: unknown[]): this {
      (super.writeHead as (...all: unknown[]) => unknown).call(this, status, ...rest);
      closeUnlessRead(this);
      return this;
    }
  }
  Object.setPrototypeOf(AppRequest.prototype, app.request);
  app.request = AppRequest.prototype as unknown as Request;
  Object.setPrototypeOf(AppResponse.prototype, app.response);
  app.response = AppResponse.prototype as unknown as Response;
  return { IncomingMessage: AppRequest, ServerResponse: AppResponse };
}

async function drain(server: Server): Promise<void> {
  const closed = new Promise<void>((resolve) => {
    // Not http's own: that drops idle connections at once, and with them a request on its way.
    NetServer.prototype.close.call(server, () => resolve());
  });
  let idle: NodeJS.Timeout | undefined;
  const grace = setTimeout(() => {
    server.closeIdleConnections();
    // A keep-alive connection that was busy becomes idle when its request has been answered.
    idle = setInterval(() => server.closeIdleConnections(), 100);
  }, IDLE_GRACE_MS);
  const deadline = setTimeout(() => server.closeAllConnections(), DRAIN_TIMEOUT_MS);
  await closed;
  clearTimeout(grace);
  clearInterval(idle);
  clearTimeout(deadline);
}
