import { z } from 'zod';
import type { StateCommands, PatchResult } from '../commands/state.ts';
import { dedupStrategySchema } from '../commands/state.ts';
import type { IncomingPatch } from '../commands/state-dedup.ts';
import type { Positions } from '../projections/engine/as-of.ts';
import type { Position } from '../projections/engine/read-model.ts';
import type { SensorView, StateQueries } from '../projections/state/state-queries.ts';
import { LedgerError } from '../shared/errors.ts';
import type { Json, JsonObject } from '../shared/json.ts';
import type { Caller } from './authentication.ts';
import { parseJsonText } from './body.ts';
import { asOfQuery, idField, projectIdField, timeAnswer, timestampField } from './fields.ts';
import {
  cursorPage,
  cursorQuery,
  decodeCursor,
  encodeCursor,
  pageAnswer,
  splitPage,
} from './paging.ts';
import { precondition } from './precondition.ts';
import { asLedgerError, notFound, statusOf } from './problem.ts';
import { defineRoute, etag, jsonTime, type ApiRequest, type Line, type Route } from './route.ts';

export interface StateRoutesParts {
  readonly commands: StateCommands;
  readonly queries: StateQueries;
  readonly positions: Positions;
}

const MAX_DATA_CHARACTERS = 64 * 1024;
const MAX_DATA_DEPTH = 32;
const MAX_BULK_ITEMS = 10_000;
const BULK_LIMIT_BYTES = 16 * 1024 * 1024;
/** Bulk patches that run at a time: they are appended together, so more gain little. */
const BULK_CONCURRENCY = 500;

// Not `z.record`: the object is kept as it was parsed, with a key `__proto__` if it has one.
const dataField = z
  .unknown()
  .refine(isObject, 'must be an object')
  .refine((data) => depthOf(data) <= MAX_DATA_DEPTH, `must not nest deeper than ${MAX_DATA_DEPTH}`)
  .refine(
    (data) => JSON.stringify(data ?? null).length <= MAX_DATA_CHARACTERS,
    `must not take more than ${MAX_DATA_CHARACTERS} characters`,
  )
  .meta({
    override: { type: 'object', additionalProperties: true },
    examples: [{ temperature: 21 }],
  }) as unknown as z.ZodType<JsonObject>;

