import { readPosition, sql } from '../../database/sql.ts';
import type { TimelinePart } from '../timeline.ts';
import { usage } from './tables.ts';

/**
 * The days of its SIM card while the device was linked to it, each an entry at its first record.
 */
export const usageTimeline: TimelinePart = ({ projectId, below, asOf, limit }) => sql`
  select e.*
  from spans
  cross join lateral (
    select
      first_position as position, first_event_id as event_id, 'UsageRecorded' as type,
      day as occurred_at, first_recorded_at as recorded_at,
      first_actor as actor,
      json_build_object(
        'simCardId', sim_card_id, 'day', to_char(day at time zone 'UTC', 'YYYY-MM-DD'),
        'bytesUsed',
        /* beyond what JSON holds exactly: as text */
        case
          when used.bytes > 9007199254740991 then to_jsonb(used.bytes::text)
          else to_jsonb(used.bytes)
        end,
        'records', used.records
      ) as data
    from ${usage.sim_days} d
    cross join lateral (
      select coalesce(sum(r.bytes), 0) as bytes, count(*) as records
      from ${usage.records} r
      where r.project_id = d.project_id
        and r.sim_card_id = d.sim_card_id
        and r.used_at >= d.day
        and r.used_at < d.day + interval '1 day'
        and r.position <= coalesce(${asOf}::bigint, ${readPosition})
    ) used
    where project_id = ${projectId}
      and sim_card_id = spans.sim_card_id
      and first_position >= spans.from_position
      and first_position < coalesce(spans.to_position, 9223372036854775807)
      and first_position < ${below}
      and first_position <= ${readPosition}
    order by first_position desc
    limit ${limit}
  ) e`;
