import { z } from 'zod';
import type {
  ProjectionAdministration,
  ProjectionStatus,
} from '../../projections/engine/administration.ts';
import type { Positions } from '../../event-store/positions.ts';
import type { JsonObject } from '../../shared/json.ts';
import { defineRoute, jsonBody, type Route } from '../route.ts';
import type { ProjectionAction, ProjectionActions } from './projection-actions.ts';

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
  actions: ProjectionActions,
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
        await actions.act(action, params.name, command(), body?.event_id);
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

export function projectionBody(projection: ProjectionStatus, positions: Positions): JsonObject {
  const { position, head, lastError } = projection;
  return {
    name: projection.name,
    version: projection.version,
    generation: projection.generation,
    status: projection.status,
    position: positions.format(position),
    head: positions.format(head),
    lag_events: projection.lagEvents,
    lag_seconds: round(projection.lagSeconds, 3),
    events_per_second: round(projection.eventsPerSecond, 1),
    last_error:
      lastError === undefined
        ? null
        : {
            event_id: lastError.eventId,
            position: positions.formatText(lastError.position),
            message: lastError.message,
          },
  };
}

export function round(value: number, digits: number): number {
  return Number(value.toFixed(digits));
}
