import { isUtf8 } from 'node:buffer';
import type { IncomingHttpHeaders, IncomingMessage } from 'node:http';
import type { z } from 'zod';
import { LedgerError } from '../shared/errors.ts';
import { parseJsonText as parsedText, UNSAFE_NUMBER } from '../shared/json-text.ts';
import type { Json, JsonObject } from '../shared/json.ts';
import { isKeepableText } from '../shared/text.ts';
import { refuseCostlyJson } from './admission/structure.ts';
import { watchUpload } from './admission/upload-deadline.ts';
import { contentCoding, inflated, isBrokenEncoding, refuseDeclaredLength } from './encoding.ts';
import { invalid, validated } from './validation.ts';

export const DEFAULT_BODY_LIMIT_BYTES = 256 * 1024;
/** How deep values may nest; what is deeper breaks recursive readers further on. */
const MAX_BODY_DEPTH = 40;

/**
 * Whether there may be a body to read: that of a GET or DELETE means nothing (RFC 9110, section
 * 9.3).
 */
function hasBody({ method, headers }: IncomingMessage): boolean {
  if (method === 'GET' || method === 'HEAD' || method === 'DELETE') return false;
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0;
}

/**
 * The content type without its parameters, or undefined when none was declared.
 * @throws LedgerError `unsupported-media-type` for a charset or an encoding that nothing here reads
 */
export function contentTypeOf(request: IncomingMessage): string | undefined {
  const { headers } = request;
  const [type = '', ...parameters] = headers['content-type']?.split(';') ?? [];
  if (hasBody(request)) {
    requireKnownCoding(headers);
    refuseOtherCharsets(parameters);
  }
  return headers['content-type'] === undefined ? undefined : type.trim().toLowerCase();
}

function requireKnownCoding(headers: IncomingHttpHeaders): void {
  if (contentCoding(headers) !== undefined) return;
  throw new LedgerError(
    'unsupported-media-type',
    'The Content-Encoding is not supported: send the body with gzip, deflate, br or none.',
  );
}

function refuseOtherCharsets(parameters: readonly string[]): void {
  const charset = parameters
    .map((parameter) => /^\s*charset\s*=\s*"?([^"\s]+)"?\s*$/i.exec(parameter)?.[1])
    .find((value) => value !== undefined);
  if (charset !== undefined && !/^(utf-?8|us-ascii)$/i.test(charset)) {
    throw new LedgerError(
      'unsupported-media-type',
      'The charset is not supported: send the body in UTF-8.',
    );
  }
}

export function requireContentType(contentType: string, accepted: readonly string[]): void {
  if (accepted.includes(contentType)) return;
  throw new LedgerError(
    'unsupported-media-type',
    `The Content-Type is not supported: send ${accepted.join(' or ')}.`,
  );
}

export interface BodyLimits {
  readonly limitBytes: number;
  /** Is told the size that the body has so far. May throw: then no more of it is read. */
  readonly countInFlight: (size: number) => void;
}

/**
 * The whole body, inflated.
 * @throws LedgerError `body-too-large`, `request-timeout`, `overloaded`, `malformed-json` when it
 * breaks off
 */
export async function readBody(
  request: IncomingMessage,
  { limitBytes, countInFlight }: BodyLimits,
): Promise<Buffer> {
  refuseDeclaredLength(request, limitBytes);
  const { stream: body, count, dropRest } = inflated(request, limitBytes);
  const chunks: Buffer[] = [];
  let size = 0;
  let stopWatching: (() => void) | undefined;
  const read = new Promise<Buffer>((resolve, reject) => {
    const refuse = (error: unknown): void => {
      chunks.length = 0;
      dropRest();
      reject(error);
    };
    stopWatching = watchUpload(() => size, refuse);
    body.on('data', (chunk: Buffer) => {
      try {
        count(chunk.length);
        size += chunk.length;
        countInFlight(size);
        chunks.push(chunk);
      } catch (error) {
        refuse(error);
      }
    });
    body.on('end', () =>
      resolve(chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks)),
    );
    body.on('error', (error) => reject(brokenOff(error)));
    body.on('close', () => {
      // After every body, and an error is dear to make.
      if (!body.readableEnded) reject(brokenOff(undefined));
    });
  });
  return await read.finally(stopWatching);
}

