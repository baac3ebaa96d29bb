import type { Queryable } from '../../../database/database.ts';
import type { SimEvent } from '../../../events/tenancy.ts';
import type { RecordedEvent } from '../../../event-store/port.ts';

/**
 * A row for each assignment that was ever recorded, never changed: who held a SIM at a time is the one
 * with the greatest `from_time` up to then, and of two from one time the one with the greater
 * position. So a later correction of the past counts at once, and "as of" is a bound on the position.
 */
export const simAssignmentsTable = `
    create table sim_assignments (
      project_id  text        not null collate "C",
      sim_card_id text        not null collate "C",
      org_id      text        not null collate "C", /* '': none */
      from_time   timestamptz not null, /* -infinity: from the beginning */
      position    bigint      not null,
      primary key (project_id, sim_card_id, from_time, position)
    );`;

/**
 * SQL: `org_id` of whoever held the SIM card of a row at a time, and `from_time`, since when; no row when nobody did. `schema` is that of the
 * table, with a point; `known` bounds what counts, such as `and a.position <= $3`.
 */
export function holderAt(
  row: string,
  time: string,
  { schema = '', known = '' }: { readonly schema?: string; readonly known?: string } = {},
): string {
  return `
    select a.org_id, a.from_time
    from ${schema}sim_assignments a
    where a.project_id = ${row}.project_id
      and a.sim_card_id = ${row}.sim_card_id
      and a.from_time <= ${time}
      ${known}
    order by a.from_time desc, a.position desc
    limit 1`;
}

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
      assigned.map(({ event }) => event.data.orgId ?? ''),
      assigned.map(({ event }) => event.data.from ?? '-infinity'),
      assigned.map(({ recorded }) => recorded.position),
    ],
  });
}
