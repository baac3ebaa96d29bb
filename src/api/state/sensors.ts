import { z } from 'zod';
import type { StateCommands } from '../../commands/state/commands.ts';
import type { SensorView, StateQueries } from '../../projections/state/queries.ts';
import { LedgerError } from '../../shared/errors.ts';
import type { JsonObject } from '../../shared/json.ts';
import { idField, timeAnswer } from '../fields.ts';
import { cursorPage, cursorQuery, placeAfterId, placeBeforePosition, walkPage } from '../paging.ts';
import { precondition } from '../precondition.ts';
import { defineRoute, etag, jsonTime, type Route } from '../route.ts';
import { incomingPatch, mergePatchBody, patchBody, requireOwnSensor } from './patch-body.ts';

const object = z.record(z.string(), z.unknown());
const sensorAnswer = z
  .object({
    data: z.object({ current: object }),
    revision: z.int(),
    updated_at: timeAnswer,
  })
  .meta({ id: 'Sensor' });

const MAX_REVISION = 9_223_372_036_854_775_807n;
const sensorParams = z.object({ id: idField });

export function sensorRoutes(commands: StateCommands, queries: StateQueries): Route[] {
  const patchSensor = defineRoute({
    method: 'patch',
    path: '/sensors/{id}',
    operationId: 'patchSensor',
    summary: 'Merge a patch into the state of a sensor (RFC 7396)',
    tag: 'State',
    access: ['owner', 'member', 'device'],
    params: sensorParams,
    body: {
      content: { 'application/json': patchBody, 'application/merge-patch+json': mergePatchBody },
      examples: {
        'application/json': { data: { temperature: 21 } },
        'application/merge-patch+json': { temperature: 22 },
      },
    },
    answers: { 200: z.object({ data: object }) },
    headers: { 'Fleetledger-Deduplicated': 'Why it was no event: the strategy that knew it' },
    errors: ['state-too-large', 'precondition-failed'],
    hasEtag: true,
    async handle({ params, body, caller, headers, now, command }) {
      requireOwnSensor(caller, params.id);
      const refuse = precondition(headers);
      const result = await commands.patch(params.id, incomingPatch(body, now), {
        ...command({ occurredAt: body.timestamp }),
        ...(refuse !== undefined && { precondition: refuse }),
      });
      return {
        status: 200,
        body: { data: body.data },
        headers: {
          ETag: etag(result.revision),
          ...(result.outcome === 'deduplicated' && { 'Fleetledger-Deduplicated': result.by }),
        },
        position: result.position,
      };
    },
  });

  const readSensor = defineRoute({
    method: 'get',
    path: '/sensors/{id}',
    operationId: 'getSensor',
    summary: 'Get the state of a sensor, now or in the past',
    changedBy: ({ id }) => ({ sensorId: id }),
    tag: 'State',
    access: ['owner', 'member', 'viewer', 'device'],
    params: sensorParams,
    query: z.object({
      revision: z
        .string()
        .regex(/^\d{1,19}$/, 'must be a whole number from 0')
        .transform(BigInt)
        .refine((revision) => revision <= MAX_REVISION, 'must be a whole number from 0')
        .optional()
        .meta({ override: { type: 'integer', minimum: 0 } }),
    }),
    takesAsOf: true,
    answers: { 200: sensorAnswer },
    errors: ['not-found'],
    hasEtag: true,
    async handle({ params, query, caller, projectId, read, asOf }) {
      requireOwnSensor(caller, params.id);
      if (asOf !== undefined && query.revision !== undefined) {
        throw new LedgerError(
          'validation-failed',
          'as_of and revision exclude each other: send one of them.',
          {
            fields: [{ path: 'query.revision', message: 'cannot be combined with as_of' }],
          },
        );
      }
      const found =
        query.revision !== undefined
          ? await queries.sensorAtRevision(projectId, params.id, query.revision, read)
          : asOf !== undefined
            ? await queries.sensorAt(projectId, params.id, asOf, read)
            : await queries.sensor(projectId, params.id, read);
      if (found.value === undefined) throw sensorNotFound();
      const { revision } = found.value;
      return {
        status: 200,
        body: sensorBody(found.value),
        headers: { ETag: etag(revision) },
        position: found.position,
      };
    },
  });

  const readHistory = defineRoute({
    method: 'get',
    path: '/sensors/{id}/history',
    operationId: 'listSensorHistory',
    summary: 'List the patches of a sensor, newest first',
    tag: 'State',
    access: ['owner', 'member', 'viewer', 'device'],
    params: sensorParams,
    query: cursorQuery,
    takesAsOf: true,
    answers: {
      200: cursorPage(
        z.object({
          revision: z.int(),
          patch: object,
          state: object,
          occurred_at: timeAnswer.nullable(),
          recorded_at: timeAnswer,
          actor: z.string(),
        }),
      ),
    },
    errors: ['not-found'],
    async handle(request) {
      const { params, caller, projectId, read } = request;
      requireOwnSensor(caller, params.id);
      return walkPage(request, {
        name: `history:${params.id}`,
        place: placeBeforePosition,
        async rows(limit, place, asOf) {
          const page = { limit, asOf, ...place };
          const found = await queries.history(projectId, params.id, page, read);
          if (found.value.length === 0 && place === undefined) throw sensorNotFound();
          return found;
        },
        item: (entry) => ({
          revision: Number(entry.revision),
          patch: entry.patch,
          state: entry.state,
          occurred_at: jsonTime(entry.occurredAt),
          recorded_at: jsonTime(entry.recordedAt),
          actor: entry.actor,
        }),
        placeOf: ({ position }) => ({ before: position }),
      });
    },
  });

  const listSensors = defineRoute({
    method: 'get',
    path: '/sensors',
    operationId: 'listSensors',
    summary: 'List the sensors of the project with their state, by id',
    tag: 'State',
    access: ['owner', 'member', 'viewer'],
    query: cursorQuery,
    takesAsOf: true,
    answers: { 200: cursorPage(sensorAnswer.extend({ id: z.string() })) },
    handle: (request) =>
      walkPage(request, {
        name: 'sensors',
        place: placeAfterId,
        rows: (limit, place, asOf) =>
          queries.sensors(request.projectId, { limit, asOf, ...place }, request.read),
        item: (sensor) => ({ id: sensor.sensorId, ...sensorBody(sensor) }),
        placeOf: ({ sensorId }) => ({ after: sensorId }),
      }),
  });

  return [patchSensor, readSensor, readHistory, listSensors];
}

function sensorBody({ state, revision, updatedAt }: SensorView): JsonObject {
  return { data: { current: state }, revision: Number(revision), updated_at: jsonTime(updatedAt) };
}

function sensorNotFound(): LedgerError {
  return new LedgerError('not-found', 'The sensor has no state: check the id, as_of and revision.');
}
