import type { Queryable } from '../../database/database.ts';
import type { RecordedEvent } from '../../event-store/port.ts';

export interface UsageRow {
  readonly projectId: string;
  readonly recorded: RecordedEvent;
  readonly simCardId: string;
  readonly bytesUsed: number;
  readonly usedAt: string;
}

/** A SIM card whose holder is another from a time on; null: from the beginning. */
export interface TouchedSim {
  readonly projectId: string;
  readonly simCardId: string;
  readonly from: string | null;
}

/** Takes out of the sums what SIM cards used since they were touched. To be called before they are. */
export async function takeTouched(touched: readonly TouchedSim[], tx: Queryable): Promise<void> {
  if (touched.length === 0) return;
  await tx.query({
    name: 'take-touched-usage',
    text: `
      with touched as (
        select *
        from unnest(
          $1::text[],       /* projects */
          $2::text[],       /* SIM cards */
          $3::timestamptz[] /* from */
        ) as t (project_id, sim_card_id, from_time)
      ),
      used as (${USED_SINCE_TOUCHED}),
      ${addToSums('-')}`,
    values: touchedValues(touched),
  });
}

/** Adds records to the sums, and what SIM cards used since they were touched. To be called when they are. */
export async function addUsage(
  used: readonly UsageRow[],
  touched: readonly TouchedSim[],
  tx: Queryable,
): Promise<void> {
  if (used.length === 0 && touched.length === 0) return;
  await tx.query({
    name: 'add-usage',
    // It reads `records` as it was before: what was sent is counted once.
    text: `
      with touched as (
        select *
        from unnest(
          $1::text[],       /* projects */
          $2::text[],       /* SIM cards */
          $3::timestamptz[] /* from */
        ) as t (project_id, sim_card_id, from_time)
      ),
      sent as (
        select *
        from unnest(
          $4::text[],        /* projects */
          $5::text[],        /* SIM cards */
          $6::timestamptz[], /* used at */
          $7::bigint[],      /* positions */
          $8::bigint[]       /* bytes */
        ) as s (project_id, sim_card_id, used_at, position, bytes)
      ),
      kept as (
        insert into records (project_id, sim_card_id, used_at, position, bytes)
        select project_id, sim_card_id, used_at, position, bytes
        from sent
      ),
      used as (
        select project_id, sim_card_id, used_at, bytes
        from sent
        union all
        ${USED_SINCE_TOUCHED}
      ),
      ${addToSums('+')}`,
    values: [
      ...touchedValues(touched),
      used.map(({ projectId }) => projectId),
      used.map(({ simCardId }) => simCardId),
      used.map(({ usedAt }) => usedAt),
      used.map(({ recorded }) => recorded.position),
      used.map(({ bytesUsed }) => bytesUsed),
    ],
  });
  if (used.length > 0) await addDays(used, tx);
  if (touched.length > 0) await dropEmptied(touched, tx);
}

const USED_SINCE_TOUCHED = `
        select r.project_id, r.sim_card_id, r.used_at, r.bytes
        from touched t
        join records r
          on r.project_id = t.project_id
          and r.sim_card_id = t.sim_card_id
          and r.used_at >= t.from_time`;

