import { isUtf8 } from 'node:buffer';
import type { IncomingMessage } from 'node:http';
import { pipeline, type Transform } from 'node:stream';
import { createBrotliDecompress, createGunzip, createInflate } from 'node:zlib';
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
  for await (const chunk of inflated(request)) {
    pending = pending.length === 0 ? chunk : Buffer.concat([pending, chunk]);
    let start = 0;
    for (;;) {
      const end = pending.indexOf(0x0a, start);
      if (end === -1) break;
      number += 1;
      const text = textOf(pending.subarray(start, end));
      if (text !== '') yield { number, text };
      start = end + 1;
    }
    pending = pending.subarray(start);
    if (pending.length > MAX_LINE_BYTES) {
      throw new LedgerError('body-too-large', `Send lines of at most ${MAX_LINE_BYTES} bytes.`);
    }
  }
  const text = textOf(pending);
  if (text !== '') yield { number: number + 1, text };
}

/** A line that is no UTF-8 becomes U+FFFD alone, which is no JSON: it is refused, not mended. */
function textOf(line: Buffer): string {
  return isUtf8(line) ? line.toString('utf8').trim() : '\ufffd';
}

/** The bytes of the body; its encoding has been found to be one of these. */
function inflated(request: IncomingMessage): AsyncIterable<Buffer> {
  const decoder = decoderOf(request.headers['content-encoding']?.toLowerCase());
  // An error of either reaches whoever reads, through the decoder.
  return decoder === undefined ? request : pipeline(request, decoder, () => undefined);
}

function decoderOf(encoding: string | undefined): Transform | undefined {
  switch (encoding) {
    case 'gzip':
      return createGunzip();
    case 'deflate':
      return createInflate();
    case 'br':
      return createBrotliDecompress();
    default:
      return undefined;
  }
}
