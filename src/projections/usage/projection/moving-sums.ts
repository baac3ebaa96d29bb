import type { Queryable } from '../../../database/database.ts';
import { rowsAs } from '../../../database/rows.ts';
import { sql, type Sql } from '../../../database/sql.ts';
import { holderAt } from '../../tenancy/projection/sim-assignments.ts';
import { usage } from '../tables.ts';
import { quarterHourOf } from './rollups.ts';

/** The first and the last time from which a SIM card got another holder; null is the beginning. */
export interface TouchedSim {
  readonly projectId: string;
  readonly simCardId: string;
  readonly first: string | null;
  readonly last: string | null;
}

/** One statement moves about as many sums as this, which takes a second or two. */
const MAX_SUMS_AT_ONCE = 100_000;

/**
 * Moves the sums of SIM cards to the organizations that hold them now. An assignment changes the
 * holder up to the next assignment. The sum of a whole quarter of an hour moves as it is; only a
 * quarter in which the holder changes is summed up from its records again. The assignments must
 * have been added before; usage that is applied together with them is added afterwards.
 */
export async function moveTouched(touched: readonly TouchedSim[], tx: Queryable): Promise<void> {
  if (touched.length === 0) return;
  const counted = await tx.query<{ sums: bigint }>(sql`
    with touched as (${touchedTimes(touched)})
    select (
      select count(*)
      from ${usage.sim_quarter_hours} s
      where s.project_id = t.project_id
        and s.sim_card_id = t.sim_card_id
        and s.quarter_hour >= t.from_time
        and s.quarter_hour < t.to_time
    ) as sums
    from touched t
    order by t.ordinal`);
  const sums = counted.map(({ sums: count }) => Number(count));
  for (const part of inParts(touched, sums)) {
    await tx.query(sql`with touched as (${touchedTimes(part)}), ${MOVE_SUMS}`);
  }
}

/** The SIM cards, each with the times between which its holder may be another one now. */
function touchedTimes(touched: readonly TouchedSim[]): Sql {
  const rows = rowsAs(
    't',
    {
      ordinal: ['integer', ([ordinal]) => ordinal],
      project_id: ['text', ([, { projectId }]) => projectId],
      sim_card_id: ['text', ([, { simCardId }]) => simCardId],
      first_time: ['timestamptz', ([, { first }]) => first ?? '-infinity'],
      last_time: ['timestamptz', ([, { last }]) => last ?? '-infinity'],
    },
    [...touched.entries()],
  );
  return sql`
    select
      t.ordinal, t.project_id, t.sim_card_id,
      case
        when isfinite(t.first_time) then ${quarterHourOf(sql`t.first_time`)}
        else t.first_time
      end as from_time,
      coalesce(
        (
          select min(a.from_time)
          from ${usage.sim_assignments} a
          where a.project_id = t.project_id
            and a.sim_card_id = t.sim_card_id
            and a.from_time > t.last_time
        ),
        'infinity'
      ) as to_time
    from ${rows}`;
}

/** Divides the SIM cards so that no part has too many sums. */
function inParts(touched: readonly TouchedSim[], sums: readonly number[]): TouchedSim[][] {
  const parts: TouchedSim[][] = [];
  let left = 0;
  for (const [index, sim] of touched.entries()) {
    const count = sums[index] ?? 0;
    left -= count;
    if (left < 0 || parts.length === 0) {
      parts.push([]);
      left = MAX_SUMS_AT_ONCE - count;
    }
    parts.at(-1)?.push(sim);
  }
  return parts;
}

/**
 * Each sum of a SIM card is written once, in place: to take it out and add it again costs five
 * times as much (decision 19). A row without records is deleted, so that the same events in other
 * batches give the same rows. Those rows are found before anything is written, by a join with the
 * table: two results of this statement are never joined, since PostgreSQL has no statistics for
 * them and may compare every row with every other.
 */