function brokenOff(error: unknown): LedgerError {
  const reason = isBrokenEncoding(error) ? 'its encoding is broken' : 'it ended before its time';
  return new LedgerError('malformed-json', `The body could not be read: ${reason}.`, {
    cause: error,
  });
}

/**
 * @throws LedgerError `malformed-json`; `validation-failed` for what would cost too much to parse
 */
export async function parseJson(body: Buffer): Promise<Json> {
  if (!isUtf8(body)) throw new LedgerError('malformed-json', 'The body is not valid UTF-8.');
  await refuseCostlyJson(body);
  return parseSyntax(body.toString('utf8'));
}

/**
 * @throws LedgerError `malformed-json`; `validation-failed` for what can be parsed but not kept.
 */
export function parseJsonText(text: string): Json {
  const parsed = parseSyntax(text);
  refuseUnkeepable(parsed);
  return parsed;
}

/**
 * JSON that may hold what cannot be kept: an item of many is named in its result before it is
 * refused for that.
 * @throws LedgerError `malformed-json`
 */
export function parseSyntax(text: string): Json {
  try {
    return parsedText(text);
  } catch (error) {
    const reason = error instanceof Error ? error.message : 'it cannot be parsed';
    throw new LedgerError('malformed-json', `The body is not valid JSON: ${reason}.`);
  }
}

/** @throws LedgerError `validation-failed` for what can be parsed but not kept. */
export function refuseUnkeepable(value: Json): void {
  const complaint = unkeepable(value, 0);
  if (complaint !== undefined) throw refusalOf(complaint);
}

/**
 * What a schema makes of a body that can be kept. A schema that allows fewer levels than any body
 * may have refuses a body that is too deep itself, so that the answer has one limit, however deep
 * the body is.
 * @throws LedgerError `validation-failed`
 */
export function validatedBody<Body>(schema: z.ZodType<Body>, value: Json): Body {
  const complaint = unkeepable(value, 0);
  if (complaint !== undefined && complaint.isDepth !== true) throw refusalOf(complaint);
  const body = validated(schema, value, 'body');
  if (complaint !== undefined) throw refusalOf(complaint);
  return body;
}

function refusalOf({ path, message }: Complaint): LedgerError {
  return invalid([{ path: ['body', ...path].join('.'), message }]);
}

/**
 * What JSON allows and no store keeps: U+0000 and lone surrogates, numbers that a double does not
 * hold (they are read as infinite, and would be written as null, which a merge patch takes for
 * "remove"), and nesting without end.
 */
function unkeepable(value: Json, depth: number): Complaint | undefined {
  if (typeof value === 'string') {
    return isKeepableText(value)
      ? undefined
      : { path: [], message: 'must not hold U+0000 or lone surrogates' };
  }
  if (typeof value === 'number') {
    return Number.isFinite(value) ? undefined : { path: [], message: UNSAFE_NUMBER };
  }
  if (typeof value !== 'object' || value === null) return undefined;
  if (depth >= MAX_BODY_DEPTH) {
    return {
      path: [],
      message: `must not nest deeper than ${MAX_BODY_DEPTH} levels`,
      isDepth: true,
    };
  }
  for (const key of Object.keys(value)) {
    if (!isKeepableText(key)) {
      return { path: [], message: 'must not have names with U+0000 or lone surrogates' };
    }
    const complaint = unkeepable((value as JsonObject)[key] as Json, depth + 1);
    if (complaint !== undefined) return { ...complaint, path: [key, ...complaint.path] };
  }
  return undefined;
}

interface Complaint {
  readonly path: readonly string[];
  readonly message: string;
  readonly isDepth?: boolean;
}
