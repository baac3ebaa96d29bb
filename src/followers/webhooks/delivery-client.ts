import { Agent as HttpAgent, request as httpRequest, type IncomingMessage } from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import { AddressRefusedError, isPrivateHost, publicLookup } from './addresses.ts';

/**
 * What became of one attempt. Everything but a 2xx is a failure; 410 asks for no further attempt.
 */
export type AttemptResult =
  | { readonly status: 'delivered'; readonly responseStatus: number }
  | { readonly status: 'gone'; readonly responseStatus: 410; readonly error: string }
  | {
      readonly status: 'failed';
      /** Null where no response came. */
      readonly responseStatus: number | null;
      readonly error: string;
      /** What the receiver asked for in `Retry-After`. */
      readonly retryAfterMs: number;
    };

export interface DeliveryClientOptions {
  readonly allowPrivate: boolean;
  /** A whole attempt may take so long: resolving, connecting, sending, reading the response. */
  readonly timeoutMs?: number;
  readonly lookup?: Parameters<typeof publicLookup>[0];
}

const TIMEOUT_MS = 15_000;
/**
 * A response says nothing that is needed; this much is read so that the connection can be used
 * again.
 */
const MAX_RESPONSE_BYTES = 16 * 1024;
/** Connections that are kept for the next message, for each host and for how long. */
const IDLE = { maxFreeSockets: 4, timeout: 30_000 };

/**
 * Sends the requests of webhooks. Redirects are failures, as every other status that is not 2xx:
 * where one leads to could be private, and a moved receiver is its owner's to change.
 */
export class DeliveryClient {
  readonly #options: DeliveryClientOptions;
  readonly #agents = {
    'http:': new HttpAgent({ keepAlive: true, ...IDLE }),
    'https:': new HttpsAgent({ keepAlive: true, ...IDLE }),
  };

  constructor(options: DeliveryClientOptions) {
    this.#options = options;
  }

  /** Never rejects: what goes wrong is a result. */
  async post(
    url: string,
    headers: Readonly<Record<string, string>>,
    body: string,
    stopping: AbortSignal,
  ): Promise<AttemptResult> {
    const { timeoutMs = TIMEOUT_MS } = this.#options;
    const deadline = AbortSignal.timeout(timeoutMs);
    const target = new URL(url);
    try {
      if (!this.#options.allowPrivate && isPrivateHost(target.hostname)) {
        throw new AddressRefusedError(target.hostname);
      }
      const signal = AbortSignal.any([deadline, stopping]);
      const send = (): Promise<IncomingMessage> => this.#send(target, headers, body, signal);
      return resultOf(await send().catch((error: unknown) => sentAgain(error, send)));
    } catch (error) {
      const message = deadline.aborted
        ? `no response within ${timeoutMs / 1_000} s`
        : messageOf(error);
      return { status: 'failed', responseStatus: null, error: message, retryAfterMs: 0 };
    }
  }

  close(): void {
    for (const agent of Object.values(this.#agents)) agent.destroy();
  }

  #send(
    url: URL,
    headers: Readonly<Record<string, string>>,
    body: string,
    signal: AbortSignal,
  ): Promise<IncomingMessage> {
    const { allowPrivate, lookup } = this.#options;
    const isTls = url.protocol === 'https:';
    return new Promise((resolve, reject) => {
      const request = (isTls ? httpsRequest : httpRequest)(url, {
        method: 'POST',
        agent: isTls ? this.#agents['https:'] : this.#agents['http:'],
        headers: {
          'user-agent': 'fleetledger-webhooks',
          ...headers,
          'content-length': Buffer.byteLength(body),
        },
        signal,
        ...(!allowPrivate && { lookup: publicLookup(lookup) }),
      });
      const fail = (error: Error): void => {
        reject(request.reusedSocket ? new StaleConnectionError(error) : error);
      };
      request.on('error', fail);
      request.on('response', (response) => {
        // The status line decides: what goes wrong behind it changes nothing any more, whichever of
        // the two tells of it.
        response.on('error', () => undefined);
        request.off('error', fail).on('error', () => resolve(response));
        response.on('close', () => resolve(response));
        let bytes = 0;
        response.on('data', (chunk: Buffer) => {
          bytes += chunk.length;
          if (bytes > MAX_RESPONSE_BYTES) response.destroy();
        });
      });
      request.end(body);
    });
  }
}

/**
 * A connection that was kept broke: most likely the receiver had closed it before the request came.
 */
class StaleConnectionError extends Error {
  constructor(cause: Error) {
    super(cause.message, { cause });
  }
}

/**
 * On a new connection, unless it was one. The receiver may have got the message: it is sent at
 * least once.
 */
function sentAgain<Result>(error: unknown, send: () => Promise<Result>): Promise<Result> {
  if (error instanceof StaleConnectionError) return send();
  throw error;
}

function resultOf({ statusCode = 0, headers }: IncomingMessage): AttemptResult {
  if (statusCode >= 200 && statusCode < 300) {
    return { status: 'delivered', responseStatus: statusCode };
  }
  if (statusCode === 410) {
    return { status: 'gone', responseStatus: 410, error: 'the receiver answered 410 Gone' };
  }
  const isRedirect = statusCode >= 300 && statusCode < 400;
  return {
    status: 'failed',
    responseStatus: statusCode,
    error: `the receiver answered ${statusCode}${isRedirect ? ': redirects are not followed' : ''}`,
    retryAfterMs: retryAfterMs(headers['retry-after']),
  };
}

/**
 * In seconds only: receivers that ask for a date are rare, and their clocks may differ from ours.
 */
function retryAfterMs(text: string | undefined): number {
  return text !== undefined && /^\d{1,6}$/.test(text) ? Number(text) * 1_000 : 0;
}

function messageOf(error: unknown): string {
  // Several addresses were tried, and each failed: `AggregateError` itself says nothing.
  if (error instanceof AggregateError) return messageOf(error.errors[0]);
  return error instanceof Error ? error.message : String(error);
}
