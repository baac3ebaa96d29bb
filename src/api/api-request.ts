import { CommandGroup } from '../commands/core/command-group.ts';
import type { RepeatableRun } from '../commands/core/idempotent-requests.ts';
import type { AdmittedRequest } from './admitted-request.ts';
import { CSV } from './csv.ts';
import { forwardedPrefix } from './forwarded-prefix.ts';
import { isEventStreamAccepted } from './event-stream-type.ts';
import { cloudEventOf, isTable } from './request-parts.ts';
import type { Responder } from './responder.ts';
import type { Answer, ApiRequest } from './route.ts';

/** A run without an idempotency key has no identity: its commands are new each time. */
export type Run = Omit<RepeatableRun, 'identity'> & Partial<Pick<RepeatableRun, 'identity'>>;

/** What a route's handler is given. */
export function apiRequest<Body>(
  admitted: AdmittedRequest,
  body: Body,
  { now, entropy, identity, results }: Run,
  responder: Responder,
): ApiRequest<unknown, unknown, Body> {
  const { route, request, response, contentType, params, query } = admitted;
  const { caller, read, asOf, correlationId } = admitted;
  const group = new CommandGroup();
  const reported = new Set<unknown>();
  return {
    params,
    query,
    body,
    caller,
    projectId: caller.projectId,
    path: request.originalUrl,
    prefix: forwardedPrefix(request),
    headers: {
      ifMatch: request.headers['if-match'],
      ifNoneMatch: request.headers['if-none-match'],
      prefer: request.get('prefer'),
      isCsvAccepted: request.accepts(['application/json', CSV]) === CSV,
      isEventStreamAccepted: isEventStreamAccepted(request),
      lastEventId: request.get('last-event-id'),
      cloudEvent: cloudEventOf(route, request, contentType),
    },
    read,
    asOf: asOf?.position,
    asOfTime: asOf?.time,
    positions: admitted.positions,
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
      responder.log(error, correlationId);
    },
  };
}

/** Runs the handler of the route, or that of its tables. */
export function answerOf(
  request: ApiRequest<unknown, unknown, unknown>,
  { route, contentType }: AdmittedRequest,
): Promise<Answer> {
  return isTable(route, contentType)
    ? route.table.handle(request as ApiRequest<unknown, unknown, readonly unknown[]>)
    : route.handle(request);
}