/** Adds what is in `used` to all sums of it, or takes it away, under the assignments as they are. */
function addToSums(sign: '+' | '-'): string {
  return `
      held as (
        select
          used.project_id, used.sim_card_id, coalesce(holder.org_id, '') as org_id,
          date_bin('15 minutes', used.used_at, timestamptz '2000-01-01 00:00:00Z') as quarter,
          used.bytes
        from used
        left join lateral (
          select a.org_id
          from sim_assignments a
          where a.project_id = used.project_id
            and a.sim_card_id = used.sim_card_id
            and a.from_time <= used.used_at
          order by a.from_time desc, a.position desc
          limit 1
        ) holder on true
      ),
      quarters as (
        select
          project_id, sim_card_id, org_id, quarter,
          ${sign} sum(bytes) as bytes,
          ${sign} count(*) as records
        from held
        group by project_id, sim_card_id, org_id, quarter
      ),
      into_sim_quarters as (
        insert into sim_quarters as s (project_id, sim_card_id, org_id, quarter, bytes, records)
        select project_id, sim_card_id, org_id, quarter, bytes, records
        from quarters
        on conflict (project_id, sim_card_id, quarter, org_id) do update
        set bytes = s.bytes + excluded.bytes,
            records = s.records + excluded.records
      ),
      into_sim_totals as (
        insert into sim_totals as s (project_id, sim_card_id, org_id, bytes, records)
        select project_id, sim_card_id, org_id, sum(bytes), sum(records)
        from quarters
        group by project_id, sim_card_id, org_id
        on conflict (project_id, sim_card_id, org_id) do update
        set bytes = s.bytes + excluded.bytes,
            records = s.records + excluded.records
      ),
      into_org_quarters as (
        insert into org_quarters as o (project_id, org_id, quarter, bytes, records)
        select project_id, org_id, quarter, sum(bytes), sum(records)
        from quarters
        group by project_id, org_id, quarter
        on conflict (project_id, org_id, quarter) do update
        set bytes = o.bytes + excluded.bytes,
            records = o.records + excluded.records
      )
      insert into org_totals as o (project_id, org_id, bytes, records)
      select project_id, org_id, sum(bytes), sum(records)
      from quarters
      group by project_id, org_id
      on conflict (project_id, org_id) do update
      set bytes = o.bytes + excluded.bytes,
          records = o.records + excluded.records`;
}

async function addDays(used: readonly UsageRow[], tx: Queryable): Promise<void> {
  const days = new Map<string, { first: UsageRow; day: string; bytes: bigint; records: number }>();
  for (const row of used) {
    const day = `${row.usedAt.slice(0, 10)}T00:00:00Z`;
    const name = JSON.stringify([row.projectId, row.simCardId, day]);
    const known = days.get(name) ?? { first: row, day, bytes: 0n, records: 0 };
    days.set(name, {
      ...known,
      bytes: known.bytes + BigInt(row.bytesUsed),
      records: known.records + 1,
    });
  }
  const rows = [...days.values()];
  await tx.query({
    name: 'add-usage-days',
    text: `
      insert into sim_days as s (
        project_id, sim_card_id, day, first_position, first_event_id, first_recorded_at,
        first_actor, bytes, records
      )
      select *
      from unnest(
        $1::text[],        /* projects */
        $2::text[],        /* SIM cards */
        $3::timestamptz[], /* days */
        $4::bigint[],      /* first positions */
        $5::uuid[],        /* first events */
        $6::timestamptz[], /* first recorded at */
        $7::text[],        /* first actors */
        $8::numeric[],     /* bytes */
        $9::bigint[]       /* records */
      )
      on conflict (project_id, sim_card_id, day) do update
      set bytes = s.bytes + excluded.bytes,
          records = s.records + excluded.records`,
    values: [
      rows.map(({ first }) => first.projectId),
      rows.map(({ first }) => first.simCardId),
      rows.map(({ day }) => day),
      rows.map(({ first }) => first.recorded.position),
      rows.map(({ first }) => first.recorded.id),
      rows.map(({ first }) => first.recorded.recordedAt),
      rows.map(({ first }) => first.recorded.metadata.actor),
      rows.map(({ bytes }) => bytes),
      rows.map(({ records }) => records),
    ],
  });
}

/** What nothing is left of is no row: the same events in other batches give the same rows. */
async function dropEmptied(touched: readonly TouchedSim[], tx: Queryable): Promise<void> {
  const projects = [...new Set(touched.map(({ projectId }) => projectId))];
  for (const table of ['sim_quarters', 'sim_totals', 'org_quarters', 'org_totals']) {
    await tx.query({
      name: `drop-emptied-${table}`,
      text: `
        delete from ${table}
        where project_id = any($1::text[]) /* projects */
          and records = 0`,
      values: [projects],
    });
  }
}

function touchedValues(touched: readonly TouchedSim[]): unknown[] {
  return [
    touched.map(({ projectId }) => projectId),
    touched.map(({ simCardId }) => simCardId),
    touched.map(({ from }) => from ?? '-infinity'),
  ];
}
