import { z } from 'zod';
import { BATCH_LIMITS, batchStream, type BatchState } from '../../commands/deveui/decider.ts';
import {
  MAX_PREFIX_DIGITS,
  PREFIX_PATTERN,
  shortCodesBehind,
} from '../../commands/deveui/drawing.ts';
import type { BatchTracker } from '../../commands/deveui/batch-tracker.ts';
import type { DevEuiCommands } from '../../commands/deveui/commands.ts';
import type { Position } from '../../event-store/port.ts';
import { atLeast, type Versioned } from '../../projections/engine/reading/read-models.ts';
import type { ReadOptions } from '../../projections/engine/reading/read-models.ts';
import type { DevEuiQueries } from '../../projections/deveui/queries.ts';
import type { BatchSummary, BatchView } from '../../projections/deveui/queries.ts';
import { LedgerError } from '../../shared/errors.ts';
import { hexDigits } from '../../shared/hex-digits.ts';
import { shortId } from '../../shared/ids.ts';
import type { JsonObject } from '../../shared/json.ts';
import { idField, timeAnswer } from '../fields.ts';
import { cursorPage, cursorQuery, placeBeforePosition, walkPage } from '../paging.ts';
import { notFound } from '../problem.ts';
import {
  defineRoute,
  jsonBody,
  jsonTime,
  type Answer,
  type ApiRequest,
  type Route,
} from '../route.ts';
import { awaitEnd } from './awaited-end.ts';
import { waitPreference } from './wait-preference.ts';

export interface BatchRoutesParts {
  readonly commands: DevEuiCommands;
  readonly queries: DevEuiQueries;
  /** The address of the LoRaWAN provider; undefined where none is configured. */
  readonly provider: string | undefined;
  /** Aborted when the process is to end: whoever waits is answered as far as it is. */
  readonly draining: AbortSignal;
}

const { maxSize: MAX_BATCH_SIZE, defaultSize: DEFAULT_BATCH_SIZE, maxConcurrency } = BATCH_LIMITS;

/** How many batches of one project may be open. */
const MAX_OPEN_BATCHES = 1_000;

const sizeField = z
  .int(`must be a whole number from 1 to ${MAX_BATCH_SIZE}`)
  .min(1, `must be a whole number from 1 to ${MAX_BATCH_SIZE}`)
  .max(MAX_BATCH_SIZE, `must be a whole number from 1 to ${MAX_BATCH_SIZE}`);

const prefixField = z
  .string()
  .regex(PREFIX_PATTERN, `must be at most ${MAX_PREFIX_DIGITS} hex digits`)
  .transform(hexDigits)
  .optional()
  .meta({ description: 'The leading hex digits of each DevEUI, for example the OUI of a company' });

const batchBody = z
  .strictObject({
    batch_size: sizeField.optional().meta({ default: DEFAULT_BATCH_SIZE }),
    batchSize: sizeField.optional().meta({ description: 'The same as `batch_size`' }),
    deveui_prefix: prefixField,
    deveuiPrefix: prefixField.meta({ description: 'The same as `deveui_prefix`' }),
  })
  .transform((body) => ({
    size: body.batch_size ?? body.batchSize ?? DEFAULT_BATCH_SIZE,
    prefix: body.deveui_prefix ?? body.deveuiPrefix ?? '',
  }))
  .refine(({ size, prefix }) => size <= shortCodesBehind(prefix), {
    path: ['batch_size'],
    error: ({ input }) => {
      const { prefix } = input as { prefix: string };
      return `must be at most ${shortCodesBehind(prefix)}, the short codes that the prefix leaves`;
    },
  });

const summaryFields = z.object({
  id: z.string(),
  status: z.enum(['Processing', 'Stopped', 'Failed', 'Completed']),
  counts: z
    .object({
      requested: z.int(),
      attempted: z.int(),
      registered: z.int(),
      conflicted: z.int(),
      unconfirmed: z.int(),
      in_flight: z.int(),
    })
    .meta({ description: 'attempted = registered + conflicted + unconfirmed + in_flight' }),
  requested_at: timeAnswer,
  reason: z.string().optional().meta({ description: 'Why it failed' }),
});
const summaryAnswer = summaryFields.meta({ id: 'BatchSummary' });
const batchAnswer = summaryFields
  .extend({
    deveuis: z.array(z.string()).meta({ description: 'The registered DevEUIs' }),
    unconfirmed: z.array(z.string()).meta({
      description: 'DevEUIs in use, possibly by this batch: an earlier request had no answer',
    }),
    in_flight: z.array(z.string()).meta({
      description:
        'DevEUIs whose outcome is unknown; a stopped batch asks for them when it is resumed',
    }),
  })
  .meta({ id: 'Batch' });

