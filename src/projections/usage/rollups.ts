import type { Queryable } from '../../database/database.ts';
import type { RecordedEvent } from '../../event-store/port.ts';
import { holderAt } from '../tenancy/sim-assignments.ts';

/** Sums stand by these: all offsets from UTC that are in use now are multiples of it. */
export const QUARTER_HOUR_MS = 15 * 60_000;

export interface UsageRow {
  readonly projectId: string;
  readonly recorded: RecordedEvent;
  readonly simCardId: string;
  readonly bytesUsed: number;
  readonly usedAt: string;
}

/** The first and the last of the times from which a SIM card got a holder; null: from the beginning. */
export interface TouchedSim {
  readonly projectId: string;
  readonly simCardId: string;
  readonly first: string | null;
  readonly last: string | null;
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

/** So many SIM cards are moved by a statement: each may have years of quarters of an hour. */
const MAX_SIMS_AT_ONCE = 50;

/**
 * Moves sums to whoever holds the SIM cards by now, up to where the next assignment was in force before. Sums of a
 * quarter of an hour move as they are; only those in which the holder changes are made of their records again. To
 * be called when the assignments are there, and before any more usage is.
 */
export async function moveTouched(touched: readonly TouchedSim[], tx: Queryable): Promise<void> {
  for (let start = 0; start < touched.length; start += MAX_SIMS_AT_ONCE) {
    const some = touched.slice(start, start + MAX_SIMS_AT_ONCE);
    const values = [
      some.map(({ projectId }) => projectId),
      some.map(({ simCardId }) => simCardId),
      some.map(({ first }) => first ?? '-infinity'),
      some.map(({ last }) => last ?? '-infinity'),
    ];
    await tx.query({ name: 'move-touched-usage', text: MOVE_TOUCHED, values });
    for (const [name, text] of Object.entries(DROP_EMPTIED)) {
      await tx.query({ name, text, values });
    }
  }
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

const TOUCHED = `
      touched as (
        select
          t.project_id, t.sim_card_id,
          case when isfinite(t.first_time) then ${quarterHourOf('t.first_time')} else t.first_time end
            as from_time,
          coalesce(
            (
              select min(a.from_time)
              from sim_assignments a
              where a.project_id = t.project_id
                and a.sim_card_id = t.sim_card_id
                and a.from_time > t.last_time
            ),
            'infinity'
          ) as to_time
        from unnest(
          $1::text[],        /* projects */
          $2::text[],        /* SIM cards */
          $3::timestamptz[], /* first times */
          $4::timestamptz[]  /* last times */
        ) as t (project_id, sim_card_id, first_time, last_time)
      )`;

const MOVE_TOUCHED = `
      with ${TOUCHED},
      taken as (
        select s.*, exists (
          select
          from sim_assignments a
          where a.project_id = s.project_id
            and a.sim_card_id = s.sim_card_id
            and a.from_time > s.quarter_hour
            and a.from_time < s.quarter_hour + interval '15 minutes'
        ) as is_cut
        from touched t
        join sim_quarter_hours s
          on s.project_id = t.project_id
          and s.sim_card_id = t.sim_card_id
          and s.quarter_hour >= t.from_time
          and s.quarter_hour < t.to_time
      ),
      whole as (
        select
          taken.project_id, taken.sim_card_id, coalesce(holder.org_id, '') as org_id,
          taken.quarter_hour, taken.bytes, taken.records
        from taken
        left join lateral (${holderAt('taken', 'taken.quarter_hour')}) holder on true
        where not taken.is_cut
      ),
      cut as (
        select
          r.project_id, r.sim_card_id, coalesce(holder.org_id, '') as org_id,
          c.quarter_hour, r.bytes, 1 as records
        from (
          select distinct project_id, sim_card_id, quarter_hour
          from taken
          where is_cut
        ) c
        join records r
          on r.project_id = c.project_id
          and r.sim_card_id = c.sim_card_id
          and r.used_at >= c.quarter_hour
          and r.used_at < c.quarter_hour + interval '15 minutes'
        left join lateral (${holderAt('r', 'r.used_at')}) holder on true
      ),
      changes as (
        select
          project_id, sim_card_id, org_id, quarter_hour,
          sum(bytes) as bytes, sum(records) as records
        from (
          select project_id, sim_card_id, org_id, quarter_hour, - bytes as bytes, - records as records
          from taken
          union all
          select project_id, sim_card_id, org_id, quarter_hour, bytes, records
          from whole
          union all
          select project_id, sim_card_id, org_id, quarter_hour, bytes, records
          from cut
        ) moved
        group by project_id, sim_card_id, org_id, quarter_hour
        having sum(bytes) <> 0 or sum(records) <> 0
      ),
      ${INTO_SUMS}`;

/** Whose sums may be empty now: of whoever held one of the SIM cards at any time. */
const HOLDERS = `
      holders as (
        select distinct t.project_id, a.org_id
        from touched t
        join sim_assignments a
          on a.project_id = t.project_id
          and a.sim_card_id = t.sim_card_id
        union
        select project_id, ''
        from touched
      )`;

/**
 * What nothing is left of is no row: the same events in other batches give the same rows. By the keys that were
 * touched: an index of what is empty would have each update of a sum write all indexes of its table.
 */
const DROP_EMPTIED = {
  'drop-emptied-sim-quarter-hours': `
      with ${TOUCHED}
      delete from sim_quarter_hours s
      using touched t
      where s.project_id = t.project_id
        and s.sim_card_id = t.sim_card_id
        and s.quarter_hour >= t.from_time
        and s.quarter_hour < t.to_time
        and s.records = 0`,
  'drop-emptied-sim-totals': `
      with ${TOUCHED}
      delete from sim_totals s
      using touched t
      where s.project_id = t.project_id
        and s.sim_card_id = t.sim_card_id
        and s.records = 0`,
  'drop-emptied-org-quarter-hours': `
      with ${TOUCHED},
      ${HOLDERS}
      delete from org_quarter_hours o
      using holders h
      where o.project_id = h.project_id
        and o.org_id = h.org_id
        and o.quarter_hour >= (select min(from_time) from touched)
        and o.records = 0`,
  'drop-emptied-org-totals': `
      with ${TOUCHED},
      ${HOLDERS}
      delete from org_totals o
      using holders h
      where o.project_id = h.project_id
        and o.org_id = h.org_id
        and o.records = 0`,
} as const;

function quarterHourOf(time: string): string {
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
