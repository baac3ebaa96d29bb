import { z } from 'zod';
import type { DevEuiQueries } from '../../projections/deveui/queries.ts';
import { idField, timeAnswer, wholeNumberText } from '../fields.ts';
import { cursorPage, cursorQuery, placeAfterPosition, walkPage } from '../paging.ts';
import { notFound } from '../problem.ts';
import { defineRoute, jsonTime, type Route } from '../route.ts';

const batchParams = z.object({ id: idField });
/** More than any batch has, and a number that the database can count with. */
const MAX_PARTITION = 999_999_999;
const partitionParams = batchParams.extend({
  n: wholeNumberText(1, MAX_PARTITION),
});

/** What a batch holds, piece by piece: its DevEUIs in partitions, its attempts in pages. */
export function batchContentRoutes(queries: DevEuiQueries): Route[] {
  const listPartitions = defineRoute({
    method: 'get',
    path: '/batches/{id}/partitions',
    operationId: 'listBatchPartitions',
    summary: 'List the partitions of a batch, of up to 1,000 DevEUIs each',
    tag: 'Provisioning',
    access: ['owner', 'member', 'viewer'],
    params: batchParams,
    takesAsOf: true,
    answers: {
      200: z.object({
        items: z.array(
          z.object({
            partition: z.int(),
            href: z.string(),
            size: z.int().meta({ description: 'The number of DevEUIs' }),
          }),
        ),
      }),
    },
    errors: ['not-found'],
    async handle({ params, projectId, read, asOf, prefix }) {
      const { value: sizes, position } = await queries.partitions(projectId, params.id, read, asOf);
      if (sizes === undefined) throw notFound();
      const base = `${prefix}/api/v1/batches/${encodeURIComponent(params.id)}/partitions`;
      const items = sizes.map((size, index) => ({
        partition: index + 1,
        href: `${base}/${index + 1}`,
        size,
      }));
      return { status: 200, body: { items }, position };
    },
  });

  const readPartition = defineRoute({
    method: 'get',
    path: '/batches/{id}/partitions/{n}',
    operationId: 'getBatchPartition',
    summary: 'Get up to 1,000 DevEUIs of a batch, in the order they were drawn',
    tag: 'Provisioning',
    access: ['owner', 'member', 'viewer'],
    params: partitionParams,
    takesAsOf: true,
    answers: {
      200: z.object({
        id: z.string(),
        partition: z.int(),
        items: z.array(
          z.object({
            deveui: z.string(),
            short_code: z.string(),
            status: z.enum(['registered', 'unconfirmed', 'in_flight']),
          }),
        ),
      }),
    },
    errors: ['not-found'],
    async handle({ params: { id, n }, projectId, read, asOf }) {
      const { value, position } = await queries.partition(projectId, id, n, read, asOf);
      if (value === undefined) throw notFound();
      const items = value.map(({ devEui, shortCode, status }) => ({
        deveui: devEui,
        short_code: shortCode,
        status,
      }));
      return { status: 200, body: { id, partition: n, items }, position };
    },
  });

  const listAttempts = defineRoute({
    method: 'get',
    path: '/batches/{id}/attempts',
    operationId: 'listBatchAttempts',
    summary: 'List the requests to the provider for a batch, oldest first',
    tag: 'Provisioning',
    access: ['owner', 'member', 'viewer'],
    params: batchParams,
    query: cursorQuery,
    takesAsOf: true,
    answers: {
      200: cursorPage(
        z.object({
          deveui: z.string(),
          attempt: z
            .int()
            .meta({ description: 'The number of the attempt for this DevEUI, from 1' }),
          outcome: z.enum(['registered', 'conflicted', 'unconfirmed', 'failed', 'in_flight']),
          provider_status: z.int().nullable(),
          reason: z.string().nullable().meta({
            description: 'Why it failed, or why the provider refused the DevEUI',
          }),
          sent_at: timeAnswer,
          ended_at: timeAnswer.nullable(),
        }),
      ),
    },
    errors: ['not-found'],
    handle: (request) =>
      walkPage(request, {
        name: `attempts:${request.params.id}`,
        place: placeAfterPosition,
        async rows(limit, place, asOf) {
          const { projectId, params, read } = request;
          const { value, position } = await queries.attempts(
            projectId,
            params.id,
            { limit, asOf, ...place },
            read,
          );
          if (value === undefined) throw notFound();
          return { value, position };
        },
        item: (attempt) => ({
          deveui: attempt.devEui,
          attempt: attempt.attempt,
          outcome: attempt.outcome,
          provider_status: attempt.providerStatus,
          reason: attempt.reason,
          sent_at: jsonTime(attempt.sentAt),
          ended_at: jsonTime(attempt.endedAt),
        }),
        placeOf: ({ position }) => ({ after: position }),
      }),
  });

  return [listPartitions, readPartition, listAttempts];
}
