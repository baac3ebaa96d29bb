import type { Request, Response } from 'express';
import { INSTALLATION_PROJECT } from '../event-store/stream-name.ts';
import type { AsOf, Positions } from '../event-store/positions.ts';
import type { ReadOptions } from '../projections/engine/reading/read-models.ts';
import { authorize, type Caller } from './authentication.ts';
import { contentTypeOf } from './body.ts';
import { parseQueryText, type QueryTexts } from './query-text.ts';
import { idempotencyKeyOf, parseParams, parseQuery } from './request-parts.ts';
import type { Route } from './route.ts';
import { refusedAt } from './validation.ts';

/** A request whose key, right, path, query and headers have been found good. */
export interface AdmittedRequest {
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
  readonly asOf: AsOf | undefined;
  readonly positions: Positions;
  readonly idempotencyKey: string | undefined;
}

/**
 * Checks right, path, query and headers, and resolves the positions that they name.
 * @throws LedgerError of whatever is wrong
 */
export async function admit(
  route: Route,
  {
    request,
    response,
    caller,
    correlationId,
  }: Pick<AdmittedRequest, 'request' | 'response' | 'caller' | 'correlationId'>,
  positions: Positions,
): Promise<AdmittedRequest> {
  authorize(caller, route);
  const sentQuery = parseQueryText(request.url);
  const params = parseParams(route, request);
  const query = parseQuery(route, sentQuery);
  return {
    route,
    request,
    response,
    correlationId,
    contentType: route.body === undefined ? undefined : contentTypeOf(request),
    caller,
    params,
    query,
    sentQuery,
    read: await readOptions(request, caller, positions),
    asOf: await asOfIn(route, query, positions),
    positions,
    idempotencyKey: idempotencyKeyOf(request),
  };
}

async function readOptions(
  request: Request,
  { projectId }: Caller,
  positions: Positions,
): Promise<ReadOptions> {
  const wait = projectId === INSTALLATION_PROJECT ? {} : { projectId };
  const text = request.headers['fleetledger-min-position'];
  if (typeof text !== 'string') return { wait };
  return {
    wait,
    minPosition: await positions.parse(text).catch(refusedAt('header.Fleetledger-Min-Position')),
  };
}

/** @throws LedgerError as `Positions.asOf` */
async function asOfIn(
  { takesAsOf }: Route,
  query: unknown,
  positions: Positions,
): Promise<AsOf | undefined> {
  if (takesAsOf !== true) return undefined;
  // Its schema has `as_of` because the route takes it (`defineRoute`).
  const { as_of: text } = query as { readonly as_of?: string };
  return text === undefined ? undefined : positions.asOf(text).catch(refusedAt('query.as_of'));
}
