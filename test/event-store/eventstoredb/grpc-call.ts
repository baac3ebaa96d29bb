import type { IncomingHttpHeaders, ServerHttp2Stream } from 'node:http2';
import { status } from '@grpc/grpc-js';

export interface GrpcFailure {
  readonly code: status;
  readonly details: string;
  readonly metadata?: Readonly<Record<string, string>>;
}

/** One call, whichever of its sides streams. */
export class GrpcCall {
  readonly headers: IncomingHttpHeaders;
  readonly #stream: ServerHttp2Stream;
  #outgoing: Uint8Array[] = [];
  #isEnded = false;
  #onMessage: (message: Uint8Array) => void = () => undefined;

  constructor(stream: ServerHttp2Stream, headers: IncomingHttpHeaders) {
    this.headers = headers;
    this.#stream = stream;
    const unframe = unframing((message) => this.#onMessage(message));
    stream.on('data', unframe);
    // What breaks a call is seen by its end.
    stream.on('error', () => undefined);
    const deadline = milliseconds(headers['grpc-timeout']);
    if (deadline === undefined) return;
    const timer = setTimeout(
      () => this.fail({ code: status.DEADLINE_EXCEEDED, details: 'Deadline Exceeded' }),
      deadline,
    );
    stream.on('close', () => clearTimeout(timer));
  }

  /** The port of the other end, which tells connections apart. */
  get clientPort(): number | undefined {
    return this.#stream.session?.socket.remotePort;
  }

  get isOver(): boolean {
    return this.#isEnded || this.#stream.destroyed;
  }

  onMessage(handler: (message: Uint8Array) => void): void {
    this.#onMessage = handler;
  }

  onAllReceived(handler: () => void): void {
    this.#stream.on('end', handler);
  }

  onOver(handler: () => void): void {
    this.#stream.on('close', handler);
  }

  /** Sends together what is sent in one turn. */
  send(message: Uint8Array): void {
    if (this.#outgoing.length === 0) queueMicrotask(() => this.#flush());
    this.#outgoing.push(framed(message));
  }

  /** False when the client does not take it up as fast: then wait for `drained`. */
  sendFramed(messages: readonly Uint8Array[]): boolean {
    this.#flush();
    if (this.isOver || messages.length === 0) return true;
    this.#respond();
    return this.#stream.write(messages.length === 1 ? messages[0] : Buffer.concat(messages));
  }

  /** Settles also when the call ends. */
  drained(): Promise<void> {
    return new Promise((resolve) => {
      if (this.isOver) {
        resolve();
        return;
      }
      const done = (): void => {
        this.#stream.off('drain', done);
        this.#stream.off('close', done);
        resolve();
      };
      this.#stream.on('drain', done);
      this.#stream.on('close', done);
    });
  }

  end(): void {
    this.#finish({ 'grpc-status': String(status.OK) });
  }

  fail({ code, details, metadata }: GrpcFailure): void {
    const trailers: Record<string, string> = {
      'grpc-status': String(code),
      'grpc-message': encodeURIComponent(details),
    };
    for (const [name, value] of Object.entries(metadata ?? {})) {
      trailers[name] = value.replaceAll(/[^\x20-\x7e]+/g, (awkward) =>
        encodeURIComponent(awkward.toWellFormed()),
      );
    }
    this.#finish(trailers);
  }

  #finish(trailers: Record<string, string>): void {
    this.#flush();
    if (this.isOver) return;
    this.#isEnded = true;
    this.#respond();
    this.#stream.once('wantTrailers', () => this.#stream.sendTrailers(trailers));
    this.#stream.end();
  }

  #flush(): void {
    const frames = this.#outgoing;
    if (frames.length === 0) return;
    this.#outgoing = [];
    if (this.isOver) return;
    this.#respond();
    this.#stream.write(frames.length === 1 ? frames[0] : Buffer.concat(frames));
  }

  #respond(): void {
    if (this.#stream.headersSent) return;
    this.#stream.respond(
      { ':status': 200, 'content-type': 'application/grpc+proto' },
      { waitForTrailers: true },
    );
  }
}

const FRAME_HEAD = 5;

export function framed(message: Uint8Array): Buffer {
  const frame = Buffer.allocUnsafe(FRAME_HEAD + message.length);
  frame.writeUInt8(0, 0);
  frame.writeUInt32BE(message.length, 1);
  frame.set(message, FRAME_HEAD);
  return frame;
}

/** Takes bytes as they come, and gives whole messages. */
function unframing(onMessage: (message: Uint8Array) => void): (chunk: Buffer) => void {
  let waiting: Buffer[] = [];
  let waitingLength = 0;
  let needed = FRAME_HEAD;

  return (chunk) => {
    waiting.push(chunk);
    waitingLength += chunk.length;
    if (waitingLength < needed) return;
    let rest = waiting.length === 1 ? chunk : Buffer.concat(waiting);
    for (;;) {
      needed = rest.length < FRAME_HEAD ? FRAME_HEAD : FRAME_HEAD + rest.readUInt32BE(1);
      if (rest.length < needed) break;
      onMessage(rest.subarray(FRAME_HEAD, needed));
      rest = rest.subarray(needed);
    }
    waiting = rest.length > 0 ? [rest] : [];
    waitingLength = rest.length;
  };
}

const UNITS: Readonly<Record<string, number>> = {
  H: 3_600_000,
  M: 60_000,
  S: 1_000,
  m: 1,
  u: 1e-3,
  n: 1e-6,
};

function milliseconds(timeout: string | string[] | undefined): number | undefined {
  const [, count, unit] = /^(\d+)([HMSmun])$/.exec(String(timeout)) ?? [];
  if (count === undefined || unit === undefined) return undefined;
  return Math.min(Number(count) * (UNITS[unit] ?? 1), 2 ** 31 - 1);
}
