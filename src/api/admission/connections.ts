import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { LedgerError } from '../../shared/errors.ts';
import {
  ANSWER_STALL_MS,
  MAX_DROPPED_REQUESTS,
  MAX_WAITING_REQUESTS,
  REST_OF_BODY_MS,
} from './limits.ts';

interface Connection {
  isBusy: boolean;
  /** Requests that were sent before the one that runs was answered, in their order. */
  readonly waiting: (() => void)[];
  dropped: number;
}

/**
 * Works on one request at a time for each connection. HTTP/1.1 answers pipelined requests in their
 * order, so the answers of later ones would only wait in memory.
 */
export class Connections {
  readonly #connections = new WeakMap<Socket, Connection>();

  /**
   * Calls `begin` when it is the request's turn; `isRefused`: too many wait, so this is the last
   * answer.
   */
  enter(
    request: IncomingMessage,
    response: ServerResponse,
    begin: (isRefused: boolean) => void,
  ): void {
    const { socket } = request;
    const connection = this.#of(socket);
    const take = (isRefused: boolean) => (): void => {
      response.once('close', () => {
        closeIfStillSent(request);
        next(socket, connection);
      });
      begin(isRefused);
    };
    if (!connection.isBusy) {
      connection.isBusy = true;
      take(false)();
    } else if (connection.waiting.length < MAX_WAITING_REQUESTS) {
      connection.waiting.push(take(false));
    } else if (connection.dropped === 0) {
      connection.dropped += 1;
      connection.waiting.push(take(true));
    } else {
      connection.dropped += 1;
      if (connection.dropped > MAX_DROPPED_REQUESTS) socket.destroy();
    }
  }

  #of(socket: Socket): Connection {
    const known = this.#connections.get(socket);
    if (known !== undefined) return known;
    const connection = { isBusy: false, waiting: [], dropped: 0 };
    this.#connections.set(socket, connection);
    return connection;
  }
}

function next(socket: Socket, connection: Connection): void {
  const turn = connection.waiting.shift();
  if (turn === undefined || socket.destroyed) {
    connection.waiting.length = 0;
    connection.isBusy = false;
    return;
  }
  // The limit for reading the last answer is none for making the next.
  socket.setTimeout(0);
  turn();
}

/**
 * A client whose request is answered before it is sent may send the rest for a while, to read the
 * answer.
 */
function closeIfStillSent(request: IncomingMessage): void {
  if (request.complete || request.socket.destroyed) return;
  setTimeout(() => {
    if (!request.complete) request.socket.destroy();
  }, REST_OF_BODY_MS).unref();
}

/**
 * Closes the connection when nothing of an answer is read for a while. Node sets the socket's time
 * limit anew when the answer is read, and counts a partly written chunk as progress.
 */
export function closeUnlessRead(response: ServerResponse): void {
  if (response.socket !== null) response.socket.setTimeout(ANSWER_STALL_MS);
  else response.once('socket', (socket: Socket) => socket.setTimeout(ANSWER_STALL_MS));
}

export function tooManyRequests(): LedgerError {
  return new LedgerError(
    'overloaded',
    `More than ${MAX_WAITING_REQUESTS} requests wait on this connection: read answers before ` +
      'sending more.',
  );
}
