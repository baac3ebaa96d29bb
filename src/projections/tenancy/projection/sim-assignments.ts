import type { Queryable } from '../../../database/database.ts';
import { insertRows } from '../../../database/rows.ts';
import { sql, type Sql, type Table } from '../../../database/sql.ts';
import type { SimEvent } from '../../../events/tenancy.ts';
import type { Position, RecordedEvent } from '../../../event-store/port.ts';

/**
 * DDL of a table with a row for each assignment that was ever recorded; rows never change. The
 * holder of a SIM card at a time is in the row with the greatest `from_time` up to then, and of two
 * from one time in the one with the greater position. So a later correction of the past counts at
 * once, and `as_of` is a bound on the position.
 */
export const simAssignmentsTable = `
    create table sim_assignments (
      project_id  text        not null collate "C",
      sim_card_id text        not null collate "C",
      org_id      text        not null collate "C", /* '': no organization */
      from_time   timestamptz not null, /* -infinity: from the beginning */
      position    bigint      not null,
      primary key (project_id, sim_card_id, from_time, position)
    );`;

/**
 * A `select` of the `org_id` that held the SIM card of a row at a time, and of `from_time`, since
 * when; no row when no organization did.
 * @param row the alias of the row, which has `project_id` and `sim_card_id`.
 * @param asOf when only the assignments up to a position count.
 */
export function holderAt(table: Table, row: string, time: Sql, asOf?: Position): Sql {
  return sql`
    select a.org_id, a.from_time
    from ${table} a
    where a.project_id = ${sql.raw(row)}.project_id
      and a.sim_card_id = ${sql.raw(row)}.sim_card_id
      and a.from_time <= ${time}
      ${asOf === undefined ? sql`` : sql`and a.position <= ${asOf}`}
    order by a.from_time desc, a.position desc
    limit 1`;
}

export async function addSimAssignments(
  table: Table,
  assigned: readonly {
    readonly projectId: string;
    readonly recorded: RecordedEvent;
    readonly event: SimEvent;
  }[],
  tx: Queryable,
): Promise<void> {
  if (assigned.length === 0) return;
  await tx.query(
    insertRows(
      table,
      {
        project_id: ['text', ({ projectId }) => projectId],
        sim_card_id: ['text', ({ event }) => event.data.simCardId],
        org_id: ['text', ({ event }) => event.data.orgId ?? ''],
        from_time: ['timestamptz', ({ event }) => event.data.from ?? '-infinity'],
        position: ['bigint', ({ recorded }) => recorded.position],
      },
      assigned,
    ),
  );
}
