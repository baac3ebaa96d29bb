import type { Queryable } from '../../../database/database.ts';
import type { RecordedEvent } from '../../../event-store/port.ts';
import { holderAt } from '../../tenancy/projection/sim-assignments.ts';

/** Sums stand by these: all offsets from UTC that are in use now are multiples of it. */
export const QUARTER_HOUR_MS = 15 * 60_000;

export interface UsageRow {
  readonly projectId: string;
  readonly recorded: RecordedEvent;
  readonly simCardId: string;
  readonly bytesUsed: number;
  readonly usedAt: string;
}

/** Adds records to what is kept, and to the sums of whoever holds their SIM cards by now. */
export async function addUsage(used: readonly UsageRow[], tx: Queryable): Promise<void> {
  if (used.length === 0) return;
  await tx.query({
    name: 'add-usage',
    text: `
      with used as (
        select *
        from unnest(
          $1::text[],        /* projects */
          $2::text[],        /* SIM cards */
          $3::timestamptz[], /* used at */
          $4::bigint[],      /* positions */
          $5::bigint[]       /* bytes */
        ) as u (project_id, sim_card_id, used_at, position, bytes)
      ),
      kept as (
        insert into records (project_id, sim_card_id, used_at, position, bytes)
        select project_id, sim_card_id, used_at, position, bytes
        from used
      ),
      changes as (
        select
          used.project_id, used.sim_card_id, coalesce(holder.org_id, '') as org_id,
          ${quarterHourOf('used.used_at')} as quarter_hour,
          sum(used.bytes) as bytes, count(*) as records
        from used
        left join lateral (${holderAt('used', 'used.used_at')}) holder on true
        group by 1, 2, 3, 4
      ),
      ${INTO_SUMS}`,
    values: [
      used.map(({ projectId }) => projectId),
      used.map(({ simCardId }) => simCardId),
      used.map(({ usedAt }) => usedAt),
      used.map(({ recorded }) => recorded.position),
      used.map(({ bytesUsed }) => bytesUsed),
    ],
  });
  await addDays(used, tx);
}

/** The changes of sums, into all of them. */
const INTO_SUMS = `
      into_sim_quarter_hours as (
        insert into sim_quarter_hours as s (
          project_id, sim_card_id, org_id, quarter_hour, bytes, records
        )
        select project_id, sim_card_id, org_id, quarter_hour, bytes, records
        from changes
        on conflict (project_id, sim_card_id, quarter_hour, org_id) do update
        set bytes = s.bytes + excluded.bytes,
            records = s.records + excluded.records
      ),
      into_sim_totals as (
        insert into sim_totals as s (project_id, sim_card_id, org_id, bytes, records)
        select project_id, sim_card_id, org_id, sum(bytes), sum(records)
        from changes
        group by project_id, sim_card_id, org_id
        on conflict (project_id, sim_card_id, org_id) do update
        set bytes = s.bytes + excluded.bytes,
            records = s.records + excluded.records
      ),
      into_org_quarter_hours as (
        insert into org_quarter_hours as o (project_id, org_id, quarter_hour, bytes, records)
        select project_id, org_id, quarter_hour, sum(bytes), sum(records)
        from changes
        group by project_id, org_id, quarter_hour
        on conflict (project_id, org_id, quarter_hour) do update
        set bytes = o.bytes + excluded.bytes,
            records = o.records + excluded.records
      )
      insert into org_totals as o (project_id, org_id, bytes, records)
      select project_id, org_id, sum(bytes), sum(records)
      from changes
      group by project_id, org_id
      on conflict (project_id, org_id) do update
      set bytes = o.bytes + excluded.bytes,
          records = o.records + excluded.records`;

/** SQL: the start of the quarter of an hour that a finite time lies in. */
export function quarterHourOf(time: string): string {
  return `date_bin('15 minutes', ${time}, timestamptz '2000-01-01 00:00:00Z')`;
}

/** A day of UTC stands at its first record, and stays there. */
async function addDays(used: readonly UsageRow[], tx: Queryable): Promise<void> {
  const days = new Map<string, { readonly first: UsageRow; readonly day: string }>();
  for (const first of used) {
    const day = `${first.usedAt.slice(0, 10)}T00:00:00Z`;
    const name = JSON.stringify([first.projectId, first.simCardId, day]);
    if (!days.has(name)) days.set(name, { first, day });
  }
  const rows = [...days.values()];
  await tx.query({
    name: 'add-usage-days',
    text: `
      insert into sim_days (
        project_id, sim_card_id, day, first_position, first_event_id, first_recorded_at, first_actor
      )
      select *
      from unnest(
        $1::text[],        /* projects */
        $2::text[],        /* SIM cards */
        $3::timestamptz[], /* days */
        $4::bigint[],      /* first positions */
        $5::uuid[],        /* first events */
        $6::timestamptz[], /* first recorded at */
        $7::text[]         /* first actors */
      )
      on conflict (project_id, sim_card_id, day) do nothing`,
    values: [
      rows.map(({ first }) => first.projectId),
      rows.map(({ first }) => first.simCardId),
      rows.map(({ day }) => day),
      rows.map(({ first }) => first.recorded.position),
      rows.map(({ first }) => first.recorded.id),
      rows.map(({ first }) => first.recorded.recordedAt),
      rows.map(({ first }) => first.recorded.metadata.actor),
    ],
  });
}
