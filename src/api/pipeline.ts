import { pipeline as pipe } from 'node:stream/promises';
import type { Request, Response } from 'express';
import type { IdempotentRequests } from '../commands/core/idempotent-requests.ts';
import type { DeviceSightings } from '../commands/tenancy/device-sightings.ts';
import type { Positions } from '../event-store/positions.ts';
import type { ReadModels } from '../projections/engine/reading/read-models.ts';
import type { Clock } from '../shared/clock.ts';
import { LedgerError } from '../shared/errors.ts';
import { randomEntropy } from '../shared/ids.ts';
import { resultsWhileOpen } from './admission/closing.ts';
import { countedUntilClosed } from './admission/in-flight.ts';
import { STREAM_LIMITS } from './admission/limits.ts';
import { admit, type AdmittedRequest } from './admitted-request.ts';
import { answerOf, apiRequest, type Run } from './api-request.ts';
import type { Authentication } from './authentication.ts';
import { isStreamed, type EventAnswers } from './events/event-answers.ts';
import { idempotentRequest, keptAnswer, noting, TransientAnswer } from './idempotent-answers.ts';
import { readLines } from './lines.ts';
import type { RateLimits } from './rate-limits.ts';
import { cloudEventOf, correlationIdOf, receiveBody } from './request-parts.ts';
import type { Responder } from './responder.ts';
import type { Route, RouteStream } from './route.ts';
import { Spool } from './spool.ts';
import { documentOf, streamLimitBytes } from './streamed-answer.ts';

export interface PipelineParts {
  readonly authentication: Authentication;
  readonly limits: RateLimits;
  readonly requests: IdempotentRequests;
  readonly models: ReadModels;
  readonly positions: Positions;
  readonly responder: Responder;
  readonly clock: Clock;
  readonly sightings: DeviceSightings;
  readonly eventAnswers: EventAnswers;
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
      const address = request.ip ?? '';
      const caller = await this.#parts.authentication.authenticate(request.headers, address);
      isStranger = false;
      response.set(await this.#parts.limits.countRequest(caller.keyId));
      if (caller.kind === 'device') {
        // Noted afterwards, since the request may record something that says the same.
        response.once('close', () => this.#parts.sightings.seen(caller, correlationId));
      }
      const parts = { request, response, caller, correlationId };
      const admitted = await admit(route, parts, this.#parts.positions);
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

  async #runPlain(admitted: AdmittedRequest): Promise<void> {
    const { route, request, response, correlationId } = admitted;
    const { body } = await receiveBody(route, request, admitted);
    const run = this.#newRun(response);
    const answer = await answerOf(apiRequest(admitted, body, run, this.#parts.responder), admitted);
    if (isStreamed(admitted, answer)) {
      await this.#parts.eventAnswers.send(admitted, answer, (minPosition) => {
        const again = { ...admitted, read: { ...admitted.read, minPosition } };
        const anotherRun = this.#newRun(response);
        return answerOf(apiRequest(again, body, anotherRun, this.#parts.responder), admitted);
      });
      return;
    }
    // An answer as of a position is of that position, however far the read models have come.
    const position = admitted.asOf && { position: admitted.asOf.position };
    const positioned = { ...answer, ...position };
    this.#parts.responder.send(request, response, positioned, {
      correlationId,
      entropy: run.entropy,
      isReplayed: false,
      // What was recorded is answered, however much memory the answer takes.
      ...(route.method === 'get' && {
        countBytes: countedUntilClosed(admitted.caller.keyId, response),
      }),
    });
  }

  async #runOnce(admitted: AdmittedRequest, idempotencyKey: string): Promise<void> {
    const { route, request, response, correlationId, contentType } = admitted;
    const { json, body } = await receiveBody(route, request, admitted);
    const cloudEvent = cloudEventOf(route, request, contentType);
    const replay = await this.#parts.requests
      .run(idempotentRequest(admitted, idempotencyKey, { json, cloudEvent }), (run) =>
        keptAnswer(admitted, apiRequest(admitted, body, run, this.#parts.responder)),
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
    // A concurrent duplicate in another process may have done the work: reads here wait for it,
    // too.
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
  async #runStream(
    admitted: AdmittedRequest,
    stream: RouteStream<unknown, unknown>,
  ): Promise<void> {
    const { request, response, correlationId, idempotencyKey } = admitted;
    const { requests, responder, models } = this.#parts;
    const limitBytes = streamLimitBytes(admitted);
    const run =
      idempotencyKey === undefined
        ? { ...this.#newRun(response), isReplayed: false }
        : noting(
            await requests.reserve(idempotentRequest(admitted, idempotencyKey, 'streamed')),
            models,
            admitted.caller.projectId,
          );
    const lines = readLines(request, { limitBytes, isClosed: () => response.destroyed });
    const results = stream.handle(apiRequest(admitted, undefined, run, responder), lines);
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

  /** Without an idempotency key. */
  #newRun(response: Response): Run {
    const results = resultsWhileOpen(() => response.destroyed);
    return { now: this.#parts.clock(), entropy: randomEntropy(), results };
  }
}

/** Clients of some routes expect 400 where the others answer 422. */
function asRouteSays({ isInvalid400 }: Route, error: unknown): unknown {
  if (isInvalid400 !== true || !(error instanceof LedgerError)) return error;
  if (error.code !== 'validation-failed') return error;
  const { fields, message, cause } = error;
  return new LedgerError('bad-request', message, { ...(fields && { fields }), cause });
}
