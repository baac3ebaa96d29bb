import { z } from 'zod';
import type { TenancyCommands } from '../../commands/tenancy/commands.ts';
import type { InventoryQueries } from '../../projections/tenancy/queries/inventory.ts';
import { isScientific, SCIENTIFIC_RULE } from '../../shared/scientific-notation.ts';
import { rowSchema } from '../csv.ts';
import { dayOrTimestampField, idField, simCardIdField, timeAnswer } from '../fields.ts';
import { ITEMS_LIMIT_BYTES } from '../item-results.ts';
import { answerPage, numberedPage, pageQuery } from '../page-paging.ts';
import { answerRows, rowResults, rowsBody } from '../row-results.ts';
import {
  defineRoute,
  jsonBody,
  jsonTime,
  type Answer,
  type ApiRequest,
  type Route,
} from '../route.ts';
import { momentOf } from '../moment.ts';

/** `null` is what nobody is called where usage is asked for. */
const orgIdField = idField.refine((id) => id !== 'null', 'must not be null');
const assignment = z.strictObject({
  org_id: orgIdField.nullable(),
  from: dayOrTimestampField.optional(),
});
const assignmentRow = assignment.extend({
  sim_card_id: simCardIdField.refine((id) => !isScientific(id), SCIENTIFIC_RULE),
});
const COLUMNS = { needed: ['sim_card_id', 'org_id'], optional: ['from'] };

const heldSim = z.object({
  sim_card_id: z.string(),
  org_id: z
    .string()
    .nullable()
    .meta({ description: 'The organization that holds the SIM card, or null' }),
  from: timeAnswer.nullable().meta({ description: 'Since when; null: from the beginning' }),
});

export function inventoryRoutes(commands: TenancyCommands, queries: InventoryQueries): Route[] {
  const list = defineRoute({
    method: 'get',
    path: '/inventory',
    operationId: 'listSimCards',
    summary: 'List SIM cards with the organizations that hold them, by id',
    tag: 'Inventory',
    access: ['owner', 'member', 'viewer'],
    query: pageQuery,
    takesAsOf: true,
    answers: { 200: numberedPage(heldSim) },
    async handle(request) {
      const { query, projectId, asOf, read } = request;
      const { page, size } = query;
      const at = { asOf, now: await momentOf(request) };
      const found = await queries.inventory(projectId, { page, size, ...at }, read);
      return answerPage(query, found, ({ simCardId, orgId, from }) => ({
        sim_card_id: simCardId,
        org_id: orgId,
        from: jsonTime(from),
      }));
    },
  });

  const assign = defineRoute({
    method: 'put',
    path: '/inventory/{sim}',
    operationId: 'assignSimCard',
    summary: 'Assign a SIM card to an organization, or to none (null)',
    tag: 'Inventory',
    access: ['owner', 'member'],
    params: z.object({ sim: simCardIdField }),
    body: jsonBody(assignment, { org_id: 'x00g8' }),
    answers: { 200: heldSim },
    async handle({ params, body, now, command }) {
      const assigning = assignmentOf(params.sim, body, now);
      const { from, position } = await commands.assignSim(assigning, command());
      return {
        status: 200,
        body: { sim_card_id: params.sim, org_id: body.org_id, from },
        position,
      };
    },
  });

  const assignMany = defineRoute({
    method: 'post',
    path: '/inventory',
    operationId: 'assignSimCards',
    summary: 'Assign many SIM cards; an invalid row stops no other',
    tag: 'Inventory',
    access: ['owner', 'member'],
    body: {
      ...jsonBody(rowsBody(COLUMNS), [{ sim_card_id: '89440001', org_id: 'x00g8' }]),
      limitBytes: ITEMS_LIMIT_BYTES,
      isCheckedByItem: true,
    },
    table: {
      columns: COLUMNS,
      example: 'sim_card_id,org_id,from\n89440001,x00g8,\n89440002,x00g8,2026-01-31\n',
      handle: (request) => assignRows(request, rowSchema(assignmentRow)),
    },
    answers: { 200: rowResults('sim_card_id', { from: timeAnswer.nullable().optional() }) },
    handle: (request) => assignRows(request, assignmentRow),
  });

  function assignRows(
    request: ApiRequest<unknown, unknown, readonly unknown[]>,
    schema: z.ZodType<z.infer<typeof assignmentRow>>,
  ): Promise<Answer> {
    return answerRows(request, {
      schema,
      idName: 'sim_card_id',
      async handle(row, ordinal) {
        const assigning = assignmentOf(row.sim_card_id, row, request.now);
        const { from, position } = await commands.assignSim(
          assigning,
          request.command({ ordinal }),
        );
        return { status: 200, position, more: { from } };
      },
    });
  }

  return [list, assign, assignMany];
}

type SimAssignment = Parameters<TenancyCommands['assignSim']>[0];

function assignmentOf(
  simCardId: string,
  { org_id: orgId, from }: z.infer<typeof assignment>,
  now: Date,
): SimAssignment {
  return { simCardId, orgId, now, ...(from !== undefined && { from }) };
}
