import type { ServerResponse } from 'node:http';

/** A reader is given this long to take what was written before its events are put aside. */
const GRACE_MS = 1_000;
/** A stream that has written nothing for so long is not behind. */
const WRITING_MS = 2_000;

/** Why a stream ended. */
export type StreamEnd = 'left' | 'drained' | 'revoked' | 'slow' | 'failed';

/**
 * One answer of Server-Sent Events (WHATWG HTML, section 9.2), written as fast as its reader reads.
 * It never holds more than one written text, so a reader that stops reading costs bounded memory.
 */
export class EventStream {
  readonly #response: ServerResponse;
  readonly #ending = new AbortController();
  readonly #onEnd: (end: StreamEnd) => void;
  #position: string;
  #isPositionWritten = false;
  #writtenAtMs = performance.now();
  #blockedAtMs: number | undefined;
  /** Ends the wait for the reader. */
  #wake: () => void = () => undefined;
  /** How old the last event was when it was written, in milliseconds. */
  #ageMs = 0;

  /** `position`: where the stream begins; a client that loses it at once resumes there. */
  constructor(response: ServerResponse, position: string, onEnd: (end: StreamEnd) => void) {
    this.#response = response;
    this.#position = position;
    this.#onEnd = onEnd;
    response.on('drain', () => this.#taken());
    response.once('close', () => this.#end('left'));
  }

  /** Aborted when the stream has ended, whoever ended it. */
  get signal(): AbortSignal {
    return this.#ending.signal;
  }

  /**
   * How far behind it is, in milliseconds: how old the events are that are being written, and how
   * long they have been waiting for the reader.
   */
  get lagMs(): number {
    const isWriting = performance.now() - this.#writtenAtMs < WRITING_MS;
    return (isWriting || this.blockedMs > 0 ? this.#ageMs : 0) + this.blockedMs;
  }

  /** How long the reader has not taken what was written, in milliseconds. */
  get blockedMs(): number {
    return this.#blockedAtMs === undefined ? 0 : performance.now() - this.#blockedAtMs;
  }

  /** The first bytes, so that the client knows that it is connected, and where it begins. */
  open(): void {
    this.#response.flushHeaders();
    // The streams of a process have a limit of their own for readers that take nothing.
    this.#response.socket?.setTimeout(0);
    this.keepAlive();
  }

  /**
   * Writes events, the last of which is at `position`. False when the reader does not keep up: then
   * `drained` is to be waited for before anything else is written, without holding events
   * meanwhile.
   */
  async write(text: string, position: string, recordedAt?: Date): Promise<boolean> {
    this.#position = position;
    if (text === '') this.#isPositionWritten = false;
    if (text === '' || this.#ending.signal.aborted) return true;
    this.#isPositionWritten = true;
    this.#writtenAtMs = performance.now();
    if (recordedAt !== undefined) this.#ageMs = Math.max(0, Date.now() - recordedAt.getTime());
    if (this.#response.write(text)) return true;
    this.#blockedAtMs = performance.now();
    await this.#untilTaken(GRACE_MS);
    return this.#blockedAtMs === undefined;
  }

  /** Until the reader has taken what was written, or the stream has ended. */
  async drained(): Promise<void> {
    const isBlocked = this.#blockedAtMs !== undefined && !this.signal.aborted;
    if (isBlocked) await this.#untilTaken();
  }

  /**
   * A comment, and the position where it has moved without an event: a client that resumes skips
   * that much.
   */
  keepAlive(idleMs = 0): void {
    if (this.#blockedAtMs !== undefined || performance.now() - this.#writtenAtMs < idleMs) return;
    const id = this.#isPositionWritten ? '' : `id: ${this.#position}\n`;
    this.#isPositionWritten = true;
    this.#writtenAtMs = performance.now();
    this.#response.write(`: keep-alive\n${id}\n`);
  }

  /**
   * Ends it as the protocol wants: the client resumes after `retryMs`, here or in another process.
   */
  end(end: StreamEnd, retryMs?: number): void {
    if (this.#ending.signal.aborted) return;
    this.#response.end(retryMs === undefined ? '' : `retry: ${retryMs}\n\n`);
    this.#end(end);
  }

  /** Closes the connection of a reader that takes nothing. */
  destroy(end: StreamEnd): void {
    this.#end(end);
    this.#response.destroy();
  }

  #untilTaken(atMostMs?: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = atMostMs === undefined ? undefined : setTimeout(resolve, atMostMs);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  #taken(): void {
    this.#blockedAtMs = undefined;
    this.#writtenAtMs = performance.now();
    this.#wake();
  }

  #end(end: StreamEnd): void {
    if (this.#ending.signal.aborted) return;
    this.#ending.abort();
    this.#wake();
    this.#onEnd(end);
  }
}
