import { z } from 'zod';
import type { Positions } from '../../event-store/positions.ts';
import type { Delivery, DeliveryProgress } from '../../followers/webhooks/deliveries.ts';
import type { WebhookQueries, WebhookView } from '../../projections/webhooks/queries.ts';
import type { JsonObject } from '../../shared/json.ts';
import { idField } from '../fields.ts';
import { cursorPage, cursorQuery, placeAfterId, placeAfterPosition, walkPage } from '../paging.ts';
import { notFound } from '../problem.ts';
import type { RouteParts } from '../route-parts.ts';
import { defineRoute, jsonTime, type Route } from '../route.ts';
import { attemptAnswer, deliveredWebhookAnswer } from './fields.ts';

const byId = z.object({ id: idField });
const shared = { method: 'get', tag: 'Webhooks', access: ['owner'] } as const;

type Parts = Pick<RouteParts, 'positions' | 'deliveries'>;

export function webhookReadRoutes(queries: WebhookQueries, parts: Parts): Route[] {
  return [listRoute(queries, parts), getRoute(queries, parts), deliveriesRoute(queries, parts)];
}

function listRoute(queries: WebhookQueries, { positions, deliveries }: Parts): Route {
  return defineRoute({
    ...shared,
    path: '/webhooks',
    operationId: 'listWebhooks',
    summary: 'List the webhooks of the project, oldest first',
    query: cursorQuery,
    takesAsOf: true,
    answers: { 200: cursorPage(deliveredWebhookAnswer) },
    async handle(request) {
      const { projectId, read, asOf } = request;
      let progress: ReadonlyMap<string, DeliveryProgress> = new Map();
      return walkPage(request, {
        name: 'webhooks',
        place: placeAfterPosition,
        isPinned: true,
        async rows(limit, place, walkAsOf) {
          const page = { limit, after: place?.after, asOf: walkAsOf };
          const found = await queries.list(projectId, page, read);
          const ids = found.value.map(({ webhookId }) => webhookId);
          if (asOf === undefined) progress = await deliveries.progress(projectId, ids);
          return found;
        },
        item: (view) => webhookBody(view, progress.get(view.webhookId), positions),
        placeOf: ({ createdPosition }) => ({ after: createdPosition }),
      });
    },
  });
}

function getRoute(queries: WebhookQueries, { positions, deliveries }: Parts): Route {
  return defineRoute({
    ...shared,
    path: '/webhooks/{id}',
    operationId: 'getWebhook',
    summary: 'Get a webhook and how far it has been delivered',
    params: byId,
    takesAsOf: true,
    answers: { 200: deliveredWebhookAnswer },
    errors: ['not-found'],
    async handle({ projectId, params, read, asOf }) {
      const { value, position } = await queries.find(projectId, params.id, asOf, read);
      if (value === undefined) throw notFound();
      const progress =
        asOf === undefined ? await deliveries.progress(projectId, [params.id]) : undefined;
      const body = webhookBody(value, progress?.get(params.id), positions);
      return { status: 200, body, position };
    },
  });
}

function deliveriesRoute(queries: WebhookQueries, { positions, deliveries }: Parts): Route {
  return defineRoute({
    ...shared,
    path: '/webhooks/{id}/deliveries',
    operationId: 'listWebhookDeliveries',
    summary: 'List the attempts to deliver a webhook, newest first; the last 1,000 are kept',
    params: byId,
    query: cursorQuery,
    answers: { 200: cursorPage(attemptAnswer) },
    errors: ['not-found'],
    async handle(request) {
      const { projectId, params, read } = request;
      const { value, position } = await queries.find(projectId, params.id, undefined, read);
      if (value === undefined) throw notFound();
      const key = { projectId, webhookId: params.id };
      return walkPage(request, {
        name: `deliveries:${params.id}`,
        place: placeAfterId,
        rows: async (limit, place) => ({
          value: await deliveries.list(key, {
            limit,
            ...(place && { before: BigInt(place.after) }),
          }),
          position,
        }),
        item: (delivery) => attemptBody(delivery, positions),
        placeOf: ({ number }) => ({ after: number.toString() }),
      });
    },
  });
}

function webhookBody(
  view: WebhookView,
  progress: DeliveryProgress | undefined,
  positions: Positions,
): JsonObject {
  return {
    id: view.webhookId,
    url: view.url,
    types: view.types === null ? null : [...view.types],
    domains: view.domains === null ? null : [...view.domains],
    status: view.status,
    reason: view.reason,
    created_at: jsonTime(view.createdAt),
    delivery:
      progress === undefined
        ? null
        : {
            position: positions.format(progress.position),
            delivered_at: jsonTime(progress.deliveredAt),
            failures: progress.failures,
            failing_since: jsonTime(progress.failingSince),
            next_attempt_at: jsonTime(progress.nextAttemptAt),
            last_error: progress.lastError,
          },
  };
}

function attemptBody(delivery: Delivery, positions: Positions): JsonObject {
  return {
    id: delivery.messageId,
    attempt: delivery.attempt,
    status: delivery.status,
    response_status: delivery.responseStatus,
    error: delivery.error,
    events: delivery.events,
    first_position: positions.format(delivery.firstPosition),
    last_position: positions.format(delivery.lastPosition),
    sent_at: jsonTime(delivery.sentAt),
    duration_ms: delivery.durationMs,
  };
}
