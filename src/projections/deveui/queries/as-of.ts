import { sql, type Sql } from '../../../database/sql.ts';
import type { Position } from '../../../event-store/port.ts';
import { deveui } from '../tables.ts';

/**
 * The batches, or what they were as of a position. Only those with later events are counted again.
 */
export function batchesAt(asOf: Position | undefined): Sql {
  if (asOf === undefined) return sql`${deveui.batches}`;
  return sql`(
    select
      b.project_id, b.batch_id, b.position, b.requested_at, b.size,
      ended.status, ended.reason, hiding.is_hidden,
      coalesce(counted.attempted, b.attempted) as attempted,
      coalesce(counted.registered, b.registered) as registered,
      coalesce(counted.conflicted, b.conflicted) as conflicted,
      coalesce(counted.unconfirmed, b.unconfirmed) as unconfirmed
    from ${deveui.batches} b
    cross join lateral (
      select c.status, c.reason
      from ${deveui.batch_changes} c
      where c.project_id = b.project_id
        and c.batch_id = b.batch_id
        and c.position <= ${asOf}
        and c.status is not null
      order by c.position desc
      limit 1
    ) ended
    cross join lateral (
      select c.is_hidden
      from ${deveui.batch_changes} c
      where c.project_id = b.project_id
        and c.batch_id = b.batch_id
        and c.position <= ${asOf}
        and c.is_hidden is not null
      order by c.position desc
      limit 1
    ) hiding
    left join lateral (
      select
        count(*)::integer as attempted,
        (count(*) filter (where d.status = 'registered'))::integer as registered,
        (count(*) filter (where d.status = 'conflicted'))::integer as conflicted,
        (count(*) filter (where d.status = 'unconfirmed'))::integer as unconfirmed
      from ${devEuisAt(asOf)} d
      where d.project_id = b.project_id
        and d.batch_id = b.batch_id
    ) counted on b.last_position > ${asOf}
    where b.position <= ${asOf}
  )`;
}

/** The DevEUIs, or what they were as of a position: each is drawn once and answered once. */
export function devEuisAt(asOf: Position | undefined): Sql {
  if (asOf === undefined) return sql`${deveui.deveuis}`;
  return sql`(
    select
      project_id, batch_id, dev_eui, short_code, candidate,
      case when answered_position <= ${asOf} then status else 'in_flight' end as status
    from ${deveui.deveuis}
    where drawn_position <= ${asOf}
  )`;
}
