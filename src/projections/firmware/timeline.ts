import { readPosition, sql } from '../../database/sql.ts';
import type { TimelinePart } from '../timeline.ts';
import { firmware } from './tables.ts';

/** What the device reported of its firmware. */
export const firmwareTimeline: TimelinePart = ({ projectId, deviceId, below, limit }) => sql`
  select
    position, event_id, 'FirmwareReported' as type, reported_at as occurred_at, received_at as recorded_at, actor,
    json_build_object(
      'deviceId', device_id, 'component', component, 'version', version,
      'hardware', hardware
    ) as data
  from ${firmware.reports}
  where project_id = ${projectId}
    and device_id = ${deviceId}
    and position < ${below}
    and position <= ${readPosition}
  order by position desc
  limit ${limit}`;