const MOVE_SUMS = sql`
  /* Who holds each SIM card, from when to when. */
  held as (
    select
      project_id, sim_card_id, org_id, from_time,
      coalesce(
        lead(from_time) over (partition by project_id, sim_card_id order by from_time),
        touched_to
      ) as to_time
    from (
      select distinct on (a.project_id, a.sim_card_id, a.from_time)
        a.project_id, a.sim_card_id, a.org_id, a.from_time, t.to_time as touched_to
      from touched t
      join ${usage.sim_assignments} a
        on a.project_id = t.project_id
        and a.sim_card_id = t.sim_card_id
        and a.from_time >= t.from_time
        and a.from_time < t.to_time
      order by a.project_id, a.sim_card_id, a.from_time, a.position desc
    ) newest
  ),
  /* The quarters of an hour that lie wholly within. */
  whole as materialized (
    select
      project_id, sim_card_id, coalesce(org_id, '') as org_id,
      case when isfinite(from_time)
        then ${quarterHourOf(sql`from_time + interval '15 minutes' - interval '1 microsecond'`)}
        else from_time
      end as from_quarter,
      case when isfinite(to_time) then ${quarterHourOf(sql`to_time`)} else to_time end as to_quarter
    from held
  ),
  moved as materialized (
    select
      s.project_id, s.sim_card_id, s.quarter_hour, s.org_id as from_org, w.org_id as to_org,
      s.bytes, s.records
    from whole w
    join ${usage.sim_quarter_hours} s
      on s.project_id = w.project_id
      and s.sim_card_id = w.sim_card_id
      and s.quarter_hour >= w.from_quarter
      and s.quarter_hour < w.to_quarter
    where s.org_id <> w.org_id
  ),
  in_place as (
    update ${usage.sim_quarter_hours} s
    set org_id = w.org_id
    from whole w
    where s.project_id = w.project_id
      and s.sim_card_id = w.sim_card_id
      and s.quarter_hour >= w.from_quarter
      and s.quarter_hour < w.to_quarter
      and s.org_id <> w.org_id
  ),
  /* The quarters of an hour in which the holder changes. */
  cut as materialized (
    select distinct
      a.project_id, a.sim_card_id, ${quarterHourOf(sql`a.from_time`)} as quarter_hour
    from touched t
    join ${usage.sim_assignments} a
      on a.project_id = t.project_id
      and a.sim_card_id = t.sim_card_id
      and a.from_time >= t.from_time
      and a.from_time <= t.to_time
    where isfinite(a.from_time)
      and a.from_time > ${quarterHourOf(sql`a.from_time`)}
  ),
  cut_changes as (
    select
      project_id, sim_card_id, org_id, quarter_hour,
      sum(bytes) as bytes, sum(records) as records
    from (
      select
        s.project_id, s.sim_card_id, s.org_id, s.quarter_hour,
        - s.bytes as bytes, - s.records as records
      from cut c
      join ${usage.sim_quarter_hours} s
        on s.project_id = c.project_id
        and s.sim_card_id = c.sim_card_id
        and s.quarter_hour = c.quarter_hour
      union all
      select
        r.project_id, r.sim_card_id, coalesce(holder.org_id, '') as org_id, c.quarter_hour,
        r.bytes, 1 as records
      from cut c
      join ${usage.records} r
        on r.project_id = c.project_id
        and r.sim_card_id = c.sim_card_id
        and r.used_at >= c.quarter_hour
        and r.used_at < c.quarter_hour + interval '15 minutes'
      left join lateral (${holderAt(usage.sim_assignments, 'r', sql`r.used_at`)}) holder on true
    ) counted
    group by project_id, sim_card_id, org_id, quarter_hour
    having sum(bytes) <> 0 or sum(records) <> 0
  ),
  sim_quarter_hour_changes as materialized (
    select c.*, coalesce(s.records, 0) + c.records as records_left
    from cut_changes c
    left join ${usage.sim_quarter_hours} s using (project_id, sim_card_id, quarter_hour, org_id)
  ),
  drop_sim_quarter_hours as (
    delete from ${usage.sim_quarter_hours} s
    using sim_quarter_hour_changes c
    where s.project_id = c.project_id
      and s.sim_card_id = c.sim_card_id
      and s.quarter_hour = c.quarter_hour
      and s.org_id = c.org_id
      and c.records_left = 0
  ),
  into_sim_quarter_hours as (
    insert into ${usage.sim_quarter_hours} as s (
      project_id, sim_card_id, org_id, quarter_hour, bytes, records
    )
    select project_id, sim_card_id, org_id, quarter_hour, bytes, records
    from sim_quarter_hour_changes
    where records_left > 0
    on conflict (project_id, sim_card_id, quarter_hour, org_id) do update
    set bytes = s.bytes + excluded.bytes,
        records = s.records + excluded.records
  ),
  changes as materialized (
    select project_id, sim_card_id, from_org as org_id, quarter_hour,
      - bytes as bytes, - records as records
    from moved
    union all
    select project_id, sim_card_id, to_org, quarter_hour, bytes, records
    from moved
    union all
    select project_id, sim_card_id, org_id, quarter_hour, bytes, records
    from cut_changes
  ),
  sim_total_changes as materialized (
    select c.*, coalesce(s.records, 0) + c.records as records_left
    from (
      select project_id, sim_card_id, org_id, sum(bytes) as bytes, sum(records) as records
      from changes
      group by project_id, sim_card_id, org_id
    ) c
    left join ${usage.sim_totals} s using (project_id, sim_card_id, org_id)
  ),
  drop_sim_totals as (
    delete from ${usage.sim_totals} s
    using sim_total_changes c
    where s.project_id = c.project_id
      and s.sim_card_id = c.sim_card_id
      and s.org_id = c.org_id
      and c.records_left = 0
  ),
  into_sim_totals as (
    insert into ${usage.sim_totals} as s (project_id, sim_card_id, org_id, bytes, records)
    select project_id, sim_card_id, org_id, bytes, records
    from sim_total_changes
    where records_left > 0
    on conflict (project_id, sim_card_id, org_id) do update
    set bytes = s.bytes + excluded.bytes,
        records = s.records + excluded.records
  ),
  org_quarter_hour_changes as materialized (
    select
      c.*, o.records is null as is_new, coalesce(o.records, 0) + c.records as records_left
    from (
      select project_id, org_id, quarter_hour, sum(bytes) as bytes, sum(records) as records
      from changes
      group by project_id, org_id, quarter_hour
      having sum(bytes) <> 0 or sum(records) <> 0
    ) c
    left join ${usage.org_quarter_hours} o using (project_id, org_id, quarter_hour)
  ),
  drop_org_quarter_hours as (
    delete from ${usage.org_quarter_hours} o
    using org_quarter_hour_changes c
    where o.project_id = c.project_id
      and o.org_id = c.org_id
      and o.quarter_hour = c.quarter_hour
      and c.records_left = 0
  ),
  change_org_quarter_hours as (
    update ${usage.org_quarter_hours} o
    set bytes = o.bytes + c.bytes,
        records = c.records_left
    from org_quarter_hour_changes c
    where o.project_id = c.project_id
      and o.org_id = c.org_id
      and o.quarter_hour = c.quarter_hour
      and c.records_left > 0
  ),
  /* There may be as many as sums of SIM cards: a plain insert in key order is cheapest. */
  add_org_quarter_hours as (
    insert into ${usage.org_quarter_hours} (project_id, org_id, quarter_hour, bytes, records)
    select project_id, org_id, quarter_hour, bytes, records
    from org_quarter_hour_changes
    where is_new
    order by project_id, org_id, quarter_hour
  ),
  org_total_changes as materialized (
    select c.*, coalesce(o.records, 0) + c.records as records_left
    from (
      select project_id, org_id, sum(bytes) as bytes, sum(records) as records
      from sim_total_changes
      group by project_id, org_id
      having sum(bytes) <> 0 or sum(records) <> 0
    ) c
    left join ${usage.org_totals} o using (project_id, org_id)
  ),
  drop_org_totals as (
    delete from ${usage.org_totals} o
    using org_total_changes c
    where o.project_id = c.project_id
      and o.org_id = c.org_id
      and c.records_left = 0
  )
  insert into ${usage.org_totals} as o (project_id, org_id, bytes, records)
  select project_id, org_id, bytes, records
  from org_total_changes
  where records_left > 0
  on conflict (project_id, org_id) do update
  set bytes = o.bytes + excluded.bytes,
      records = o.records + excluded.records`;
