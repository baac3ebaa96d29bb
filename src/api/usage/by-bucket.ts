import { z } from 'zod';
import type { Position } from '../../event-store/port.ts';
import type { Versioned, ReadOptions } from '../../projections/engine/reading/read-models.ts';
import { bucketLabel, type Edges } from '../../projections/usage/queries/buckets.ts';
import type {
  Counted,
  PageOf,
  Subject,
  UsageQueries,
  UsedInBucket,
} from '../../projections/usage/queries.ts';
import { LedgerError } from '../../shared/errors.ts';
import type { FairSlots } from '../../shared/fair-slots.ts';
import { exactInteger } from '../../shared/json.ts';
import { bytesAnswer, idField, simCardIdField, timeAnswer } from '../fields.ts';
import { numberedPage } from '../page-paging.ts';
import { defineRoute, type Answer, type ApiRequest, type Route } from '../route.ts';
import { bucketQuery, bucketsIn } from './range-query.ts';
import { answerTable, tablePageQuery } from './table-answer.ts';

const usedInBucket = z
  .object({
    date: z.string().meta({
      description: 'Where the bucket begins, in local time of the zone',
      example: '2020-02-01:00:00:00',
    }),
    start: timeAnswer.meta({
      description: 'The same as an instant, which tells apart the two hours of an autumn night',
      example: '2020-02-01T00:00:00Z',
    }),
    'bytes-used-total': bytesAnswer,
  })
  .meta({ id: 'UsedInBucket' });

const byBucketQuery = tablePageQuery.extend({
  ...bucketQuery.shape,
  fill: z
    .literal('zero', "must be 'zero'")
    .optional()
    .meta({ description: '`zero` gives every bucket, also those without usage' }),
});

type ByBucketRequest = ApiRequest<{ id: string }, z.infer<typeof byBucketQuery>, unknown>;

/** In a path: that nobody holds a SIM card. An organization of this name is not to be asked for. */
const NOBODY = 'null';

export function byBucketRoutes(queries: UsageQueries, heavyReads: FairSlots): Route[] {
  const organization = defineRoute({
    ...common('organization'),
    operationId: 'getOrganizationUsage',
    summary: 'Get the usage of an organization by bucket; `null`: of SIM cards without one',
    handle: (request) => {
      const { id } = request.params;
      return inTurn(request, id === NOBODY ? { kind: 'nobody' } : { kind: 'organization', id });
    },
  });

  const simCard = defineRoute({
    ...common('simcard'),
    params: z.object({ id: simCardIdField }),
    operationId: 'getSimCardUsage',
    summary: 'Get the usage of a SIM card by bucket',
    handle: (request) => inTurn(request, { kind: 'simcard', id: request.params.id }),
  });

  function inTurn(request: ByBucketRequest, subject: Subject): Promise<Answer> {
    return heavyReads.run(request.projectId, () => answer(request, subject));
  }

  async function answer(
    { query, projectId, read, headers, asOf }: ByBucketRequest,
    subject: Subject,
  ): Promise<Answer> {
    const { edges, timeZone } = await bucketsIn(query);
    return answerTable(query, headers.isCsvAccepted, {
      columns: ['date', 'start', 'bytes-used-total'],
      item: ({ startMs, bytes }: UsedInBucket) => ({
        date: bucketLabel(startMs, timeZone),
        start: instantText(startMs),
        'bytes-used-total': exactInteger(bytes),
      }),
      async rows(page) {
        const found =
          query.fill === 'zero'
            ? await filled(edges, page, (some, whole) =>
                queries.byBucket(projectId, subject, { edges: some, page: whole, asOf }, read),
              )
            : await queries.byBucket(projectId, subject, { edges, page, asOf }, read);
        if (!found.value.items.some(({ bytes }) => bytes > 0n)) {
          await requireKnown(projectId, subject, asOf, read);
        }
        return found;
      },
    });
  }

  async function requireKnown(
    projectId: string,
    subject: Subject,
    asOf: Position | undefined,
    read: ReadOptions,
  ): Promise<void> {
    if (await queries.isKnown(projectId, subject, asOf, read)) return;
    const name = subject.kind === 'nobody' ? NOBODY : subject.id;
    throw new LedgerError('not-found', `No ${subject.kind} ${name} found!`);
  }

  return [organization, simCard];
}

function common(kind: 'organization' | 'simcard') {
  return {
    method: 'get',
    path: `/${kind}/{id}/usage`,
    tag: 'Usage',
    access: ['owner', 'member', 'viewer'],
    params: z.object({ id: idField }),
    query: byBucketQuery,
    takesAsOf: true,
    answers: { 200: numberedPage(usedInBucket) },
    errors: ['not-found'],
    hasCsv: true,
  } as const;
}

/** Buckets begin with whole seconds. */
function instantText(epochMs: number): string {
  return `${new Date(epochMs).toISOString().slice(0, 19)}Z`;
}

/** Every bucket of a page: those with usage are looked for among them alone. */
async function filled(
  edges: Edges,
  { limit, offset }: PageOf,
  used: (edges: Edges, page: PageOf) => Promise<Versioned<Counted<UsedInBucket>>>,
): Promise<Versioned<Counted<UsedInBucket>>> {
  const total = edges.length - 1;
  const onPage = edges.slice(offset, Math.min(offset + limit, total) + 1);
  const { value, position } = await used(onPage, { limit: onPage.length, offset: 0 });
  const bytesAt = new Map(value.items.map(({ startMs, bytes }) => [startMs, bytes]));
  const items = onPage
    .slice(0, -1)
    .map((startMs) => ({ startMs, bytes: bytesAt.get(startMs) ?? 0n }));
  return { value: { items, total }, position };
}
