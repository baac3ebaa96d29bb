import type { Queryable } from '../../../database/database.ts';
import { insertRows, rowsAs } from '../../../database/rows.ts';
import { sql, type Sql } from '../../../database/sql.ts';
import type { RecordedEvent } from '../../../event-store/port.ts';
import { holderAt } from '../../tenancy/projection/sim-assignments.ts';
import { usage } from '../tables.ts';

/** The period of rollups: all offsets from UTC in use today are multiples of it. */
export const QUARTER_HOUR_MS = 15 * 60_000;

export interface UsageRow {
  readonly projectId: string;
  readonly recorded: RecordedEvent;
  readonly simCardId: string;
  readonly bytesUsed: number;
  readonly usedAt: string;
}

/** The start of the quarter of an hour that contains a finite time. */
export function quarterHourOf(time: Sql): Sql {
  return sql`date_bin('15 minutes', ${time}, timestamptz '2000-01-01 00:00:00Z')`;
}

/**
 * Keeps the records, and adds them to the sums of the organizations that hold their SIM cards now.
 */
export async function addUsage(used: readonly UsageRow[], tx: Queryable): Promise<void> {
  if (used.length === 0) return;
  const rows = rowsAs(
    'u',
    {
      project_id: ['text', ({ projectId }) => projectId],
      sim_card_id: ['text', ({ simCardId }) => simCardId],
      used_at: ['timestamptz', ({ usedAt }) => usedAt],
      position: ['bigint', ({ recorded }) => recorded.position],
      bytes: ['bigint', ({ bytesUsed }) => bytesUsed],
    },
    used,
  );
  await tx.query(sql`with used as (select * from ${rows}), ${KEEP_AND_ADD}`);
  await addDays(used, tx);
}

const KEEP_AND_ADD = sql`
  kept as (
    insert into ${usage.records} (project_id, sim_card_id, used_at, position, bytes)
    select project_id, sim_card_id, used_at, position, bytes
    from used
  ),
  changes as (
    select
      used.project_id, used.sim_card_id, coalesce(holder.org_id, '') as org_id,
      ${quarterHourOf(sql`used.used_at`)} as quarter_hour,
      sum(used.bytes) as bytes, count(*) as records
    from used
    left join lateral (${holderAt(usage.sim_assignments, 'used', sql`used.used_at`)}) holder on true
    group by 1, 2, 3, 4
  ),
  into_sim_quarter_hours as (
    insert into ${usage.sim_quarter_hours} as s (
      project_id, sim_card_id, org_id, quarter_hour, bytes, records
    )
    select project_id, sim_card_id, org_id, quarter_hour, bytes, records
    from changes
    on conflict (project_id, sim_card_id, quarter_hour, org_id) do update
    set bytes = s.bytes + excluded.bytes,
        records = s.records + excluded.records
  ),
  into_sim_totals as (
    insert into ${usage.sim_totals} as s (project_id, sim_card_id, org_id, bytes, records)
    select project_id, sim_card_id, org_id, sum(bytes), sum(records)
    from changes
    group by project_id, sim_card_id, org_id
    on conflict (project_id, sim_card_id, org_id) do update
    set bytes = s.bytes + excluded.bytes,
        records = s.records + excluded.records
  ),
  into_org_quarter_hours as (
    insert into ${usage.org_quarter_hours} as o (
      project_id, org_id, quarter_hour, bytes, records
    )
    select project_id, org_id, quarter_hour, sum(bytes), sum(records)
    from changes
    group by project_id, org_id, quarter_hour
    on conflict (project_id, org_id, quarter_hour) do update
    set bytes = o.bytes + excluded.bytes,
        records = o.records + excluded.records
  )
  insert into ${usage.org_totals} as o (project_id, org_id, bytes, records)
  select project_id, org_id, sum(bytes), sum(records)
  from changes
  group by project_id, org_id
  on conflict (project_id, org_id) do update
  set bytes = o.bytes + excluded.bytes,
      records = o.records + excluded.records`;

/** A day in UTC has the position of its first record, which it keeps. */
async function addDays(used: readonly UsageRow[], tx: Queryable): Promise<void> {
  const days = new Map<string, { readonly first: UsageRow; readonly day: string }>();
  for (const first of used) {
    const day = `${first.usedAt.slice(0, 10)}T00:00:00Z`;
    const name = JSON.stringify([first.projectId, first.simCardId, day]);
    if (!days.has(name)) days.set(name, { first, day });
  }
  const inserted = insertRows(
    usage.sim_days,
    {
      project_id: ['text', ({ first }) => first.projectId],
      sim_card_id: ['text', ({ first }) => first.simCardId],
      day: ['timestamptz', ({ day }) => day],
      first_position: ['bigint', ({ first }) => first.recorded.position],
      first_event_id: ['uuid', ({ first }) => first.recorded.id],
      first_recorded_at: ['timestamptz', ({ first }) => first.recorded.recordedAt],
      first_actor: ['text', ({ first }) => first.recorded.metadata.actor],
    },
    [...days.values()],
  );
  await tx.query(sql`
    ${inserted}
    on conflict (project_id, sim_card_id, day) do nothing`);
}
