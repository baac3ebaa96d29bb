import { pipeline as pipe } from 'node:stream/promises';
import type { Request, Response } from 'express';
import { CommandGroup } from '../commands/core/command-group.ts';
import type {
  IdempotentRequest,
  IdempotentRequests,
  KeptAnswer,
  RepeatableRun,
  StreamedRun,
} from '../commands/core/idempotent-requests.ts';
import type { DeviceSightings } from '../commands/tenancy/device-sightings.ts';
import { INSTALLATION_PROJECT } from '../commands/tenancy/project-decider.ts';
import type { Positions } from '../event-store/positions.ts';
import type { ReadModels, ReadOptions } from '../projections/engine/reading/read-models.ts';
import type { Clock } from '../shared/clock.ts';
import { LedgerError } from '../shared/errors.ts';
import { randomEntropy, type Entropy } from '../shared/ids.ts';
import type { Json, JsonObject } from '../shared/json.ts';
import { resultsWhileOpen } from './admission/closing.ts';
import { limitFor, STREAM_LIMITS } from './admission/limits.ts';
import { authorize, type Authentication, type Caller } from './authentication.ts';
import { contentTypeOf } from './body.ts';
import { CSV } from './csv.ts';
import { refuseDeclaredLength } from './encoding.ts';
import { newestOf } from './item-results.ts';
import { readLines } from './lines.ts';
import { isTransientCode, problemHeaders, problemOf } from './problem.ts';
import { parseQueryText, type QueryTexts } from './query-text.ts';
import {
  cloudEventOf,
  correlationIdOf,
  digestOf,
  idempotencyKeyOf,
  isTable,
  parseParams,
  parseQuery,
  receiveBody,
  type DigestedBody,
} from './request-parts.ts';
import type { RateLimits } from './rate-limits.ts';
import { withoutKeys } from './redaction.ts';
import type { Responder } from './responder.ts';
import type { Answer, ApiRequest, Route, RouteStream } from './route.ts';
import { Spool } from './spool.ts';

export interface PipelineParts {
  readonly authentication: Authentication;
  readonly limits: RateLimits;
  readonly requests: IdempotentRequests;
  readonly models: ReadModels;
  readonly positions: Positions;
  readonly responder: Responder;
  readonly clock: Clock;
  readonly sightings: DeviceSightings;
}

/** A request whose key, right, path, query and headers have been found good. */
interface Admitted {
  readonly route: Route;
  readonly request: Request;
  readonly response: Response;
  readonly correlationId: string;
  readonly contentType: string | undefined;
  readonly caller: Caller;
  readonly params: unknown;
  readonly query: unknown;
  /** The query as it was sent. */
  readonly sentQuery: QueryTexts;
  readonly read: ReadOptions;
  readonly positions: Positions;
  readonly idempotencyKey: string | undefined;
}

/**
 * What every route has in common, in the order in which it is checked: key, right, path and query,
 * headers, body; then the route's own work, once for each idempotency key; then the answer, or the
 * problem.
 */
export class Pipeline {
  readonly #parts: PipelineParts;

  constructor(parts: PipelineParts) {
    this.#parts = parts;
  }

