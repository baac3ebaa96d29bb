import { randomUUID } from 'node:crypto';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { Request, Response } from 'express';
import type { z } from 'zod';
import type { CommandContext } from '../commands/handler.ts';
import { formatApiKey, mintSecret } from '../commands/keys.ts';
import type {
  IdempotentRequests,
  KeptAnswer,
  RepeatableRun,
  ShownKey,
} from '../commands/requests.ts';
import type { Positions } from '../projections/engine/as-of.ts';
import type { Position, ReadModels, ReadOptions } from '../projections/engine/read-model.ts';
import type { Clock } from '../shared/clock.ts';
import { LedgerError } from '../shared/errors.ts';
import { randomEntropy, sha256, type Entropy } from '../shared/ids.ts';
import { canonicalJson, type Json, type JsonObject } from '../shared/json.ts';
import type { Logger } from '../shared/logger.ts';
import { authorize, type Authentication, type Caller } from './authentication.ts';
import {
  contentTypeOf,
  DEFAULT_BODY_LIMIT_BYTES,
  isKeepableText,
  parseJson,
  readBody,
  requireContentType,
} from './body.ts';
import { readLines } from './lines.ts';
import { asLedgerError, problemHeaders, problemOf, statusOf } from './problem.ts';
import type { Answer, ApiRequest, Route, RouteBody, RouteStream } from './route.ts';

export interface PipelineParts {
  readonly authentication: Authentication;
  readonly requests: IdempotentRequests;
  readonly models: ReadModels;
  readonly positions: Positions;
  readonly clock: Clock;
  readonly logger: Logger;
}

type RequestFor = (
  now: Date,
  entropy: Entropy,
  identity?: RepeatableRun['identity'],
) => ApiRequest<unknown, unknown, unknown>;

/**
 * What every route has in common, in the order in which it is checked: key, right, content type,
 * body, parameters, idempotency key; then the route's own work; then the answer, or the problem.
 */
export class Pipeline {
  readonly #parts: PipelineParts;

  constructor(parts: PipelineParts) {
    this.#parts = parts;
  }

