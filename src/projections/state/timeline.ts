import { readPosition, sql } from '../../database/sql.ts';
import type { TimelinePart } from '../timeline.ts';
import { state } from './tables.ts';

/** What its sensor reported while the device was linked to it. */
export const stateTimeline: TimelinePart = ({ projectId, below, limit }) => sql`
  select e.*
  from spans
  cross join lateral (
    select
      position, event_id, 'SensorPatched' as type, occurred_at,
      recorded_at, actor,
      json_build_object('sensorId', sensor_id, 'revision', revision, 'patch', patch) as data
    from ${state.history}
    where project_id = ${projectId}
      and sensor_id = spans.sensor_id
      and position >= spans.from_position
      and position < coalesce(spans.to_position, 9223372036854775807)
      and position < ${below}
      and position <= ${readPosition}
    order by position desc
    limit ${limit}
  ) e`;
