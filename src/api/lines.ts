import { isUtf8 } from 'node:buffer';
import type { IncomingMessage } from 'node:http';
import { inflated, isBrokenEncoding } from './encoding.ts';
import type { Line } from './route.ts';

/** One JSON value a line: its content types. */
export const NDJSON = ['application/x-ndjson', 'application/ndjson', 'application/jsonl'];

const MAX_LINE_BYTES = 256 * 1024;

/** What a line becomes that cannot be read: no JSON, so it is refused like any other bad one. */
const UNREADABLE = '\ufffd';

/**
 * The lines of a body (NDJSON), without the blank ones. Read as they are asked for, so a slow
 * consumer slows the sender. Unreadable are those that are no UTF-8 or take more than 256 KiB, and
 * the rest where the encoding breaks off.
 */
export async function* readLines(request: IncomingMessage): AsyncIterable<Line> {
  let number = 0;
  let pending: Buffer = Buffer.alloc(0);
  // Of the line that is being read, when it is too long to be kept.
  let isTooLong = false;
  try {
    for await (const chunk of inflated(request)) {
      pending = pending.length === 0 ? chunk : Buffer.concat([pending, chunk]);
      let start = 0;
      for (;;) {
        const end = pending.indexOf(0x0a, start);
        if (end === -1) break;
        number += 1;
        const text = isTooLong ? UNREADABLE : textOf(pending.subarray(start, end));
        isTooLong = false;
        if (text !== '') yield { number, text };
        start = end + 1;
      }
      pending = pending.subarray(start);
      if (pending.length > MAX_LINE_BYTES) {
        isTooLong = true;
        pending = Buffer.alloc(0);
      }
    }
  } catch (error) {
    if (!isBrokenEncoding(error)) throw error;
    isTooLong = true;
  }
  const text = isTooLong ? UNREADABLE : textOf(pending);
  if (text !== '') yield { number: number + 1, text };
}

function textOf(line: Buffer): string {
  if (line.length > MAX_LINE_BYTES || !isUtf8(line)) return UNREADABLE;
  return line.toString('utf8').trim();
}
