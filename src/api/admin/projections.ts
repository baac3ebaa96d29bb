import { z } from 'zod';
import type { CommandContext, CommandHandler } from '../../commands/handler.ts';
import { projectionDecider, projectionStream } from '../../commands/projections.ts';
import type {
  ProjectionAdministration,
  ProjectionStatus,
} from '../../projections/engine/administration.ts';
import type { Positions } from '../../projections/engine/as-of.ts';
import { LedgerError } from '../../shared/errors.ts';
import type { JsonObject } from '../../shared/json.ts';
import { defineRoute, type Route } from '../route.ts';
import type { AdminRoutesParts } from './admin.ts';

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
  content: {
    'application/json': z.object({
      event_id: z.uuid().optional().meta({
        description: 'Of the event it is stopped at: refused when it is stopped at another',
      }),
    }),
  },
  isOptional: true,
} as const;

export function projectionRoutes({
  handler,
  administration,
  positions,
}: AdminRoutesParts): Route[] {
  const list = defineRoute({
    method: 'get',
    path: '/admin/projections',
    summary: 'The projections: where they stand, and how they are doing',
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
    summary: 'A projection: where it stands, and how it is doing',
    tag: 'Administration',
    access: ['admin'],
    params: projectionParams,
    answers: { 200: projectionAnswer },
    errors: ['not-found'],
    handle: ({ params }) => asItThenIs(params.name),
  });

  const pause = defineRoute({
    method: 'post',
    path: '/admin/projections/{name}/pause',
    summary: 'Let a projection move no further, until it is resumed',
    tag: 'Administration',
    access: ['admin'],
    params: projectionParams,
    answers: { 200: projectionAnswer },
    errors: ['not-found'],
    async handle(request) {
      const { name: projection } = request.params;
      await administration.status(projection);
      await record(handler, request.command(), { type: 'ProjectionPaused', data: { projection } });
      await administration.pause(projection, request.caller.keyId);
      return asItThenIs(projection);
    },
  });

  const resume = defineRoute({
    method: 'post',
    path: '/admin/projections/{name}/resume',
    summary: 'Let a paused projection go on',
    tag: 'Administration',
    access: ['admin'],
    params: projectionParams,
    answers: { 200: projectionAnswer },
    errors: ['not-found'],
    async handle(request) {
      const { name: projection } = request.params;
      await administration.status(projection);
      await record(handler, request.command(), { type: 'ProjectionResumed', data: { projection } });
      await administration.resume(projection);
      return asItThenIs(projection);
    },
  });

  const retry = defineRoute({
    method: 'post',
    path: '/admin/projections/{name}/retry',
    summary: 'Let a stopped projection try again to apply the event it is stopped at',
    tag: 'Administration',
    access: ['admin'],
    params: projectionParams,
    body: stoppedAtBody,
    answers: { 200: projectionAnswer },
    errors: ['not-found', 'projection-not-stopped'],
    async handle(request) {
      const { name: projection } = request.params;
      const stop = await stopFor(administration, projection, request.body.event_id);
      const { eventId } = stop;
      await record(handler, request.command(), {
        type: 'ProjectionRetried',
        data: { projection, eventId },
      });
      await administration.goOn(projection, stop);
      return asItThenIs(projection);
    },
  });

  const skip = defineRoute({
    method: 'post',
    path: '/admin/projections/{name}/skip',
    summary: 'Let a stopped projection go on without the event it is stopped at, for ever',
    tag: 'Administration',
    access: ['admin'],
    params: projectionParams,
    body: stoppedAtBody,
    answers: { 200: projectionAnswer },
    errors: ['not-found', 'projection-not-stopped'],
    async handle(request) {
      const { name: projection } = request.params;
      const stop = await stopFor(administration, projection, request.body.event_id);
      const { eventId, position, message: error } = stop;
      await record(handler, request.command(), {
        type: 'ProjectionEventSkipped',
        data: { projection, eventId, position, error },
      });
      await administration.goOn(projection, stop);
      return asItThenIs(projection);
    },
  });

  async function asItThenIs(name: string) {
    const body = projectionBody(await administration.status(name), positions);
    return { status: 200, body, isPassing: false };
  }

  return [list, read, pause, resume, retry, skip];
}

/** Notes what an admin does with a projection. */
export async function record(
  handler: CommandHandler,
  context: CommandContext,
  event: Parameters<typeof projectionDecider.decide>[1],
): Promise<void> {
  const stream = projectionStream(event.data.projection);
  await handler.execute(projectionDecider, stream, event, context);
}

async function stopFor(
  administration: ProjectionAdministration,
  projection: string,
  eventId: string | undefined,
): ReturnType<ProjectionAdministration['stopOf']> {
  const stop = await administration.stopOf(projection);
  if (eventId === undefined || eventId === stop.eventId) return stop;
  throw new LedgerError(
    'projection-not-stopped',
    `The projection '${projection}' is stopped at event ${stop.eventId}, not at that one.`,
  );
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
    lag_events: head > position ? Number(head - position) : 0,
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