  async run(route: Route, request: Request, response: Response): Promise<void> {
    const correlationId = correlationIdOf(request);
    let isStranger = true;
    try {
      const address = request.socket.remoteAddress ?? '';
      const caller = await this.#parts.authentication.authenticate(request.headers, address);
      isStranger = false;
      response.set(await this.#parts.limits.countRequest(caller.keyId));
      const admitted = await this.#admit(route, request, response, { correlationId, caller });
      const { contentType, idempotencyKey } = admitted;
      if (route.stream?.contentTypes.includes(contentType ?? '') === true) {
        await this.#runStream(admitted, route.stream);
      } else if (idempotencyKey === undefined) {
        await this.#runPlain(admitted);
      } else {
        await this.#runOnce(admitted, idempotencyKey);
      }
    } catch (error) {
      this.#parts.responder.problem(request, response, asRouteSays(route, error), {
        correlationId,
        isStranger,
      });
    }
  }

  async #admit(
    route: Route,
    request: Request,
    response: Response,
    { correlationId, caller }: Pick<Admitted, 'correlationId' | 'caller'>,
  ): Promise<Admitted> {
    if (caller.kind === 'device') {
      // Afterwards, since the request may record something that tells the same.
      response.once('close', () => this.#parts.sightings.seen(caller, correlationId));
    }
    authorize(caller, route);
    const sentQuery = parseQueryText(request.url);
    return {
      route,
      request,
      response,
      correlationId,
      contentType: route.body === undefined ? undefined : contentTypeOf(request),
      caller,
      params: parseParams(route, request),
      query: parseQuery(route, sentQuery),
      sentQuery,
      read: await this.#readOptions(request, caller),
      positions: this.#parts.positions,
      idempotencyKey: idempotencyKeyOf(request),
    };
  }

  async #runPlain(admitted: Admitted): Promise<void> {
    const { route, request, response, correlationId } = admitted;
    const { body } = await receiveBody(route, request, admitted);
    const run = this.#newRun(response);
    const answer = await handled(this.#requestFor(admitted, body, run), admitted);
    this.#parts.responder.send(request, response, answer, {
      correlationId,
      entropy: run.entropy,
      isReplayed: false,
    });
  }

  async #runOnce(admitted: Admitted, idempotencyKey: string): Promise<void> {
    const { route, request, response, correlationId, contentType } = admitted;
    const { json, body } = await receiveBody(route, request, admitted);
    const cloudEvent = cloudEventOf(route, request, contentType);
    const replay = await this.#parts.requests
      .run(idempotentRequest(admitted, idempotencyKey, { json, cloudEvent }), (run) =>
        keptAnswer(admitted, this.#requestFor(admitted, body, run)),
      )
      .catch((error: unknown) => {
        if (error instanceof TransientAnswer) return error;
        throw error;
      });
    if (replay instanceof TransientAnswer) {
      const { answer, entropy } = replay;
      const unkept = { correlationId, entropy, isReplayed: false };
      this.#parts.responder.send(request, response, answer, unkept);
      return;
    }
    const { answer, entropy, isReplayed } = replay;
    const { position, ...kept } = answer;
    // Its twin in another process may have done the work: it counts as this one's, too.
    if (position !== null) this.#parts.models.answered(position, admitted.caller.projectId);
    this.#parts.responder.send(
      request,
      response,
      { ...kept, ...(position !== null && { position }) },
      { correlationId, entropy, isReplayed },
    );
  }

  /**
   * Lines in, results out, neither ever held whole: the answer is spooled, and sent when the last
   * line has been read. (Sent as it comes, it would stop a client that sends all before it reads.)
   */
  async #runStream(admitted: Admitted, stream: RouteStream<unknown, unknown>): Promise<void> {
    const { request, response, correlationId, idempotencyKey } = admitted;
    const { requests, responder } = this.#parts;
    const limitBytes = streamLimitBytes(admitted);
    const run =
      idempotencyKey === undefined
        ? { ...this.#newRun(response), isReplayed: false }
        : this.#noting(
            await requests.reserve(idempotentRequest(admitted, idempotencyKey, 'streamed')),
            admitted.caller,
          );
    const lines = readLines(request, { limitBytes, isClosed: () => response.destroyed });
    const results = stream.handle(this.#requestFor(admitted, undefined, run), lines);
    const spool = new Spool(STREAM_LIMITS.resultBytes);
    try {
      for await (const part of documentOf(stream.listName, results)) await spool.write(part);
      responder.beginStream(response, {
        status: stream.status,
        correlationId,
        isReplayed: run.isReplayed,
        sizeBytes: spool.sizeBytes,
      });
      await pipe(spool.read(), response);
    } finally {
      await lines.return();
      await spool.dispose();
    }
  }

  /** Another process may have recorded the items: what is read here afterwards holds them, too. */
  #noting(run: StreamedRun, { projectId }: Caller): StreamedRun {
    const { results } = run;
    return {
      ...run,
      results: {
        nextPartSize: () => results.nextPartSize(),
        next: async (part, runItems) => {
          const outcomes = await results.next(part, runItems);
          const newest = newestOf(outcomes.flatMap(({ position }) => position ?? []));
          if (newest !== undefined) this.#parts.models.answered(newest, projectId);
          return outcomes;
        },
      },
    };
  }

  /** Without an idempotency key. */
  #newRun(response: Response): Run {
    const results = resultsWhileOpen(() => response.destroyed);
    return { now: this.#parts.clock(), entropy: randomEntropy(), results };
  }

  #requestFor<Body>(
    { route, request, response, contentType, params, query, caller, read, correlationId }: Admitted,
    body: Body,
    { now, entropy, identity, results }: Run,
  ): ApiRequest<unknown, unknown, Body> {
    const group = new CommandGroup();
    const reported = new Set<unknown>();
    return {
      params,
      query,
      body,
      caller,
      projectId: caller.projectId,
      path: request.originalUrl,
      headers: {
        ifMatch: request.headers['if-match'],
        ifNoneMatch: request.headers['if-none-match'],
        prefer: request.get('prefer'),
        isCsvAccepted: request.accepts(['application/json', CSV]) === CSV,
        cloudEvent: cloudEventOf(route, request, contentType),
      },
      read,
      positions: this.#parts.positions,
      now,
      entropy,
      command: ({ ordinal, occurredAt } = {}) => ({
        projectId: caller.projectId,
        actor: caller.keyId,
        correlationId,
        ...(ordinal !== undefined && { group }),
        ...(occurredAt !== undefined && { occurredAt }),
        ...(identity !== undefined && { identity: identity('', ordinal ?? 0) }),
      }),
      group,
      results,
      isClosed: () => response.destroyed,
      reportError: (error) => {
        // One failure of the store refuses many items.
        if (reported.has(error)) return;
        reported.add(error);
        this.#parts.responder.log(error, correlationId);
      },
    };
  }

  async #readOptions(request: Request, { projectId }: Caller): Promise<ReadOptions> {
    const wait = projectId === INSTALLATION_PROJECT ? {} : { projectId };
    const text = request.headers['fleetledger-min-position'];
    if (typeof text !== 'string') return { wait };
    return { wait, minPosition: await this.#parts.positions.parse(text) };
  }
}

