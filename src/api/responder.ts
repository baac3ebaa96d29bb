import type { Request, Response } from 'express';
import { formatApiKey, mintSecret } from '../commands/tenancy/api-keys.ts';
import type { ShownKey } from '../commands/core/idempotent-requests.ts';
import type { Positions } from '../event-store/positions.ts';
import type { Position } from '../event-store/port.ts';
import type { ReadModels } from '../projections/engine/reading/read-models.ts';
import type { Entropy } from '../shared/ids.ts';
import type { Json, JsonObject } from '../shared/json.ts';
import type { Logger } from '../shared/logger.ts';
import { CSV } from './csv.ts';
import { forwardedPrefix, withPrefix } from './forwarded-prefix.ts';
import { EVENT_STREAM } from './event-stream-type.ts';
import { isListed } from './precondition.ts';
import { asLedgerError, problemHeaders, problemOf, statusOf, type Problem } from './problem.ts';
import { withoutKeys } from './redaction.ts';
import { correlationIdOf } from './request-parts.ts';
import type { Answer } from './route.ts';

export interface ResponderParts {
  readonly models: ReadModels;
  readonly positions: Positions;
  readonly logger: Logger;
}

const CSV_TYPE = `${CSV}; charset=utf-8`;

interface ProblemOptions {
  readonly correlationId?: string;
  readonly isStranger?: boolean;
}

/** Puts answers and problems on the wire, with the headers that every one of them carries. */
export class Responder {
  readonly #parts: ResponderParts;

  constructor(parts: ResponderParts) {
    this.#parts = parts;
  }

  send(
    request: Request,
    response: Response,
    answer: Answer,
    {
      correlationId,
      entropy,
      isReplayed,
      countBytes,
    }: {
      readonly correlationId: string;
      readonly entropy: Entropy;
      readonly isReplayed: boolean;
      /** Is told the size of the answer before anything of it is sent, and may refuse it. */
      readonly countBytes?: (size: number) => void;
    },
  ): void {
    const { headers = {}, shownKeys = [], body, csv } = answer;
    const isRead = request.method === 'GET' || request.method === 'HEAD';
    const isUnchanged = isRead && isNoneMatched(request, headers['ETag']);
    const status = isUnchanged ? 304 : answer.status;
    const isEmpty = status === 204 || status === 304 || (body === undefined && csv === undefined);
    const text = isEmpty ? '' : (csv ?? JSON.stringify(withKeys(body ?? null, shownKeys, entropy)));
    countBytes?.(Buffer.byteLength(text));
    this.#head(response, status, correlationId, answer.position);
    const prefix = forwardedPrefix(request);
    for (const [name, value] of Object.entries(withPrefix(headers, prefix))) {
      response.setHeader(name, value);
    }
    if (isReplayed) response.setHeader('Idempotency-Replayed', 'true');
    // What shows a key must not be kept by anything on the way.
    if (shownKeys.length > 0) response.setHeader('Cache-Control', 'no-store');
    if (isEmpty) {
      response.end();
      return;
    }
    const type = csv === undefined ? headers['Content-Type'] : CSV_TYPE;
    this.#end(response, type ?? 'application/json; charset=utf-8', text);
  }

  /** `isStranger`: no key of the request was accepted, so the answer says nothing about the log. */
  problem(
    request: Request,
    response: Response,
    error: unknown,
    { correlationId = correlationIdOf(request), isStranger = true }: ProblemOptions = {},
  ): void {
    const ledgerError = asLedgerError(error);
    const status = statusOf[ledgerError.code];
    if (status >= 500) this.log(error, correlationId, { isGone: isGone(request, response) });
    // In the middle of a streamed answer: cutting it off is all that can still be said.
    if (response.headersSent) {
      response.destroy();
      return;
    }
    // A key that was revoked while its request ran is a stranger's by then.
    if (isStranger || status === 401) this.#headForStranger(response, status, correlationId);
    else this.#head(response, status, correlationId, undefined);
    const prefix = forwardedPrefix(request);
    const { 'Content-Type': contentType = '', ...headers } = problemHeaders(ledgerError);
    for (const [name, value] of Object.entries(withPrefix(headers, prefix))) {
      response.setHeader(name, value);
    }
    const problem = problemOf(ledgerError, withoutKeys(request.path), correlationId);
    this.#end(response, contentType, JSON.stringify(below(prefix, problem)));
  }