function isObject(value: unknown): boolean {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

const patchBody = z.object({
  data: dataField,
  message_id: idField.optional(),
  sequence: z.int().optional(),
  timestamp: timestampField.optional(),
});
type PatchBody = z.infer<typeof patchBody>;

const mergePatchBody = dataField.transform((data): PatchBody => ({ data }));

const bulkItem = patchBody.extend({ id: idField });
const bulkBody = z
  .array(z.unknown())
  .max(MAX_BULK_ITEMS)
  .meta({
    override: { items: { type: 'object', required: ['id', 'data'] } },
    description: 'Each: {"id", "data", "message_id"?, "sequence"?, "timestamp"?}',
  });

const object = z.record(z.string(), z.unknown());
const sensorAnswer = z
  .object({
    data: z.object({ current: object }),
    revision: z.int(),
    updated_at: timeAnswer,
  })
  .meta({ id: 'Sensor' });
const bulkResult = z.object({
  id: z.string().nullable(),
  status: z.int().meta({ description: 'As if it had been sent alone' }),
  revision: z.int().optional(),
  deduplicated: z.string().optional(),
  code: z.string().optional(),
});

const sensorParams = z.object({ id: idField });

export function stateRoutes({ commands, queries, positions }: StateRoutesParts): Route[] {
  const patchSensor = defineRoute({
    method: 'patch',
    path: '/sensors/{id}',
    summary: 'Merge a patch into the state of a sensor (RFC 7396)',
    tag: 'State',
    access: ['owner', 'member', 'device'],
    params: sensorParams,
    body: {
      content: { 'application/json': patchBody, 'application/merge-patch+json': mergePatchBody },
    },
    answers: { 200: z.object({ data: object }) },
    errors: ['state-too-large', 'precondition-failed'],
    hasEtag: true,
    async handle({ params, body, caller, headers, now, command }) {
      requireOwnSensor(caller, params.id);
      const refuse = precondition(headers);
      const result = await commands.patch(params.id, incomingPatch(body, now), {
        ...command('', body.timestamp),
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
    summary: 'The state of a sensor, now or as it was',
    tag: 'State',
    access: ['owner', 'member', 'viewer', 'device'],
    params: sensorParams,
    query: z.object({
      as_of: asOfQuery,
      revision: z.coerce
        .bigint({ error: 'must be a whole number from 0' })
        .min(0n, 'must be a whole number from 0')
        .max(9_223_372_036_854_775_807n, 'must be a whole number from 0')
        .optional()
        .meta({ override: { type: 'integer' } }),
    }),
    answers: { 200: sensorAnswer },
    errors: ['not-found'],
    hasEtag: true,
    async handle({ params, query, caller, projectId, read }) {
      requireOwnSensor(caller, params.id);
      if (query.as_of !== undefined && query.revision !== undefined) {
        throw new LedgerError('validation-failed', 'Send either as_of or revision.', {
          fields: [{ path: 'query.revision', message: 'cannot go with as_of' }],
        });
      }
      const asOf =
        query.revision === undefined
          ? query.as_of === undefined
            ? undefined
            : await positions.asOf(query.as_of)
          : ((await queries.positionOfRevision(projectId, params.id, query.revision)) ?? 'never');
      if (asOf === 'never') throw sensorNotFound();
      const found =
        asOf === undefined
          ? await queries.sensor(projectId, params.id, read)
          : await queries.sensorAt(projectId, params.id, asOf, read);
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
    summary: 'Every patch of a sensor, newest first',
    tag: 'State',
    access: ['owner', 'member', 'viewer', 'device'],
    params: sensorParams,
    query: cursorQuery,
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
    async handle({ params, query, caller, projectId, read, path }) {
      requireOwnSensor(caller, params.id);
      const { limit, cursor } = query;
      const walk = `history:${params.id}`;
      const place = decodeCursor(
        walk,
        cursor,
        z.object({ before: z.string().regex(/^\d{1,18}$/) }),
      );
      const found = await queries.history(
        projectId,
        params.id,
        {
          limit: limit + 1,
          ...(place !== undefined && { before: BigInt(place.before) as Position }),
        },
        read,
      );
      if (found.value.length === 0 && place === undefined) throw sensorNotFound();
      const { page, last } = splitPage(found.value, limit);
      const items = page.map((entry) => ({
        revision: Number(entry.revision),
        patch: entry.patch,
        state: entry.state,
        occurred_at: jsonTime(entry.occurredAt),
        recorded_at: jsonTime(entry.recordedAt),
        actor: entry.actor,
      }));
      const next = last && encodeCursor(walk, { before: last.position.toString() });
      return pageAnswer(items, next, path, found.position);
    },
  });

  const listSensors = defineRoute({
    method: 'get',
    path: '/sensors',
    summary: 'The sensors of the project with their current state, by id',
    tag: 'State',
    access: ['owner', 'member', 'viewer'],
    query: cursorQuery,
    answers: { 200: cursorPage(sensorAnswer.extend({ id: z.string() })) },
    async handle({ query, projectId, read, path }) {
      const { limit, cursor } = query;
      const place = decodeCursor('sensors', cursor, z.object({ after: z.string() }));
      const found = await queries.sensors(projectId, { limit: limit + 1, ...place }, read);
      const { page, last } = splitPage(found.value, limit);
      const items = page.map((sensor) => ({ id: sensor.sensorId, ...sensorBody(sensor) }));
      const next = last && encodeCursor('sensors', { after: last.sensorId });
      return pageAnswer(items, next, path, found.position);
    },
  });

  const setSensorDedup = defineRoute({
    method: 'put',
    path: '/sensors/{id}/dedup',
    summary: 'How repeated patches of a sensor are told from new ones',
    tag: 'State',
    access: ['owner', 'member'],
    params: sensorParams,
    body: { content: { 'application/json': dedupStrategySchema } },
    answers: { 200: dedupStrategySchema },
    async handle({ params, body, command }) {
      const { position } = await commands.setSensorDedup(params.id, body, command());
      return { status: 200, body, position };
    },
  });

  const setProjectDedup = defineRoute({
    method: 'put',
    path: '/projects/{id}/dedup',
    summary: 'How repeated patches are told from new ones, where a sensor has no rule of its own',
    tag: 'State',
    access: ['owner', 'member'],
    params: z.object({ id: projectIdField }),
    body: { content: { 'application/json': dedupStrategySchema } },
    answers: { 200: dedupStrategySchema },
    errors: ['not-found'],
    async handle({ params, body, projectId, command }) {
      if (params.id !== projectId) throw notFound();
      const { position } = await commands.setProjectDedup(body, command());
      return { status: 200, body, position };
    },
  });

  async function patchOne(
    request: ApiRequest<unknown, unknown, unknown>,
    item: unknown,
    label: string,
  ): Promise<{ result: JsonObject; position: Position | undefined }> {
    const parsed = bulkItem.safeParse(item);
    const id = idOf(item);
    if (!parsed.success) {
      const code = 'validation-failed';
      return { result: { id, status: statusOf[code], code }, position: undefined };
    }
    try {
      requireOwnSensor(request.caller, parsed.data.id);
      const patched = await commands.patch(
        parsed.data.id,
        incomingPatch(parsed.data, request.now),
        request.command(label, parsed.data.timestamp),
      );
      return { result: bulkAnswer(parsed.data.id, patched), position: patched.position };
    } catch (error) {
      const { code } = asLedgerError(error);
      return { result: { id, status: statusOf[code], code }, position: undefined };
    }
  }

  const patchMany = defineRoute({
    method: 'post',
    path: '/sensors/patches',
    summary: 'Patch many sensors; one bad item stops no other',
    tag: 'State',
    access: ['owner', 'member', 'device'],
    body: { content: { 'application/json': bulkBody }, limitBytes: BULK_LIMIT_BYTES },
    stream: {
      contentTypes: ['application/x-ndjson', 'application/ndjson', 'application/jsonl'],
      async *handle(request, lines) {
        for await (const chunk of chunksOf(lines, BULK_CONCURRENCY)) {
          const answers = await Promise.all(
            chunk.map(({ number, text }) => {
              try {
                return patchOne(request, parseJsonText(text), `line:${number}`);
              } catch (error) {
                const { code } = asLedgerError(error);
                return { result: { id: null, status: statusOf[code], code } as JsonObject };
              }
            }),
          );
          for (const { result } of answers) yield result;
        }
      },
    },
    answers: { 200: z.object({ results: z.array(bulkResult) }) },
    async handle(request) {
      const results: Json[] = [];
      let newest: Position | undefined;
      for (let start = 0; start < request.body.length; start += BULK_CONCURRENCY) {
        const chunk = request.body.slice(start, start + BULK_CONCURRENCY);
        const answers = await Promise.all(
          chunk.map((item, index) => patchOne(request, item, `item:${start + index}`)),
        );
        for (const { result, position } of answers) {
          results.push(result);
          if (position !== undefined && (newest === undefined || position > newest))
            newest = position;
        }
      }
      return { status: 200, body: { results }, ...(newest !== undefined && { position: newest }) };
    },
  });

  return [
    patchMany,
    patchSensor,
    readSensor,
    readHistory,
    listSensors,
    setSensorDedup,
    setProjectDedup,
  ];
}

function incomingPatch(body: PatchBody, receivedAt: Date): IncomingPatch {
  return {
    patch: body.data,
    receivedAt,
    ...(body.message_id !== undefined && { messageId: body.message_id }),
    ...(body.sequence !== undefined && { sequence: body.sequence }),
  };
}

function sensorBody({ state, revision, updatedAt }: SensorView): JsonObject {
  return { data: { current: state }, revision: Number(revision), updated_at: jsonTime(updatedAt) };
}

function bulkAnswer(id: string, patched: PatchResult): JsonObject {
  const revision = Number(patched.revision);
  return patched.outcome === 'deduplicated'
    ? { id, status: 200, revision, deduplicated: patched.by }
    : { id, status: 200, revision };
}

function idOf(item: unknown): string | null {
  const id = typeof item === 'object' && item !== null && 'id' in item ? item.id : null;
  return typeof id === 'string' ? id : null;
}

/** A device speaks for its own sensor alone. */
function requireOwnSensor(caller: Caller, sensorId: string): void {
  if (caller.kind !== 'device' || caller.sensorId === sensorId) return;
  throw new LedgerError('forbidden', 'A device may only speak for its own sensor.');
}

function sensorNotFound(): LedgerError {
  return new LedgerError(
    'not-found',
    'No state of this sensor is known: check the id, or the time.',
  );
}

function depthOf(value: unknown): number {
  if (typeof value !== 'object' || value === null) return 0;
  let deepest = 0;
  for (const inner of Object.values(value)) deepest = Math.max(deepest, depthOf(inner));
  return deepest + 1;
}

async function* chunksOf(lines: AsyncIterable<Line>, size: number): AsyncIterable<Line[]> {
  let chunk: Line[] = [];
  for await (const line of lines) {
    chunk.push(line);
    if (chunk.length < size) continue;
    yield chunk;
    chunk = [];
  }
  if (chunk.length > 0) yield chunk;
}
