import { z } from 'zod';
import type { Versioned } from '../../projections/engine/reading/read-models.ts';
import type { Counted, PageOf } from '../../projections/usage/queries.ts';
import type {
  OrganizationTotal,
  SimTotal,
  UsageTotals,
} from '../../projections/usage/queries/totals.ts';
import type { FairSlots } from '../../shared/fair-slots.ts';
import { exactInteger, type JsonObject } from '../../shared/json.ts';
import { bytesAnswer } from '../fields.ts';
import { numberedPage } from '../page-paging.ts';
import { defineRoute, type ApiRequest, type Route } from '../route.ts';
import { rangeQuery, usedWithin } from './range-query.ts';
import { answerTable, tablePageQuery } from './table-answer.ts';

const organizationTotal = z.object({
  org_id: z
    .string()
    .nullable()
    .meta({ description: 'Null for SIM cards that belong to no organization' }),
  'bytes-used-total': bytesAnswer,
});
const simTotal = organizationTotal.extend({ sim_card_id: z.string() });

const totalsQuery = tablePageQuery.extend({ ...rangeQuery.shape });

export function totalRoutes(totals: UsageTotals, heavyReads: FairSlots): Route[] {
  const organizations = defineRoute({
    method: 'get',
    path: '/usage/organizations',
    operationId: 'listOrganizationUsage',
    summary: 'List the usage of each organization in a period',
    tag: 'Usage',
    access: ['owner', 'member', 'viewer'],
    query: totalsQuery,
    takesAsOf: true,
    answers: { 200: numberedPage(organizationTotal) },
    hasCsv: true,
    handle: (request) =>
      answer(request, {
        columns: ['org_id', 'bytes-used-total'],
        item: organizationBody,
        rows: (options) =>
          heavyReads.run(request.projectId, () =>
            totals.ofOrganizations(request.projectId, options, request.read),
          ),
      }),
  });

  const sims = defineRoute({
    method: 'get',
    path: '/usage/simcards',
    operationId: 'listSimCardUsage',
    summary: 'List the usage of each SIM card in a period, by organization',
    tag: 'Usage',
    access: ['owner', 'member', 'viewer'],
    query: totalsQuery,
    takesAsOf: true,
    answers: { 200: numberedPage(simTotal) },
    hasCsv: true,
    handle: (request) =>
      answer(request, {
        columns: ['sim_card_id', 'org_id', 'bytes-used-total'],
        item: (total: SimTotal) => ({
          sim_card_id: total.simCardId,
          ...organizationBody(total),
        }),
        rows: (options) =>
          heavyReads.run(request.projectId, () =>
            totals.ofSims(request.projectId, options, request.read),
          ),
      }),
  });

  async function answer<Row>(
    { query, headers, asOf }: ApiRequest<unknown, z.infer<typeof totalsQuery>, unknown>,
    {
      rows,
      ...table
    }: {
      readonly columns: readonly string[];
      readonly item: (row: Row) => JsonObject;
      readonly rows: (
        options: Parameters<UsageTotals['ofSims']>[1],
      ) => Promise<Versioned<Counted<Row>>>;
    },
  ) {
    const range = usedWithin(query);
    return answerTable(query, headers.isCsvAccepted, {
      ...table,
      rows: (page: PageOf) => rows({ ...range, asOf, page }),
    });
  }

  return [organizations, sims];
}

function organizationBody({ orgId, bytes }: OrganizationTotal): JsonObject {
  return { org_id: orgId, 'bytes-used-total': exactInteger(bytes) };
}