const batchParams = z.object({ id: idField });

export function batchRoutes({ commands, queries, provider, draining }: BatchRoutesParts): Route[] {
  const request = defineRoute({
    method: 'post',
    path: '/batches',
    operationId: 'createBatch',
    summary: 'Register a batch of DevEUIs with the LoRaWAN provider',
    tag: 'Provisioning',
    access: ['owner', 'member'],
    // One, because each DevEUI is paid for.
    body: { ...jsonBody(batchBody, { batch_size: 1 }), isOptional: true },
    answers: { 201: batchAnswer },
    headers: { Location: 'The batch' },
    errors: ['provider-not-configured', 'too-many-batches'],
    takesWait: true,
    async handle({ body, headers, projectId, now, entropy, read, command, isClosed }) {
      const batchId = shortId(entropy('batch:id', 16));
      await requireRoom(projectId, batchId);
      const requestedAt = now.toISOString();
      const { position } = await commands.request(
        {
          batchId,
          ...body,
          seed: entropy('batch:seed', 32).toString('hex'),
          provider: configured(provider),
          concurrency: maxConcurrency,
          requestedAt,
        },
        command(),
      );
      const waitSeconds = waitPreference(headers.prefer);
      const found =
        waitSeconds === undefined
          ? undefined
          : await whenDone({ projectId, batchId, isClosed }, waitSeconds, atLeast(read, position));
      return {
        status: 201,
        headers: {
          Location: `/api/v1/batches/${batchId}`,
          ...(waitSeconds !== undefined && { 'Preference-Applied': `wait=${waitSeconds}` }),
        },
        body: batchBodyOf(found?.value ?? begun(batchId, body.size, now, position)),
        position: found?.position ?? position,
      };
    },
  });

  /**
   * The tables may be some batches behind: the limit only keeps one project from filling the memory
   * of the provisioning process. A batch that this request recorded before is always answered.
   */
  async function requireRoom(projectId: string, batchId: string): Promise<void> {
    const open = await queries.openBatches(projectId, MAX_OPEN_BATCHES).catch(() => 0);
    if (open < MAX_OPEN_BATCHES) return;
    const state = await commands.state(batchStream(projectId, batchId));
    if (state.status !== 'missing') return;
    throw new LedgerError(
      'too-many-batches',
      `The project has ${MAX_OPEN_BATCHES} open batches: wait until one is done, or stop one.`,
    );
  }

  /**
   * Undefined when the read model cannot answer: the batch is in the log, and a refusal would make
   * a client ask for another one.
   */
  async function whenDone(
    {
      projectId,
      batchId,
      isClosed,
    }: Pick<ApiRequest<unknown, unknown, unknown>, 'projectId' | 'isClosed'> & {
      readonly batchId: string;
    },
    waitSeconds: number,
    options: ReadOptions,
  ): Promise<Versioned<BatchView | undefined> | undefined> {
    try {
      await awaitEnd(queries, { projectId, batchId }, waitSeconds * 1_000, {
        ...options,
        draining,
        isClosed,
      });
      return await queries.batch(projectId, batchId, options);
    } catch (error) {
      if (error instanceof LedgerError) return undefined;
      throw error;
    }
  }

  const list = defineRoute({
    method: 'get',
    path: '/batches',
    operationId: 'listBatches',
    summary: 'List the batches of the project, newest first',
    tag: 'Provisioning',
    access: ['owner', 'member', 'viewer'],
    query: cursorQuery,
    takesAsOf: true,
    answers: { 200: cursorPage(summaryAnswer) },
    handle: (request) =>
      walkPage(request, {
        name: 'batches',
        place: placeBeforePosition,
        rows: (limit, place, asOf) =>
          queries.batches(request.projectId, { limit, asOf, ...place }, request.read),
        item: summaryBodyOf,
        placeOf: ({ position }) => ({ before: position }),
      }),
  });

  const readOne = defineRoute({
    method: 'get',
    path: '/batches/{id}',
    operationId: 'getBatch',
    summary: 'Get a batch with its DevEUIs',
    changedBy: ({ id }) => ({ batchId: id }),
    tag: 'Provisioning',
    access: ['owner', 'member', 'viewer'],
    params: batchParams,
    takesAsOf: true,
    answers: { 200: batchAnswer },
    errors: ['not-found'],
    async handle({ params, projectId, read, asOf }) {
      const { value, position } = await queries.batch(projectId, params.id, read, asOf);
      if (value === undefined) throw notFound();
      return { status: 200, body: batchBodyOf(value), position };
    },
  });

  const stopOrHide = defineRoute({
    method: 'delete',
    path: '/batches/{id}',
    operationId: 'deleteBatch',
    summary: 'Stop a running batch (202), or hide one that is done (204)',
    tag: 'Provisioning',
    access: ['owner', 'member'],
    params: batchParams,
    answers: { 202: batchAnswer, 204: null },
    errors: ['not-found'],
    async handle({ params: { id }, now, command }) {
      const ended = await commands.stopOrHide(id, now.toISOString(), command());
      return ended.outcome === 'hidden'
        ? { status: 204, position: ended.position }
        : accepted(id, ended.batch);
    },
  });

  const resume = defineRoute({
    method: 'post',
    path: '/batches/{id}/resume',
    operationId: 'resumeBatch',
    summary: 'Resume a stopped or failed batch',
    tag: 'Provisioning',
    access: ['owner', 'member'],
    params: batchParams,
    answers: { 202: batchAnswer },
    errors: ['not-found', 'provider-not-configured'],
    async handle({ params: { id }, now, command }) {
      const resume = { provider: configured(provider), resumedAt: now.toISOString() };
      return accepted(id, await commands.resume(id, resume, command()));
    },
  });

  return [request, list, readOne, stopOrHide, resume];
}

