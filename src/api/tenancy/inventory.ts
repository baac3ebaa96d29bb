import { z } from 'zod';
import type { CommandContext, CommandHandler, Handled } from '../../commands/handler.ts';
import {
  assignmentAt,
  simDecider,
  simStream,
  type AssignSim,
  type SimState,
} from '../../commands/sim-inventory.ts';
import type { InventoryQueries } from '../../projections/tenancy/inventory-queries.ts';
import { dayOrTimestampField, idField, simCardIdField, timeAnswer } from '../fields.ts';
import { ITEMS_LIMIT_BYTES } from '../item-results.ts';
import { answerPage, numberedPage, pageQuery } from '../page-paging.ts';
import { answerRows, rowResults, rowsBody } from '../row-results.ts';
import { defineRoute, type Answer, type ApiRequest, type Route } from '../route.ts';

/** `null` is what nobody is called where usage is asked for. */
const orgIdField = idField.refine((id) => id !== 'null', 'must not be null');
const assignment = z.strictObject({ org_id: orgIdField, from: dayOrTimestampField.optional() });
const assignmentRow = assignment.extend({ sim_card_id: simCardIdField });
const COLUMNS = { needed: ['sim_card_id', 'org_id'], optional: ['from'] };

const heldSim = z.object({ sim_card_id: z.string(), org_id: z.string() });

export function inventoryRoutes(handler: CommandHandler, queries: InventoryQueries): Route[] {
  const list = defineRoute({
    method: 'get',
    path: '/inventory',
    summary: 'The SIM cards that an organization holds now, by id',
    tag: 'Inventory',
    access: ['owner', 'member', 'viewer'],
    query: pageQuery,
    answers: { 200: numberedPage(heldSim) },
    async handle({ query, projectId, now, read }) {
      const found = await queries.inventory(projectId, { ...query, now }, read);
      return answerPage(query, found, (sim) => ({ sim_card_id: sim.simCardId, org_id: sim.orgId }));
    },
  });

  const assign = defineRoute({
    method: 'put',
    path: '/inventory/{sim}',
    summary:
      'Assign a SIM card to an organization; without `from` from the beginning, later from now',
    tag: 'Inventory',
    access: ['owner', 'member'],
    params: z.object({ sim: simCardIdField }),
    body: { content: { 'application/json': assignment } },
    answers: { 200: heldSim.extend({ from: timeAnswer.nullable() }) },
    async handle({ params, body, now, command }) {
      const assigning = assignCommand(params.sim, body, now);
      const handled = await execute(assigning, command());
      return {
        status: 200,
        body: { sim_card_id: params.sim, org_id: body.org_id, from: fromOf(handled, assigning) },
        position: handled.position,
      };
    },
  });

  const assignMany = defineRoute({
    method: 'post',
    path: '/inventory',
    summary: 'Assign many SIM cards; one bad row stops no other',
    tag: 'Inventory',
    access: ['owner', 'member'],
    body: {
      content: { 'application/json': rowsBody(COLUMNS) },
      limitBytes: ITEMS_LIMIT_BYTES,
      isCheckedByItem: true,
    },
    table: {
      columns: COLUMNS,
      example: 'sim_card_id,org_id,from\n89440001,x00g8,\n89440002,x00g8,2026-01-31\n',
      handle: assignRows,
    },
    answers: { 200: rowResults('sim_card_id') },
    handle: assignRows,
  });

  function assignRows(request: ApiRequest<unknown, unknown, readonly unknown[]>): Promise<Answer> {
    return answerRows(request, {
      schema: assignmentRow,
      idName: 'sim_card_id',
      async handle(row, ordinal) {
        const assigning = assignCommand(row.sim_card_id, row, request.now);
        const { position } = await execute(assigning, request.command({ ordinal }));
        return { status: 200, position };
      },
    });
  }

  function execute(assigning: AssignSim, context: CommandContext): Promise<Handled<SimState>> {
    const stream = simStream(context.projectId, assigning.simCardId);
    return handler.execute(simDecider, stream, assigning, context);
  }

  return [list, assign, assignMany];
}

function assignCommand(
  simCardId: string,
  { org_id: orgId, from }: z.infer<typeof assignment>,
  now: Date,
): AssignSim {
  return { type: 'assign', simCardId, orgId, now, ...(from !== undefined && { from }) };
}

/** Since when it is so: what was recorded, or what made it nothing new. */
function fromOf(handled: Handled<SimState>, { from, now }: AssignSim): string | null {
  if (handled.outcome === 'nothing') {
    return assignmentAt(handled.state, (from ?? now).toISOString())?.from ?? null;
  }
  // A PUT carries no idempotency key, so it is not `repeated`.
  const [assigned] = handled.outcome === 'recorded' ? handled.events : [];
  return (assigned?.data['from'] as string | null | undefined) ?? null;
}
