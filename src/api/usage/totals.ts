import { z } from 'zod';
import type { Positions } from '../../event-store/positions.ts';
import type { Versioned } from '../../projections/engine/reading/read-models.ts';
import type { Counted, PageOf } from '../../projections/usage/queries.ts';
import type {
  OrganizationTotal,
  SimTotal,
  UsageTotals,
} from '../../projections/usage/queries/totals.ts';
import type { FairSlots } from '../../shared/fair-slots.ts';
import { exactInteger, type JsonObject } from '../../shared/json.ts';
import { asOfQuery, bytesAnswer } from '../fields.ts';
import { numberedPage } from '../page-paging.ts';
import { defineRoute, type Route } from '../route.ts';
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

const totalsQuery = tablePageQuery.extend({ ...rangeQuery.shape, as_of: asOfQuery });

export function totalRoutes(
  totals: UsageTotals,
  positions: Positions,
  heavyReads: FairSlots,
): Route[] {
  const organizations = defineRoute({
    method: 'get',
    path: '/usage/organizations',
    operationId: 'listOrganizationUsage',
    summary: 'List the usage of each organization in a period',
    tag: 'Usage',
    access: ['owner', 'member', 'viewer'],
    query: totalsQuery,
    answers: { 200: numberedPage(organizationTotal) },
    hasCsv: true,
    handle: ({ query, projectId, read, headers }) =>
      answer(query, headers.isCsvAccepted, {
        columns: ['org_id', 'bytes-used-total'],
        item: organizationBody,
        rows: (options) =>
          heavyReads.run(projectId, () => totals.ofOrganizations(projectId, options, read)),
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
    answers: { 200: numberedPage(simTotal) },
    hasCsv: true,
    handle: ({ query, projectId, read, headers }) =>
      answer(query, headers.isCsvAccepted, {
        columns: ['sim_card_id', 'org_id', 'bytes-used-total'],
        item: (total: SimTotal) => ({
          sim_card_id: total.simCardId,
          ...organizationBody(total),
        }),
        rows: (options) => heavyReads.run(projectId, () => totals.ofSims(projectId, options, read)),
      }),
  });

  async function answer<Row>(
    query: z.infer<typeof totalsQuery>,
    isCsv: boolean,
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
    const asOf = query.as_of === undefined ? undefined : await positions.asOf(query.as_of);
    return answerTable(query, isCsv, {
      ...table,
      rows: (page: PageOf) => rows({ ...range, asOf, page }),
    });
  }

  return [organizations, sims];
}

function organizationBody({ orgId, bytes }: OrganizationTotal): JsonObject {
  return { org_id: orgId, 'bytes-used-total': exactInteger(bytes) };
}
