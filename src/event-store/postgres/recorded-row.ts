import { sql } from '../../database/sql.ts';
import type { EventMetadata } from '../../events/event.ts';
import type { JsonObject } from '../../shared/json.ts';
import type { RecordedEvent } from '../port.ts';

/** `data` and `metadata` are text: a reader of many events bounds its memory by their length. */
export interface RecordedRow extends Omit<RecordedEvent, 'data' | 'metadata'> {
  readonly data: string;
  readonly metadata: string;
}

/** The columns of an event `e`. */
export const RECORDED_COLUMNS = sql`
  e.position,
  e.stream,
  e.revision,
  e.event_id as id,
  e.type,
  e.data::text as data,
  e.metadata::text as metadata,
  e.recorded_at as "recordedAt"`;

export function recordedEvent(row: RecordedRow): RecordedEvent {
  return {
    ...row,
    data: JSON.parse(row.data) as JsonObject,
    metadata: JSON.parse(row.metadata) as EventMetadata,
  };
}
