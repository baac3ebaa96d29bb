import type { IncomingMessage } from 'node:http';
import { LedgerError } from '../shared/errors.ts';
import type { Line } from './route.ts';

const MAX_LINE_BYTES = 256 * 1024;

/**
 * The lines of a body (NDJSON), without the blank ones. Read as they are asked for, so a slow
 * consumer slows the sender.
 * @throws LedgerError `body-too-large` for a line beyond 256 KiB: where the next begins is unknown.
 */
export async function* readLines(request: IncomingMessage): AsyncIterable<Line> {
  let number = 0;
  let pending: Buffer = Buffer.alloc(0);
  for await (const chunk of request as AsyncIterable<Buffer>) {
    pending = pending.length === 0 ? chunk : Buffer.concat([pending, chunk]);
    let start = 0;
    for (;;) {
      const end = pending.indexOf(0x0a, start);
      if (end === -1) break;
      number += 1;
      const text = pending.toString('utf8', start, end).trim();
      if (text !== '') yield { number, text };
      start = end + 1;
    }
    pending = pending.subarray(start);
    if (pending.length > MAX_LINE_BYTES) {
      throw new LedgerError('body-too-large', `Send lines of at most ${MAX_LINE_BYTES} bytes.`);
    }
  }
  const text = pending.toString('utf8').trim();
  if (text !== '') yield { number: number + 1, text };
}