  async run(route: Route, request: Request, response: Response): Promise<void> {
    const correlationId = correlationIdOf(request);
    try {
      if (route.stream?.contentTypes.includes(contentTypeOf(request) ?? '') === true) {
        await this.#runStream(route, route.stream, request, response, correlationId);
        return;
      }
      const { answer, isReplayed, entropy } = await this.#answer(
        route,
        request,
        response,
        correlationId,
      );
      this.#send(request, response, correlationId, answer, entropy, isReplayed);
    } catch (error) {
      this.sendProblem(request, response, error, correlationId);
    }
  }

  sendProblem(
    request: Request,
    response: Response,
    error: unknown,
    correlationId = correlationIdOf(request),
  ): void {
    const ledgerError = asLedgerError(error);
    const status = statusOf[ledgerError.code];
    const { logger } = this.#parts;
    if (status >= 500) {
      const level = status === 500 ? 'error' : 'warn';
      logger[level]({ err: ledgerError.cause ?? ledgerError, correlationId }, ledgerError.message);
    }
    if (response.headersSent) {
      response.destroy();
      return;
    }
    const problem = problemOf(ledgerError, request.path, correlationId);
    this.#write(response, correlationId, this.#parts.models.newestKnown, status, {
      headers: problemHeaders(ledgerError),
      text: JSON.stringify(problem),
    });
  }

  async #answer(
    route: Route,
    request: Request,
    response: Response,
    correlationId: string,
  ): Promise<{ answer: Answer; isReplayed: boolean; entropy: Entropy }> {
    const { authentication, requests, clock } = this.#parts;
    const caller = await authentication.authenticate(request.headers);
    authorize(caller, route);
    const contentType = contentTypeOf(request);
    const params = validate(route.params, keepable(request.params), 'path');
    const query = validate(route.query, keepable(request.query), 'query');
    const json = await readJson(route, request, response, contentType);
    const body =
      route.body === undefined
        ? undefined
        : validate(bodySchema(route.body, contentType), json ?? {}, 'body');
    const read = this.#readOptions(request);

    const requestFor: RequestFor = (now, entropy, identity) => ({
      params,
      query,
      body,
      caller,
      path: request.originalUrl,
      projectId: caller.projectId,
      headers: {
        ifMatch: request.headers['if-match'],
        ifNoneMatch: request.headers['if-none-match'],
      },
      read,
      now,
      entropy,
      command: commandContext(caller, correlationId, identity),
    });

    const idempotencyKey = route.method === 'post' ? idempotencyKeyOf(request) : undefined;
    if (idempotencyKey === undefined) {
      const entropy = randomEntropy();
      const answer = await route.handle(requestFor(clock(), entropy));
      return { answer, isReplayed: false, entropy };
    }
    const replay = await requests.run(
      {
        projectId: caller.projectId,
        idempotencyKey,
        requestDigest: digestOf(route, request, json),
        route: `${request.method} ${request.path}`,
        actor: caller.keyId,
        correlationId,
      },
      (run) => this.#keptAnswer(route, request, correlationId, run, requestFor),
    );
    return {
      answer: {
        ...replay.answer,
        position: replay.answer.position ?? this.#parts.models.newestKnown,
      },
      isReplayed: replay.isReplayed,
      entropy: replay.entropy,
    };
  }

  /** Lines in, results out, as they come: neither body nor answer is ever held whole. */
  async #runStream(
    route: Route,
    stream: RouteStream<unknown, unknown>,
    request: Request,
    response: Response,
    correlationId: string,
  ): Promise<void> {
    const { authentication, requests, clock, models, positions } = this.#parts;
    const caller = await authentication.authenticate(request.headers);
    authorize(caller, route);
    const params = validate(route.params, keepable(request.params), 'path');
    const query = validate(route.query, keepable(request.query), 'query');
    const read = this.#readOptions(request);
    const idempotencyKey = idempotencyKeyOf(request);
    const run =
      idempotencyKey === undefined
        ? undefined
        : await requests.reserve({
            projectId: caller.projectId,
            idempotencyKey,
            requestDigest: digestOf(route, request, 'streamed'),
            route: `${request.method} ${request.path}`,
            actor: caller.keyId,
            correlationId,
          });
    const results = stream.handle(
      {
        params,
        query,
        body: undefined,
        caller,
        path: request.originalUrl,
        projectId: caller.projectId,
        headers: { ifMatch: undefined, ifNoneMatch: undefined },
        read,
        now: run?.now ?? clock(),
        entropy: run?.entropy ?? randomEntropy(),
        command: commandContext(caller, correlationId, run?.identity),
      },
      readLines(request),
    );
    response.statusCode = 200;
    response.setHeader('Content-Type', 'application/json; charset=utf-8');
    response.setHeader('X-Correlation-Id', correlationId);
    response.setHeader('Fleetledger-Position', positions.format(models.newestKnown));
    if (run?.isReplayed === true) response.setHeader('Idempotency-Replayed', 'true');
    await pipeline(Readable.from(resultsDocument(results)), response);
  }

  /** A refusal is an answer too, and kept; what passes (5xx) is none. */
  async #keptAnswer(
    route: Route,
    request: Request,
    correlationId: string,
    { now, entropy, identity }: RepeatableRun,
    requestFor: RequestFor,
  ): Promise<KeptAnswer> {
    try {
      const answer = await route.handle(requestFor(now, entropy, identity));
      return {
        status: answer.status,
        headers: answer.headers ?? {},
        body: answer.body ?? null,
        shownKeys: answer.shownKeys ?? [],
        position: answer.position ?? null,
      };
    } catch (error) {
      if (!(error instanceof LedgerError) || statusOf[error.code] >= 500) throw error;
      const problem = problemOf(error, request.path, correlationId);
      return {
        status: problem.status,
        headers: problemHeaders(error),
        body: problem as unknown as Json,
        shownKeys: [],
        position: null,
      };
    }
  }

  #readOptions(request: Request): ReadOptions {
    const text = request.headers['fleetledger-min-position'];
    if (typeof text !== 'string') return {};
    return { minPosition: this.#parts.positions.parse(text) };
  }

  #send(
    request: Request,
    response: Response,
    correlationId: string,
    answer: Answer,
    entropy: Entropy,
    isReplayed: boolean,
  ): void {
    const { status, headers = {}, shownKeys = [], position } = answer;
    const isUnchanged = request.method === 'GET' && isNoneMatched(request, headers['ETag']);
    const body =
      status === 204 || isUnchanged || answer.body === undefined
        ? undefined
        : withKeys(answer.body, shownKeys, entropy);
    this.#write(
      response,
      correlationId,
      position ?? this.#parts.models.newestKnown,
      isUnchanged ? 304 : status,
      {
        headers: {
          ...headers,
          ...(isReplayed && { 'Idempotency-Replayed': 'true' }),
          // What shows a key must not be kept by anything on the way.
          ...(shownKeys.length > 0 && { 'Cache-Control': 'no-store' }),
        },
        ...(body !== undefined && { text: JSON.stringify(body) }),
      },
    );
  }

  #write(
    response: Response,
    correlationId: string,
    position: Position,
    status: number,
    { headers, text }: { headers: Readonly<Record<string, string>>; text?: string },
  ): void {
    response.statusCode = status;
    response.setHeader('X-Correlation-Id', correlationId);
    response.setHeader('Fleetledger-Position', this.#parts.positions.format(position));
    if (text !== undefined) response.setHeader('Content-Type', 'application/json; charset=utf-8');
    for (const [name, value] of Object.entries(headers)) response.setHeader(name, value);
    if (text === undefined) {
      response.end();
    } else {
      response.setHeader('Content-Length', Buffer.byteLength(text));
      response.end(text);
    }
  }
}

