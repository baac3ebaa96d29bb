import { randomUUID } from 'node:crypto';
import type { Request, Response } from 'express';
import { sha256 } from '../shared/ids.ts';
import { canonicalJson, type Json, type JsonObject } from '../shared/json.ts';
import { isKeepableText } from '../shared/text.ts';
import { parsedInTurn } from './admission/heavy-work.ts';
import { countedUntilClosed } from './admission/in-flight.ts';
import { limitFor } from './admission/limits.ts';
import type { Caller } from './authentication.ts';
import {
  DEFAULT_BODY_LIMIT_BYTES,
  parseJson,
  readBody,
  requireContentType,
  validatedBody,
} from './body.ts';
import { CSV_TYPES, parseTable } from './csv.ts';
import { ITEMS_LIMIT_BYTES, MAX_ITEMS } from './item-results.ts';
import type { QueryTexts } from './query-text.ts';
import { withoutKeys } from './redaction.ts';
import type { Route } from './route.ts';
import { invalid, validated } from './validation.ts';

const CORRELATION_ID = /^[\w.:/+=-]{1,128}$/;

/** The client's own, if it sent one that is safe to log, to record and to send back. */
export function correlationIdOf(request: Request): string {
  const given = request.headers['x-correlation-id'] ?? request.headers['x-request-id'];
  const isSafe =
    typeof given === 'string' && CORRELATION_ID.test(given) && withoutKeys(given) === given;
  return isSafe ? given : randomUUID();
}

/** @throws LedgerError `validation-failed` */
export function idempotencyKeyOf(request: Request): string | undefined {
  const key = request.headers['idempotency-key'];
  if (request.method !== 'POST' || key === undefined) return undefined;
  if (typeof key === 'string' && key.length >= 1 && key.length <= 255) return key;
  throw invalid([{ path: 'header.Idempotency-Key', message: 'must have 1 to 255 characters' }]);
}

/** @throws LedgerError `validation-failed`, with a field error for each mistake */
export function parseParams({ params: schema }: Route, request: Request): unknown {
  return schema && validated(schema, keepable(request.params, 'path'), 'path');
}

/** @throws LedgerError `validation-failed`, with a field error for each mistake */
export function parseQuery({ query: schema }: Route, texts: QueryTexts): unknown {
  return schema && validated(schema, keepable(texts, 'query'), 'query');
}

/** Those that are used; a CloudEvent may have more. */
const CLOUD_EVENT_ATTRIBUTES = ['specversion', 'id', 'source', 'type', 'time'] as const;

/**
 * The attributes of a CloudEvent in binary mode (CloudEvents HTTP binding 1.0, section 3.1), whose
 * values are percent-encoded. A body of a CloudEvents type is one in structured mode.
 */
export function cloudEventOf(
  { takesCloudEvent }: Route,
  { headers }: Request,
  contentType: string | undefined,
): Readonly<Record<string, string>> | undefined {
  if (takesCloudEvent !== true || headers['ce-specversion'] === undefined) return undefined;
  if (contentType?.startsWith('application/cloudevents') === true) return undefined;
  const attributes: Record<string, string> = {};
  for (const name of CLOUD_EVENT_ATTRIBUTES) {
    const value = headers[`ce-${name}`];
    if (typeof value === 'string') attributes[name] = percentDecoded(value);
  }
  return attributes;
}

/** As it is, where it is not percent-encoded. */
function percentDecoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
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
  return route.table !== undefined && CSV_TYPES.includes(contentType ?? '');
}

/** @throws LedgerError of the body's content type, size, syntax and rules */
export async function receiveBody(
  route: Route,
  request: Request,
  {
    contentType,
    caller,
    response,
  }: {
    readonly contentType: string | undefined;
    readonly caller: Caller;
    readonly response: Response;
  },
): Promise<ReceivedBody> {
  const { body } = route;
  if (body === undefined) return { json: undefined, body: undefined };
  const countInFlight = countedUntilClosed(caller.keyId, response);
  if (isTable(route, contentType)) {
    const { columns } = route.table;
    const limitBytes = limitFor(caller, ITEMS_LIMIT_BYTES);
    const sent = await readBody(request, { limitBytes, countInFlight });
    const rows = await parsedInTurn(sent, () => parseTable(sent, columns, MAX_ITEMS));
    return { json: rows, body: rows };
  }
  const asTable = route.table === undefined ? [] : CSV_TYPES;
  const accepted = [...Object.keys(body.content), ...asTable];
  const limitBytes = limitFor(caller, body.limitBytes ?? DEFAULT_BODY_LIMIT_BYTES);
  if (body.isOptional !== true) requireContentType(contentType ?? '', accepted);
  const sent = await readBody(request, { limitBytes, countInFlight });
  // That a body in chunks is empty is known once it is read.
  if (body.isOptional === true) {
    if (sent.length === 0) {
      const [schema] = Object.values(body.content);
      return { json: undefined, body: schema && validated(schema, {}, 'body') };
    }
    requireContentType(contentType ?? '', accepted);
  }
  const json = await parsedInTurn(sent, () => parseJson(sent));
  const schema = body.content[contentType ?? ''];
  if (schema === undefined) return { json, body: undefined };
  const read =
    body.isCheckedByItem === true ? validated(schema, json, 'body') : validatedBody(schema, json);
  return { json, body: read };
}

/** What a body says; the parts of a streamed one have digests of their own. */
export type DigestedBody =
  | 'streamed'
  | {
      readonly json: Json | undefined;
      readonly cloudEvent: Readonly<Record<string, string>> | undefined;
    };

/**
 * The digest of everything that identifies a request. The order of members in a body does not
 * count. The kind and role of the caller do, since an answer may show a secret, which only those
 * may see who may ask for it.
 */
export function digestOf(
  route: Route,
  {
    params,
    query,
    caller,
    body,
  }: {
    readonly params: Readonly<Record<string, unknown>>;
    readonly query: QueryTexts;
    readonly caller: Caller;
    readonly body: DigestedBody;
  },
): string {
  const right = caller.kind === 'member' ? caller.role : caller.kind;
  const content: Json[] = body === 'streamed' ? [] : [body.json ?? null];
  if (body !== 'streamed' && body.cloudEvent !== undefined) content.push({ ...body.cloudEvent });
  return sha256(
    canonicalJson([route.method, route.path, params as JsonObject, query, right, ...content]),
  );
}

function keepable<Texts extends Readonly<Record<string, unknown>>>(
  texts: Texts,
  part: 'path' | 'query',
): Texts {
  const fields = Object.entries(texts)
    .filter(([, text]) =>
      [text].flat().some((one) => typeof one === 'string' && !isKeepableText(one)),
    )
    .map(([name]) => ({
      path: `${part}.${name}`,
      message: 'must not hold U+0000 or lone surrogates',
    }));
  if (fields.length > 0) throw invalid(fields);
  return texts;
}
