import type { ClientRequest, IncomingMessage } from 'node:http';
import { answerOf, failureOf, QUOTED_BYTES } from './http-answer.ts';
import type { ProviderAnswer } from './provider.ts';

/** Where requests go, and how. */
export interface Endpoint {
  readonly timeoutMs: number;
  /** A request with everything but its body. Never throws. */
  open(contentLength: number): ClientRequest;
}

export interface SentRequest {
  /** What came of it, once it is over for the provider, too. Never rejects. */
  readonly over: Promise<ProviderAnswer>;
  /** Ends it now. An answer whose status is here already stands. */
  abort(): void;
}

const MAX_BODY_BYTES = 64 * 1024;

/**
 * After a connection was cut off in the midst of a request, the provider counts that request until
 * it has seen the end of the connection, which is on its way when the socket is closed here. A next
 * request over another connection must not overtake it: the provider would count one too many.
 */
const GRACE_MS = 100;

/** Asks for one DevEUI. The status decides; of the body, the beginning is kept for the reason. */
export function sendRequest(endpoint: Endpoint, devEui: string): SentRequest {
  const { timeoutMs } = endpoint;
  const body = JSON.stringify({ deveui: devEui });
  const request = endpoint.open(Buffer.byteLength(body));
  let isConnected = false;
  let response: IncomingMessage | undefined;
  let beginning = Buffer.alloc(0);
  let error: Error | undefined;

  request.on('socket', (socket) => {
    const isKept = !socket.connecting;
    if (isKept) {
      isConnected = true;
      return;
    }
    // With TLS nothing is sent before the handshake has ended and the certificate is verified.
    const connected = request.protocol === 'https:' ? 'secureConnect' : 'connect';
    socket.once(connected, () => {
      isConnected = true;
    });
  });
  request.on('response', (message) => {
    response = message;
    let receivedBytes = 0;
    message.on('data', (chunk: Buffer) => {
      receivedBytes += chunk.length;
      if (beginning.length < QUOTED_BYTES) {
        beginning = Buffer.concat([beginning, chunk.subarray(0, QUOTED_BYTES)]);
      }
      if (receivedBytes > MAX_BODY_BYTES) request.destroy();
    });
    // A body that breaks off takes nothing back from the status.
    message.on('error', () => undefined);
  });
  request.on('error', (cause) => {
    error ??= cause;
  });
  const timeout = setTimeout(() => {
    request.destroy(new StoppedError(`no answer within ${timeoutMs} ms`));
  }, timeoutMs);

  const over = new Promise<ProviderAnswer>((resolve) => {
    // A connection that is kept alive closes the request once the answer is read, any other one
    // when its socket is closed.
    request.once('close', () => {
      clearTimeout(timeout);
      const answer = response ? answerOf(response, beginning) : failureOf(error, isConnected);
      const isCutOff = isConnected && response?.complete !== true;
      if (isCutOff) setTimeout(resolve, GRACE_MS, answer);
      else resolve(answer);
    });
  });
  request.end(body);
  return {
    over,
    abort() {
      request.destroy(new StoppedError('it was given up before it was answered'));
    },
  };
}

/** This side ended the request; the message is the reason. */
class StoppedError extends Error {
  override readonly name = 'StoppedError';
}
