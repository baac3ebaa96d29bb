import type { EventMetadata } from '../../events/event.ts';
import type { JsonObject } from '../../shared/json.ts';
import type { Position, RecordedEvent } from '../port.ts';
import type { StreamName } from '../stream-name.ts';

/** `data` and `metadata` as text: whoever reads many bounds its memory by their length. */
export interface RecordedRow {
  readonly position: bigint;
  readonly stream: string;
  readonly revision: bigint;
  readonly event_id: string;
  readonly type: string;
  readonly data: string;
  readonly metadata: string;
  readonly recorded_at: Date;
}

export const RECORDED_COLUMNS = `
  e.position, e.stream, e.revision, e.event_id, e.type,
  e.data::text as data, e.metadata::text as metadata, e.recorded_at`;

export function recordedEvent(row: RecordedRow): RecordedEvent {
  return {
    id: row.event_id,
    type: row.type,
    data: JSON.parse(row.data) as JsonObject,
    metadata: JSON.parse(row.metadata) as EventMetadata,
    stream: row.stream as StreamName,
    revision: row.revision,
    position: row.position as Position,
    recordedAt: row.recorded_at,
  };
}
