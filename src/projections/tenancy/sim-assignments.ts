import type { Queryable } from '../../database/database.ts';
import type { SimEvent } from '../../events/tenancy.ts';
import type { RecordedEvent } from '../../event-store/port.ts';

/**
 * A row for each assignment that was ever recorded, never changed: who held a SIM at a time is the one
 * with the greatest `from_time` up to then, and of two from one time the one with the greater
 * position. So a later correction of the past counts at once, and "as of" is a bound on the position.
 */
export const simAssignmentsTable = `
    create table sim_assignments (
      project_id  text        not null collate "C",
      sim_card_id text        not null collate "C",
      org_id      text        not null collate "C",
      from_time   timestamptz not null, /* -infinity: from the beginning */
      position    bigint      not null,
      primary key (project_id, sim_card_id, from_time, position)
    );`;

export async function addSimAssignments(
  assigned: readonly {
    readonly projectId: string;
    readonly recorded: RecordedEvent;
    readonly event: SimEvent;
  }[],
  tx: Queryable,
): Promise<void> {
  if (assigned.length === 0) return;
  await tx.query({
    name: 'add-sim-assignments',
    text: `
      insert into sim_assignments (project_id, sim_card_id, org_id, from_time, position)
      select *
      from unnest(
        $1::text[],        /* projects */
        $2::text[],        /* SIM cards */
        $3::text[],        /* organizations */
        $4::timestamptz[], /* from */
        $5::bigint[]       /* positions */
      )`,
    values: [
      assigned.map(({ projectId }) => projectId),
      assigned.map(({ event }) => event.data.simCardId),
      assigned.map(({ event }) => event.data.orgId),
      assigned.map(({ event }) => event.data.from ?? '-infinity'),
      assigned.map(({ recorded }) => recorded.position),
    ],
  });
}
