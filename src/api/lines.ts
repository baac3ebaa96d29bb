import { isUtf8 } from 'node:buffer';
import type { IncomingMessage } from 'node:http';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { LedgerError } from '../shared/errors.ts';
import { clientLeft } from './admission/closing.ts';
import { STREAM_LIMITS } from './admission/limits.ts';
import { inflated, isBrokenEncoding } from './encoding.ts';
import type { Line } from './route.ts';

/** One JSON value a line: its content types. */
export const NDJSON = ['application/x-ndjson', 'application/ndjson', 'application/jsonl'];

/** What a line becomes that cannot be read: no JSON, so it is refused like any other bad one. */
const UNREADABLE = '\ufffd';
const NEWLINE = 0x0a;
const LINES_PER_TURN = 100;

export interface LineLimits {
  /** How many bytes the body may have when inflated. */
  readonly limitBytes: number;
  /** Whether the client has left, so that no line needs to be read any more. */
  readonly isClosed: () => boolean;
}

/**
 * The lines of a body (NDJSON), without the blank ones. Read as they are asked for, so a slow
 * consumer slows the sender. Unreadable are those that are no UTF-8 or take more than 256 KiB, and
 * the rest where the encoding breaks off.
 * @throws LedgerError `body-too-large`; `request-timeout` when the client has left
 */
export async function* readLines(
  request: IncomingMessage,
  { limitBytes, isClosed }: LineLimits,
): AsyncGenerator<Line, void> {
  const { stream, count, dropRest } = inflated(request, limitBytes);
  const partial = new PartialLine();
  let number = 0;
  try {
    for await (const chunk of stream.iterator({
      destroyOnReturn: false,
    }) as AsyncIterable<Buffer>) {
      count(chunk.length);
      let start = 0;
      for (;;) {
        const end = chunk.indexOf(NEWLINE, start);
        if (end === -1) break;
        number += 1;
        if (number > STREAM_LIMITS.lines) throw tooManyLines();
        const text = partial.end(chunk.subarray(start, end));
        if (text !== '') yield { number, text };
        if (isClosed()) throw clientLeft();
        // Lines that are refused at once wait for nothing, and would keep all others waiting.
        if (number % LINES_PER_TURN === 0) await nextTurn();
        start = end + 1;
      }
      partial.add(chunk.subarray(start));
    }
  } catch (error) {
    if (!isBrokenEncoding(error)) throw error;
    partial.breakOff();
  } finally {
    dropRest();
  }
  const text = partial.end(Buffer.alloc(0));
  if (text !== '') yield { number: number + 1, text };
}

/** The beginning of a line whose end has not been read. Linear, however small the pieces are. */
class PartialLine {
  #bytes = Buffer.alloc(0);
  #length = 0;
  #isUnreadable = false;

  add(piece: Buffer): void {
    if (piece.length === 0 || this.#isUnreadable) return;
    const length = this.#length + piece.length;
    if (length > STREAM_LIMITS.lineBytes) {
      this.breakOff();
      return;
    }
    if (length > this.#bytes.length) {
      const grown = Buffer.allocUnsafe(Math.max(length, 2 * this.#bytes.length));
      this.#bytes.copy(grown, 0, 0, this.#length);
      this.#bytes = grown;
    }
    piece.copy(this.#bytes, this.#length);
    this.#length = length;
  }

  /** Makes the line one that cannot be read. */
  breakOff(): void {
    this.#isUnreadable = true;
    this.#length = 0;
  }

  /** The text of the line that ends with this piece. The next one begins. */
  end(piece: Buffer): string {
    // Most lines are whole in one piece, and are not copied.
    if (this.#length > 0) this.add(piece);
    const line = this.#length > 0 ? this.#bytes.subarray(0, this.#length) : piece;
    const text = this.#isUnreadable ? UNREADABLE : textOf(line);
    this.#isUnreadable = false;
    this.#length = 0;
    return text;
  }
}

function textOf(line: Buffer): string {
  if (line.length > STREAM_LIMITS.lineBytes || !isUtf8(line)) return UNREADABLE;
  return line.toString('utf8').trim();
}

function tooManyLines(): LedgerError {
  return new LedgerError(
    'body-too-large',
    `The stream has more than ${STREAM_LIMITS.lines} lines: send the rest again, those ` +
      'before were handled.',
  );
}
