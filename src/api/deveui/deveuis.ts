import { z } from 'zod';
import type { DevEuiQueries } from '../../projections/deveui/queries.ts';
import type { DevEuiView } from '../../projections/deveui/queries.ts';
import type { JsonObject } from '../../shared/json.ts';
import { devEuiField } from '../fields.ts';
import { cursorPage, cursorQuery, walkPage } from '../paging.ts';
import { notFound } from '../problem.ts';
import { defineRoute, type Route } from '../route.ts';

const DEVEUI_DIGITS = 16;

const devEuiAnswer = z
  .object({
    deveui: z.string(),
    short_code: z.string(),
    batch_id: z.string(),
    status: z.enum(['registered', 'unconfirmed', 'in_flight', 'conflicted']),
    device_id: z.string().nullable().meta({ description: 'The device that it is linked to' }),
  })
  .meta({ id: 'DevEui' });

const shortCodeQuery = z
  .string()
  .regex(/^[0-9A-Fa-f]{5}$/, 'must be 5 hex digits')
  .transform((hex) => hex.toUpperCase())
  .optional();

/** A DevEUI and the batch behind it: together they are one line of the list. */
const placeAfterLine = z.object({ after: z.string().regex(/^[0-9A-F]{16}./s) });

export function devEuiQueryRoutes(queries: DevEuiQueries): Route[] {
  const list = defineRoute({
    method: 'get',
    path: '/deveuis',
    operationId: 'listDevEuis',
    summary: 'List the DevEUIs of the project, with their batches',
    tag: 'Provisioning',
    access: ['owner', 'member', 'viewer'],
    query: cursorQuery.extend({ short_code: shortCodeQuery }),
    takesAsOf: true,
    answers: { 200: cursorPage(devEuiAnswer) },
    handle(request) {
      const shortCode = request.query.short_code;
      return walkPage(request, {
        name: `deveuis:${shortCode ?? ''}`,
        place: placeAfterLine,
        rows: (limit, place, asOf) =>
          queries.devEuis(
            request.projectId,
            {
              limit,
              asOf,
              ...(shortCode !== undefined && { shortCode }),
              ...(place !== undefined && {
                after: {
                  devEui: place.after.slice(0, DEVEUI_DIGITS),
                  batchId: place.after.slice(DEVEUI_DIGITS),
                },
              }),
            },
            request.read,
          ),
        item: devEuiBody,
        placeOf: ({ devEui, batchId }) => ({ after: devEui + batchId }),
      });
    },
  });

  const readOne = defineRoute({
    method: 'get',
    path: '/deveuis/{deveui}',
    operationId: 'getDevEui',
    summary: 'Get a DevEUI with its most advanced status',
    tag: 'Provisioning',
    access: ['owner', 'member', 'viewer'],
    params: z.object({ deveui: devEuiField }),
    takesAsOf: true,
    answers: { 200: devEuiAnswer },
    errors: ['not-found'],
    async handle({ params, projectId, read, asOf }) {
      const { value, position } = await queries.devEui(projectId, params.deveui, read, asOf);
      if (value === undefined) throw notFound();
      return { status: 200, body: devEuiBody(value), position };
    },
  });

  return [list, readOne];
}

function devEuiBody({ devEui, shortCode, batchId, status, deviceId }: DevEuiView): JsonObject {
  return {
    deveui: devEui,
    short_code: shortCode,
    batch_id: batchId,
    status,
    device_id: deviceId,
  };
}