/** Clients of some routes expect 400 where the others answer 422. */
function asRouteSays({ isInvalid400 }: Route, error: unknown): unknown {
  if (isInvalid400 !== true || !(error instanceof LedgerError)) return error;
  if (error.code !== 'validation-failed') return error;
  const { fields, message, cause } = error;
  return new LedgerError('bad-request', message, { ...(fields && { fields }), cause });
}

/** A run without an idempotency key has no identity: its commands are new each time. */
type Run = Omit<RepeatableRun, 'identity'> & Partial<Pick<RepeatableRun, 'identity'>>;

function handled(
  apiRequest: ApiRequest<unknown, unknown, unknown>,
  { route, contentType }: Admitted,
): Promise<Answer> {
  return isTable(route, contentType)
    ? route.table.handle(apiRequest as ApiRequest<unknown, unknown, readonly unknown[]>)
    : route.handle(apiRequest);
}

/** @throws LedgerError `body-too-large` */
function streamLimitBytes({ caller, request }: Admitted): number {
  const limitBytes = limitFor(caller, STREAM_LIMITS.bytes);
  refuseDeclaredLength(request, limitBytes);
  return limitBytes;
}

function idempotentRequest(
  { route, request, sentQuery, caller, correlationId }: Admitted,
  idempotencyKey: string,
  body: DigestedBody,
): IdempotentRequest {
  return {
    projectId: caller.projectId,
    idempotencyKey,
    ...(caller.kind === 'device' && { deviceId: caller.deviceId }),
    requestDigest: digestOf(route, {
      params: request.params,
      query: sentQuery,
      caller,
      body,
    }),
    route: `${request.method} ${withoutKeys(request.path)}`,
    actor: caller.keyId,
    correlationId,
  };
}

/** A refusal is an answer, too, and is kept, unless it is transient. */
async function keptAnswer(
  admitted: Admitted,
  apiRequest: ApiRequest<unknown, unknown, unknown>,
): Promise<KeptAnswer> {
  const { request, correlationId } = admitted;
  try {
    const answer = await handled(apiRequest, admitted);
    if (answer.isTransient === true) throw new TransientAnswer(answer, apiRequest.entropy);
    return {
      status: answer.status,
      headers: answer.headers ?? {},
      body: answer.body ?? null,
      shownKeys: answer.shownKeys ?? [],
      position: answer.position ?? null,
      isKeptByItem: answer.isKeptByItem ?? false,
    };
  } catch (error) {
    if (!(error instanceof LedgerError) || isTransientCode(error)) throw error;
    const problem = problemOf(error, withoutKeys(request.path), correlationId);
    return {
      status: problem.status,
      headers: problemHeaders(error),
      body: problem as unknown as Json,
      shownKeys: [],
      position: null,
    };
  }
}

/** An answer that is given, but not kept: what it says may be otherwise next time. */
class TransientAnswer extends Error {
  override readonly name = 'TransientAnswer';
  readonly answer: Answer;
  /** The entropy of its run: the keys that it shows are those that were issued. */
  readonly entropy: Entropy;

  constructor(answer: Answer, entropy: Entropy) {
    super('this answer is not kept');
    this.answer = answer;
    this.entropy = entropy;
  }
}

/** The answer: the list, and what else is known when the list is at its end. */
async function* documentOf(
  listName: string,
  results: AsyncGenerator<JsonObject, JsonObject>,
): AsyncIterable<string> {
  yield `{${JSON.stringify(listName)}:[`;
  let more: JsonObject = {};
  // Left early, it is closed, and what it reads from.
  async function* items(): AsyncIterable<JsonObject> {
    more = yield* results;
  }
  let separator = '';
  for await (const item of items()) {
    yield separator + JSON.stringify(item);
    separator = ',';
  }
  const rest = JSON.stringify(more).slice(1, -1);
  yield rest === '' ? ']}' : `],${rest}}`;
}
