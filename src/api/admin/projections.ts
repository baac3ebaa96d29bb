import { z } from 'zod';
import type { ProjectionAction, ProjectionCommands } from '../../commands/projections/commands.ts';
import type { ProjectionAdministration } from '../../projections/engine/administration.ts';
import { projectionBody } from '../../projections/engine/administration-json.ts';
import type { Replay } from '../../projections/engine/replaying/replays.ts';
import type { Positions } from '../../event-store/positions.ts';
import { defineRoute, jsonBody, type Route } from '../route.ts';

export const projectionParams = z.object({ name: z.string() });

const projectionAnswer = z
  .object({
    name: z.string(),
    version: z.int(),
    generation: z.int(),
    status: z.enum(['live', 'paused', 'stopped']),
    position: z.string(),
    head: z.string(),
    lag_events: z.int(),
    lag_seconds: z.number(),
    events_per_second: z.number(),
    last_error: z
      .object({ event_id: z.string(), position: z.string(), message: z.string() })
      .nullable(),
  })
  .meta({ id: 'Projection' });

const stoppedAtBody = {
  ...jsonBody(
    z.strictObject({
      event_id: z.uuid().optional().meta({
        description: 'The event it is stopped at; refused when it is stopped at another one',
      }),
    }),
    {},
  ),
  isOptional: true,
};

export function projectionRoutes(
  commands: ProjectionCommands<Replay>,
  administration: ProjectionAdministration,
  positions: Positions,
): Route[] {
  const list = defineRoute({
    method: 'get',
    path: '/admin/projections',
    operationId: 'listProjections',
    summary: 'List projections with their position, status and lag',
    tag: 'Administration',
    access: ['admin'],
    answers: { 200: z.object({ items: z.array(projectionAnswer) }) },
    async handle() {
      const statuses = await administration.statuses();
      return {
        status: 200,
        body: { items: statuses.map((status) => projectionBody(status, positions)) },
      };
    },
  });

  const read = defineRoute({
    method: 'get',
    path: '/admin/projections/{name}',
    operationId: 'getProjection',
    summary: 'Get a projection with its position, status and lag',
    tag: 'Administration',
    access: ['admin'],
    params: projectionParams,
    answers: { 200: projectionAnswer },
    errors: ['not-found'],
    handle: ({ params }) => asItThenIs(params.name),
  });

  const actionRoute = (action: ProjectionAction, summary: string, isAtStop: boolean): Route =>
    defineRoute({
      method: 'post',
      path: `/admin/projections/{name}/${action}`,
      operationId: `${action}Projection`,
      summary,
      tag: 'Administration',
      access: ['admin'],
      params: projectionParams,
      ...(isAtStop && { body: stoppedAtBody }),
      answers: { 200: projectionAnswer },
      errors: ['not-found', ...(isAtStop ? (['projection-not-stopped'] as const) : [])],
      async handle({ params, body, command }) {
        await commands.act(action, params.name, command(), body?.event_id);
        return asItThenIs(params.name);
      },
    });

  async function asItThenIs(name: string) {
    const body = projectionBody(await administration.status(name), positions);
    return { status: 200, body };
  }

  return [
    list,
    read,
    actionRoute('pause', 'Pause a projection until it is resumed', false),
    actionRoute('resume', 'Resume a paused projection', false),
    actionRoute('retry', 'Retry the event that a projection stopped at', true),
    actionRoute('skip', 'Skip the event that a projection stopped at, for good', true),
  ];
}
