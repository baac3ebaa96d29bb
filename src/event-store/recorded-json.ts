import type { JsonObject } from '../shared/json.ts';
import type { RecordedEvent } from './port.ts';
import type { Positions } from './positions.ts';

/** An event as the raw log is shown, over HTTP and on the command line. */
export function recordedBody(event: RecordedEvent, positions: Positions): JsonObject {
  return {
    position: positions.format(event.position),
    stream: event.stream,
    revision: Number(event.revision),
    event_id: event.id,
    type: event.type,
    data: event.data,
    metadata: event.metadata as unknown as JsonObject,
    recorded_at: event.recordedAt.toISOString(),
  };
}