async function* resultsDocument(results: AsyncIterable<Json>): AsyncIterable<string> {
  let separator = '{"results":[';
  for await (const result of results) {
    yield separator + JSON.stringify(result);
    separator = ',';
  }
  yield separator === ',' ? ']}' : `${separator}]}`;
}

function commandContext(
  caller: Caller,
  correlationId: string,
  identity: RepeatableRun['identity'] | undefined,
): (label?: string, occurredAt?: Date) => CommandContext {
  return (label = '', occurredAt) => ({
    projectId: caller.projectId,
    actor: caller.keyId,
    correlationId,
    ...(occurredAt !== undefined && { occurredAt }),
    ...(identity !== undefined && { identity: identity(label) }),
  });
}

const CORRELATION_ID = /^[\w.:/+=-]{1,128}$/;

export function correlationIdOf(request: Request): string {
  const given = request.headers['x-correlation-id'] ?? request.headers['x-request-id'];
  return typeof given === 'string' && CORRELATION_ID.test(given) ? given : randomUUID();
}

async function readJson(
  { body }: Route,
  request: Request,
  response: Response,
  contentType: string | undefined,
): Promise<Json | undefined> {
  if (body === undefined || (contentType === undefined && body.isOptional === true))
    return undefined;
  requireContentType(contentType ?? '', Object.keys(body.content));
  return parseJson(await readBody(request, response, body.limitBytes ?? DEFAULT_BODY_LIMIT_BYTES));
}

function bodySchema({ content }: RouteBody<unknown>, contentType: string | undefined): z.ZodType {
  const schema = contentType === undefined ? Object.values(content)[0] : content[contentType];
  if (schema === undefined) throw new Error(`a body without a schema: ${contentType}`);
  return schema;
}

/** @throws LedgerError `validation-failed` with a field error for each mistake */
function validate(schema: z.ZodType | undefined, value: unknown, part: string): unknown {
  if (schema === undefined) return undefined;
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const fields = result.error.issues.map((issue) => ({
    path: [part, ...issue.path.map(String)].join('.'),
    message: issue.message,
  }));
  const [first] = fields;
  throw new LedgerError(
    'validation-failed',
    `Mend ${first?.path ?? part}: ${first?.message ?? 'it is not valid'}.`,
    {
      fields,
    },
  );
}

function keepable(texts: Record<string, unknown>): Record<string, unknown> {
  for (const [name, text] of Object.entries(texts)) {
    if (typeof text === 'string' && !isKeepableText(text)) {
      const message = 'text must not hold U+0000 or lone surrogates';
      throw new LedgerError('validation-failed', `Mend ${name}: ${message}.`, {
        fields: [{ path: name, message }],
      });
    }
  }
  return texts;
}

function idempotencyKeyOf(request: Request): string | undefined {
  const key = request.headers['idempotency-key'];
  if (key === undefined) return undefined;
  if (typeof key === 'string' && key.length >= 1 && key.length <= 255) return key;
  throw new LedgerError('validation-failed', 'Send an Idempotency-Key of 1 to 255 characters.', {
    fields: [{ path: 'header.Idempotency-Key', message: 'must have 1 to 255 characters' }],
  });
}

function digestOf(route: Route, request: Request, json: Json | undefined): string {
  const { params, query } = request as { params: JsonObject; query: JsonObject };
  return sha256(canonicalJson([route.method, route.path, params, query, json ?? null]));
}

function isNoneMatched(request: Request, etag: string | undefined): boolean {
  const given = request.headers['if-none-match'];
  if (given === undefined || etag === undefined) return false;
  return given.split(',').some((tag) => {
    const trimmed = tag.trim().replace(/^W\//, '');
    return trimmed === '*' || trimmed === etag;
  });
}

/** The body with its keys in place: their secrets are derived, and never were in it. */
function withKeys(body: Json, shownKeys: readonly ShownKey[], entropy: Entropy): Json {
  if (shownKeys.length === 0) return body;
  const shown = structuredClone(body);
  for (const { path, kind, keyId, label } of shownKeys) {
    const key = formatApiKey({ kind, id: keyId, secret: mintSecret(entropy, label) });
    const parent = path
      .slice(0, -1)
      .reduce<JsonObject>((object, name) => object[name] as JsonObject, shown as JsonObject);
    parent[path.at(-1) ?? ''] = key;
  }
  return shown;
}
