import { z } from 'zod';
import type { TimelineQueries } from '../../projections/tenancy/queries/timeline.ts';
import { idField, timeAnswer } from '../fields.ts';
import { cursorPage, cursorQuery, placeBeforePosition, walkPage } from '../paging.ts';
import { notFound } from '../problem.ts';
import { defineRoute, jsonTime, type Route } from '../route.ts';

export function timelineRoutes(queries: TimelineQueries, domains: readonly string[]): Route[] {
  const entryAnswer = z
    .object({
      event_id: z.string(),
      type: z.string(),
      domain: z.enum(domains),
      occurred_at: timeAnswer.nullable(),
      recorded_at: timeAnswer,
      actor: z
        .string()
        .meta({ description: 'The id of the key that caused it, or `system:<part>`' }),
      data: z.record(z.string(), z.unknown()).meta({ description: 'The data of the event' }),
    })
    .meta({ id: 'TimelineEntry' });

  const timeline = defineRoute({
    method: 'get',
    path: '/devices/{id}/timeline',
    operationId: 'getDeviceTimeline',
    summary: 'List every event about a device, newest first',
    tag: 'Tenancy',
    access: ['owner', 'member', 'viewer'],
    params: z.object({ id: idField }),
    query: cursorQuery,
    takesAsOf: true,
    answers: { 200: cursorPage(entryAnswer) },
    errors: ['not-found'],
    async handle(request) {
      return walkPage(request, {
        name: `timeline:${request.params.id}`,
        place: placeBeforePosition,
        async rows(limit, place, asOf) {
          const { projectId, params, read } = request;
          const page = { limit, asOf, ...place };
          const found = await queries.ofDevice(projectId, params.id, page, read);
          // Whatever is there was registered once.
          if (found.value.length === 0 && place === undefined) throw notFound();
          return found;
        },
        item: (entry) => ({
          event_id: entry.eventId,
          type: entry.type,
          domain: entry.domain,
          occurred_at: jsonTime(entry.occurredAt),
          recorded_at: jsonTime(entry.recordedAt),
          actor: entry.actor,
          data: entry.data,
        }),
        placeOf: ({ position }) => ({ before: position }),
      });
    },
  });
  return [timeline];
}
