import { readPosition, sql } from '../../database/sql.ts';
import type { TimelinePart } from '../timeline.ts';
import { deveui } from './tables.ts';

/** Everything about the DevEUIs that it had: those were registered before they were linked. */
export const deveuiTimeline: TimelinePart = ({ projectId, below, limit }) => sql`
  select e.*
  from (select distinct dev_eui from spans where dev_eui is not null) bound
  cross join lateral (
    select position, event_id, type, occurred_at, recorded_at, actor, data
    from ${deveui.deveui_events}
    where project_id = ${projectId}
      and subject = bound.dev_eui
      and position < ${below}
      and position <= ${readPosition}
    order by position desc
    limit ${limit}
  ) e`;
