import { z } from 'zod';
import type { Positions } from '../../event-store/positions.ts';
import type { ProjectionCommands } from '../../commands/projections/commands.ts';
import type { ProjectionAdministration } from '../../projections/engine/administration.ts';
import { rebuildBody } from '../../projections/engine/administration-json.ts';
import type { Replay } from '../../projections/engine/replaying/replays.ts';
import { uuidOf } from '../../shared/ids.ts';
import type { JsonObject } from '../../shared/json.ts';
import { timeAnswer } from '../fields.ts';
import { cursorPage, cursorQuery, walkPage } from '../paging.ts';
import { defineRoute, type Route } from '../route.ts';
import { projectionParams } from './projections.ts';

export const replayParams = z.object({ id: z.uuid('must be a UUID') });

const rebuildAnswer = z
  .object({
    id: z.string(),
    projection: z.string(),
    status: z.enum(['running', 'completed', 'cancelled', 'failed']),
    position: z.string(),
    target: z.string(),
    percent: z.number(),
    events_per_second: z.number(),
    seconds_left: z.number().nullable(),
    started_at: timeAnswer,
    ended_at: timeAnswer.nullable(),
    error: z.string().nullable(),
  })
  .meta({ id: 'Rebuild' });

const placeAfterReplay = z.object({ after: z.uuid(), startedAt: z.iso.datetime() });

export function rebuildRoutes(
  commands: ProjectionCommands<Replay>,
  administration: ProjectionAdministration,
  positions: Positions,
): Route[] {
  const request = defineRoute({
    method: 'post',
    path: '/admin/projections/{name}/rebuild',
    operationId: 'rebuildProjection',
    summary: 'Rebuild a projection beside the live one, then replace it',
    tag: 'Administration',
    access: ['admin'],
    params: projectionParams,
    answers: { 202: rebuildAnswer },
    headers: { Location: 'The rebuild' },
    errors: ['not-found', 'projection-busy'],
    async handle({ params, entropy, command }) {
      const id = uuidOf(entropy('rebuild', 16));
      const replay = await commands.requestReplay('rebuild', params.name, id, command());
      return {
        status: 202,
        headers: { Location: `/api/v1/admin/rebuilds/${id}` },
        body: await body(replay),
      };
    },
  });

  const list = defineRoute({
    method: 'get',
    path: '/admin/rebuilds',
    operationId: 'listRebuilds',
    summary: 'List rebuilds, newest first',
    tag: 'Administration',
    access: ['admin'],
    query: cursorQuery,
    answers: { 200: cursorPage(rebuildAnswer) },
    async handle(request) {
      const head = await administration.head();
      return walkPage(request, {
        name: 'rebuilds',
        place: placeAfterReplay,
        rows: async (limit, place) => ({
          value: await administration.replays('rebuild', {
            limit,
            after: place && { replayId: place.after, startedAt: new Date(place.startedAt) },
          }),
          position: head,
        }),
        item: (replay) => rebuildBody(replay, head, positions),
        placeOf: ({ replayId, startedAt }) => ({
          after: replayId,
          startedAt: startedAt.toISOString(),
        }),
      });
    },
  });

  const read = defineRoute({
    method: 'get',
    path: '/admin/rebuilds/{id}',
    operationId: 'getRebuild',
    summary: 'Get a rebuild and its progress',
    tag: 'Administration',
    access: ['admin'],
    params: replayParams,
    answers: { 200: rebuildAnswer },
    errors: ['not-found'],
    async handle({ params }) {
      return { status: 200, body: await body(await administration.replay('rebuild', params.id)) };
    },
  });

  const cancel = defineRoute({
    method: 'delete',
    path: '/admin/rebuilds/{id}',
    operationId: 'cancelRebuild',
    summary: 'Cancel a rebuild; the live generation is unchanged',
    tag: 'Administration',
    access: ['admin'],
    params: replayParams,
    answers: { 200: rebuildAnswer },
    errors: ['not-found', 'replay-ended'],
    async handle({ params, command }) {
      const replay = await commands.cancelReplay('rebuild', params.id, command());
      return { status: 200, body: await body(replay) };
    },
  });

  async function body(replay: Replay): Promise<JsonObject> {
    return rebuildBody(replay, await administration.head(), positions);
  }

  return [request, list, read, cancel];
}
