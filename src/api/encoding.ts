import type { IncomingHttpHeaders, IncomingMessage } from 'node:http';
import type { Readable } from 'node:stream';
import {
  createBrotliDecompress,
  createGunzip,
  createInflate,
  type BrotliDecompress,
  type Gunzip,
  type Inflate,
} from 'node:zlib';
import { LedgerError } from '../shared/errors.ts';
import { INFLATE_RATIO_FROM_BYTES, MAX_INFLATE_RATIO } from './admission/limits.ts';

/** Recognizes the error codes of zlib and of Brotli. */
export function isBrokenEncoding(error: unknown): boolean {
  return error instanceof Error && 'code' in error && /^(Z_|ERR__)/.test(String(error.code));
}

type ContentCoding = 'identity' | 'gzip' | 'deflate' | 'br';

/**
 * How the body is encoded (RFC 9110, section 8.4); undefined for a coding that is not known here.
 */
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

/** The bytes of a body as they are read: inflated, and counted against its limits. */
export interface InflatedBody {
  readonly stream: Readable;
  /** @throws LedgerError `body-too-large` once the bytes are more than the body may be */
  readonly count: (bytes: number) => void;
  /**
   * Reads no further. The rest is taken and dropped, not decoded, because clients send all before
   * they read an answer; destroying the request would destroy the connection, and the answer with
   * it.
   */
  readonly dropRest: () => void;
}

/** The body of a request whose coding is known. */
export function inflated(request: IncomingMessage, limitBytes: number): InflatedBody {
  const decoder = decoderOf(contentCoding(request.headers));
  if (decoder !== undefined) {
    // `pipe` tells the decoder neither of an error nor of a client that leaves.
    request.once('error', (error) => decoder.destroy(error));
    request.once('close', () => {
      if (!request.complete) decoder.destroy(new Error('the body ended before its time'));
    });
    request.pipe(decoder);
  }
  let size = 0;
  return {
    stream: decoder ?? request,
    count(bytes) {
      size += bytes;
      if (size > limitBytes) throw tooLarge(limitBytes);
      if (decoder === undefined || size <= INFLATE_RATIO_FROM_BYTES) return;
      if (size > decoder.bytesWritten * MAX_INFLATE_RATIO) throw inflatesTooMuch();
    },
    dropRest() {
      if (decoder === undefined) {
        request.removeAllListeners('data');
      } else {
        request.unpipe(decoder);
        decoder.destroy();
      }
      request.resume();
    },
  };
}

/**
 * @throws LedgerError `body-too-large` for a body that says itself that it is, before any of it is
 * read
 */
export function refuseDeclaredLength({ headers }: IncomingMessage, limitBytes: number): void {
  if (Number(headers['content-length'] ?? 0) > limitBytes) throw tooLarge(limitBytes);
}

function tooLarge(limitBytes: number): LedgerError {
  return new LedgerError(
    'body-too-large',
    `The body has more than ${limitBytes} bytes: send a smaller one.`,
  );
}

function inflatesTooMuch(): LedgerError {
  return new LedgerError(
    'body-too-large',
    `The body inflates more than ${MAX_INFLATE_RATIO} times: send it without Content-Encoding.`,
  );
}

type Decoder = Gunzip | Inflate | BrotliDecompress;

function decoderOf(coding: ContentCoding | undefined): Decoder | undefined {
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