/** @throws LedgerError `provider-not-configured` */
function configured(provider: string | undefined): string {
  if (provider !== undefined) return provider;
  throw new LedgerError(
    'provider-not-configured',
    'No LoRaWAN provider is configured: ask the operator to set LORAWAN_API_URL.',
  );
}

/** A batch of which no more is known than that it was asked for. */
function begun(
  batchId: string,
  requested: number,
  requestedAt: Date,
  position: Position,
): BatchView {
  const none = { attempted: 0, registered: 0, conflicted: 0, unconfirmed: 0, inFlight: 0 };
  return {
    batchId,
    position,
    status: 'Processing',
    reason: null,
    requestedAt,
    counts: { requested, ...none },
    devEuis: [],
    unconfirmed: [],
    inFlight: [],
  };
}

function accepted(batchId: string, batch: BatchTracker): Answer {
  return { status: 202, body: batchBodyOf(viewOf(batchId, batch)), position: batch.position };
}

function viewOf(batchId: string, batch: BatchTracker): BatchView {
  const { position, reason, requestedAt = new Date(0), open } = batch;
  return {
    batchId,
    position,
    status: STATUSES[batch.status],
    reason: reason ?? null,
    requestedAt,
    counts: {
      requested: batch.size,
      attempted: batch.drawnCount,
      registered: batch.registered.length,
      conflicted: batch.conflictedCount,
      unconfirmed: batch.unconfirmed.length,
      inFlight: open.length,
    },
    devEuis: batch.inDrawnOrder(batch.registered),
    unconfirmed: batch.inDrawnOrder(batch.unconfirmed),
    inFlight: batch.inDrawnOrder(open),
  };
}

const STATUSES = {
  missing: 'Processing',
  processing: 'Processing',
  stopped: 'Stopped',
  failed: 'Failed',
  completed: 'Completed',
  // Another request has hidden it since this one was decided.
  hidden: 'Stopped',
} as const satisfies Record<BatchState['status'], BatchView['status']>;

function batchBodyOf(batch: BatchView): JsonObject {
  const { devEuis, unconfirmed, inFlight } = batch;
  return {
    ...summaryBodyOf(batch),
    deveuis: [...devEuis],
    unconfirmed: [...unconfirmed],
    in_flight: [...inFlight],
  };
}

function summaryBodyOf({ batchId, status, counts, requestedAt, reason }: BatchSummary): JsonObject {
  const { inFlight, ...others } = counts;
  return {
    id: batchId,
    status,
    counts: { ...others, in_flight: inFlight },
    requested_at: jsonTime(requestedAt),
    ...(reason !== null && { reason }),
  };
}
