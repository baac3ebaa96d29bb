import type { Request } from 'express';

/** The content type of Server-Sent Events (WHATWG HTML, section 9.2). */
export const EVENT_STREAM = 'text/event-stream';

/** Whether `Accept` wants Server-Sent Events rather than JSON. */
export function isEventStreamAccepted(request: Request): boolean {
  return request.accepts(['application/json', EVENT_STREAM]) === EVENT_STREAM;
}
