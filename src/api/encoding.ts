import type { IncomingMessage } from 'node:http';
import { pipeline, type Readable, type Transform } from 'node:stream';
import { createBrotliDecompress, createGunzip, createInflate } from 'node:zlib';

/** By the codes of zlib, and of Brotli. */
export function isBrokenEncoding(error: unknown): boolean {
  return error instanceof Error && 'code' in error && /^(Z_|ERR__)/.test(String(error.code));
}

/** The bytes of the body; its encoding has been found to be one of these. */
export function inflated(request: IncomingMessage): Readable {
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
    case undefined:
    default:
      return undefined;
  }
}
