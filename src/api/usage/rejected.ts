import { z } from 'zod';
import type { UsageRejections } from '../../projections/usage/queries/rejections.ts';
import { timeAnswer } from '../fields.ts';
import { cursorPage, cursorQuery, placeBeforePosition, walkPage } from '../paging.ts';
import { defineRoute, jsonTime, type Route } from '../route.ts';

const rejectedAnswer = z
  .object({
    id: z.string().meta({ description: 'The id of the event' }),
    reason: z.string().meta({ description: 'A code such as `validation-failed`' }),
    detail: z.string(),
    origin: z.record(z.string(), z.unknown()).meta({
      description: 'From Kafka: topic, partition, offset; over HTTP: correlationId, index',
    }),
    record: z
      .object({ encoding: z.enum(['utf-8', 'base64']), content: z.string(), isCut: z.boolean() })
      .meta({ description: 'The record as it was received, possibly cut' }),
    rejected_at: timeAnswer,
  })
  .meta({ id: 'RejectedUsage' });

export function rejectedRoutes(rejections: UsageRejections): Route[] {
  const list = defineRoute({
    method: 'get',
    path: '/usage/rejected',
    operationId: 'listRejectedUsage',
    summary: 'List rejected usage records and dead letters, newest first',
    tag: 'Usage',
    access: ['owner', 'member', 'viewer'],
    query: cursorQuery,
    takesAsOf: true,
    answers: { 200: cursorPage(rejectedAnswer) },
    handle: (request) =>
      walkPage(request, {
        name: 'usage-rejected',
        place: placeBeforePosition,
        rows: (limit, place, asOf) =>
          rejections.list(request.projectId, { limit, asOf, ...place }, request.read),
        item: ({ eventId, reason, detail, origin, record, rejectedAt }) => ({
          id: eventId,
          reason,
          detail,
          origin,
          record,
          rejected_at: jsonTime(rejectedAt),
        }),
        placeOf: ({ position }) => ({ before: position }),
      }),
  });
  return [list];
}
