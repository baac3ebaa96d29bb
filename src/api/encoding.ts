import type { IncomingHttpHeaders, IncomingMessage } from 'node:http';
import { pipeline, type Readable, type Transform } from 'node:stream';
import { createBrotliDecompress, createGunzip, createInflate } from 'node:zlib';

/** By the codes of zlib, and of Brotli. */
export function isBrokenEncoding(error: unknown): boolean {
  return error instanceof Error && 'code' in error && /^(Z_|ERR__)/.test(String(error.code));
}

type ContentCoding = 'identity' | 'gzip' | 'deflate' | 'br';

/** How the body is encoded (RFC 9110, section 8.4); undefined for a coding that is not known here. */
export function contentCoding(headers: IncomingHttpHeaders): ContentCoding | undefined {
  const codings = (headers['content-encoding'] ?? '')
    .split(',')
    .map((coding) => coding.trim().toLowerCase())
    .filter((coding) => coding !== '' && coding !== 'identity');
  if (codings.length > 1) return undefined;
  switch (codings[0]) {
    case undefined:
      return 'identity';
    case 'gzip':
    case 'x-gzip':
      return 'gzip';
    case 'deflate':
      return 'deflate';
    case 'br':
      return 'br';
    default:
      return undefined;
  }
}

/** The bytes of the body; its coding is known. */
export function inflated(request: IncomingMessage): Readable {
  const decoder = decoderOf(contentCoding(request.headers));
  // An error of either reaches whoever reads, through the decoder.
  return decoder === undefined ? request : pipeline(request, decoder, () => undefined);
}

function decoderOf(coding: ContentCoding | undefined): Transform | undefined {
  switch (coding) {
    case 'gzip':
      return createGunzip();
    case 'deflate':
      return createInflate();
    case 'br':
      return createBrotliDecompress();
    case 'identity':
    case undefined:
      return undefined;
  }
}