  /**
   * Logs an error that is not the client's. `isGone`: the client has left, most likely because of
   * it.
   */
  log(error: unknown, correlationId: string, { isGone = false } = {}): void {
    const ledgerError = asLedgerError(error);
    const isUnexpected = statusOf[ledgerError.code] === 500;
    const level = isGone ? 'debug' : isUnexpected ? 'error' : 'warn';
    const err = ledgerError.cause ?? ledgerError;
    // Transient errors come by the thousand while a store is unavailable: they are logged without a
    // stack.
    const reason = isUnexpected
      ? { err }
      : { reason: err instanceof Error ? err.message : ledgerError.code };
    this.#parts.logger[level]({ ...reason, correlationId }, ledgerError.message);
  }

  /** The head of an answer whose body is written after it. */
  beginStream(
    response: Response,
    {
      status,
      correlationId,
      isReplayed,
      sizeBytes,
    }: {
      readonly status: number;
      readonly correlationId: string;
      readonly isReplayed: boolean;
      readonly sizeBytes: number;
    },
  ): void {
    this.#head(response, status, correlationId, undefined);
    if (isReplayed) response.setHeader('Idempotency-Replayed', 'true');
    response.setHeader('Content-Type', 'application/json; charset=utf-8');
    response.setHeader('Content-Length', sizeBytes);
  }

  /** The head of an answer of Server-Sent Events, which begin after a position. */
  beginEvents(
    response: Response,
    { correlationId, position }: { readonly correlationId: string; readonly position: Position },
  ): void {
    this.#head(response, 200, correlationId, position);
    response.setHeader('Content-Type', EVENT_STREAM);
    response.setHeader('Cache-Control', 'no-store');
    // Proxies such as nginx would keep events until they have a buffer full of them.
    response.setHeader('X-Accel-Buffering', 'no');
  }

  #head(
    response: Response,
    status: number,
    correlationId: string,
    position: Position | undefined,
  ): void {
    const { models, positions } = this.#parts;
    this.#headForStranger(response, status, correlationId);
    response.setHeader('Fleetledger-Position', positions.format(position ?? models.newestKnown));
  }

  #headForStranger(response: Response, status: number, correlationId: string): void {
    response.statusCode = status;
    response.setHeader('X-Correlation-Id', correlationId);
  }

  #end(response: Response, contentType: string, text: string): void {
    response.setHeader('Content-Type', contentType);
    response.setHeader('Content-Length', Buffer.byteLength(text));
    response.end(text);
  }
}

/** A problem whose links begin with the path below which a proxy serves the API. */
function below(prefix: string, problem: Problem): Problem {
  return { ...problem, type: prefix + problem.type, instance: prefix + problem.instance };
}

/** `If-None-Match` compares weakly (RFC 9110, 13.1.2). */
function isNoneMatched(request: Request, etag: string | undefined): boolean {
  const given = request.headers['if-none-match'];
  return given !== undefined && isListed(given, etag, { weak: true });
}

/**
 * The client has left, and what went wrong is most likely that. By the streams, not by the error:
 * an `ECONNRESET` may be the database's. A request that was read to its end is destroyed, too.
 */
function isGone(request: Request, response: Response): boolean {
  return response.destroyed || (request.destroyed && !request.complete);
}

/** The body with its keys in place: their secrets are derived, and never were in it. */
function withKeys(body: Json, shownKeys: readonly ShownKey[], entropy: Entropy): Json {
  if (shownKeys.length === 0) return body;
  const shown = structuredClone(body) as JsonObject;
  for (const { path, kind, keyId, label } of shownKeys) {
    const parent = path.slice(0, -1).reduce((object, name) => object[name] as JsonObject, shown);
    const secret = mintSecret(entropy, label);
    parent[path.at(-1) ?? ''] = formatApiKey({ kind, id: keyId, secret });
  }
  return shown;
}
