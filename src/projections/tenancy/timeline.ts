import { readPosition, sql } from '../../database/sql.ts';
import type { TimelinePart } from '../timeline.ts';
import { tenancy } from './tables.ts';

/** What happened to the device itself. */
export const tenancyTimeline: TimelinePart = ({ projectId, deviceId, below, limit }) => sql`
  select position, event_id, type, occurred_at, recorded_at, actor, data
  from ${tenancy.device_events}
  where project_id = ${projectId}
    and subject = ${deviceId}
    and position < ${below}
    and position <= ${readPosition}
    /* These are in the stream of a device, but are about a device elsewhere. */
    and type not in ('LinkClaimVoided', 'DeviceTransferRefused')
  order by position desc
  limit ${limit}`;
