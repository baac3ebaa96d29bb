import { randomUUID } from 'node:crypto';
import type { Request } from 'express';
import type { z } from 'zod';
import { LedgerError } from '../shared/errors.ts';
import { sha256 } from '../shared/ids.ts';
import { canonicalJson, type Json, type JsonObject } from '../shared/json.ts';
import { isKeepableText } from '../shared/text.ts';
import {
  DEFAULT_BODY_LIMIT_BYTES,
  hasBody,
  parseJson,
  readBody,
  refuseUnkeepable,
  requireContentType,
} from './body.ts';
import { CSV, parseTable } from './csv.ts';
import { ITEMS_LIMIT_BYTES, MAX_ITEMS } from './item-results.ts';
import type { Route } from './route.ts';

const CORRELATION_ID = /^[\w.:/+=-]{1,128}$/;

/** The client's own, if it sent one that is safe to log and to send back. */
export function correlationIdOf(request: Request): string {
  const given = request.headers['x-correlation-id'] ?? request.headers['x-request-id'];
  return typeof given === 'string' && CORRELATION_ID.test(given) ? given : randomUUID();
}

/** @throws LedgerError `validation-failed` */
export function idempotencyKeyOf(request: Request): string | undefined {
  const key = request.headers['idempotency-key'];
  if (request.method !== 'POST' || key === undefined) return undefined;
  if (typeof key === 'string' && key.length >= 1 && key.length <= 255) return key;
  throw new LedgerError('validation-failed', 'Send an Idempotency-Key of 1 to 255 characters.', {
    fields: [{ path: 'header.Idempotency-Key', message: 'must have 1 to 255 characters' }],
  });
}

/** @throws LedgerError `validation-failed`, with a field error for each mistake */
export function parseParams(route: Route, request: Request): unknown {
  return validate(route.params, keepable(request.params), 'path');
}

/** @throws LedgerError `validation-failed`, with a field error for each mistake */
export function parseQuery(route: Route, request: Request): unknown {
  return validate(route.query, keepable(request.query), 'query');
}

export interface ReceivedBody {
  /** As it was sent, a table as rows; undefined when there was none. */
  readonly json: Json | undefined;
  /** As the route's schema made it. */
  readonly body: unknown;
}

/** Whether the route takes the body as a table. */
export function isTable(
  route: Route,
  contentType: string | undefined,
): route is Route & Required<Pick<Route, 'table'>> {
  return route.table !== undefined && contentType === CSV;
}

/** @throws LedgerError of the body's content type, size, syntax and rules */
export async function receiveBody(
  route: Route,
  request: Request,
  contentType: string | undefined,
): Promise<ReceivedBody> {
  const { body } = route;
  if (body === undefined) return { json: undefined, body: undefined };
  if (!hasBody(request) && body.isOptional === true) {
    const [schema] = Object.values(body.content);
    return { json: undefined, body: validate(schema, {}, 'body') };
  }
  if (isTable(route, contentType)) {
    const sent = await readBody(request, ITEMS_LIMIT_BYTES);
    const rows = parseTable(sent, route.table.columns, MAX_ITEMS);
    return { json: rows, body: rows };
  }
  const asTable = route.table === undefined ? [] : [CSV];
  requireContentType(contentType ?? '', [...Object.keys(body.content), ...asTable]);
  const limitBytes = body.limitBytes ?? DEFAULT_BODY_LIMIT_BYTES;
  const json = parseJson(await readBody(request, limitBytes));
  if (body.isCheckedByItem !== true) refuseUnkeepable(json);
  return { json, body: validate(body.content[contentType ?? ''], json, 'body') };
}

/** Of all that makes it this request and no other; the order of keys in a body does not. */
export function digestOf(route: Route, request: Request, json: Json | undefined): string {
  const { params, query } = request as { params: JsonObject; query: JsonObject };
  try {
    return sha256(canonicalJson([route.method, route.path, params, query, json ?? null]));
  } catch (error) {
    // The stack, of what nests by the thousand: where items are checked one by one, nobody has counted.
    if (!(error instanceof RangeError)) throw error;
    const message = 'values nest too deep';
    throw invalid('body', message, [{ path: 'body', message }]);
  }
}

function validate(schema: z.ZodType | undefined, value: unknown, part: string): unknown {
  if (schema === undefined) return undefined;
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const fields = result.error.issues.map((issue) => ({
    path: [part, ...issue.path.map(String)].join('.'),
    message: issue.message,
  }));
  throw invalid(fields[0]?.path ?? part, fields[0]?.message ?? 'it is not valid', fields);
}

function keepable(texts: Record<string, unknown>): Record<string, unknown> {
  for (const [path, text] of Object.entries(texts)) {
    if (typeof text !== 'string' || isKeepableText(text)) continue;
    const message = 'text must not hold U+0000 or lone surrogates';
    throw invalid(path, message, [{ path, message }]);
  }
  return texts;
}

function invalid(
  path: string,
  message: string,
  fields: readonly { path: string; message: string }[],
): LedgerError {
  return new LedgerError('validation-failed', `Mend ${path}: ${message}.`, { fields });
}
