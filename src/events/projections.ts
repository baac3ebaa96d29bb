import { z } from 'zod';
import { defineContract, defineEvent, type EventsOf } from './event.ts';

/**
 * What admins have done with a projection. Stream `projection-_installation.<name>`. Of these only
 * a skip is part of what a read model says: every replay leaves out the same events. The others
 * tell who did what; what they brought about is the engine's own affair, and not in the log.
 */
const rebuildRequested = defineEvent(
  'ProjectionRebuildRequested',
  z.object({ projection: z.string(), rebuildId: z.string() }),
);
const rebuildCancelled = defineEvent(
  'ProjectionRebuildCancelled',
  z.object({ projection: z.string(), rebuildId: z.string() }),
);
const verificationRequested = defineEvent(
  'ProjectionVerificationRequested',
  z.object({ projection: z.string(), verificationId: z.string() }),
);
const projectionPaused = defineEvent('ProjectionPaused', z.object({ projection: z.string() }));
const projectionResumed = defineEvent('ProjectionResumed', z.object({ projection: z.string() }));
const projectionRetried = defineEvent(
  'ProjectionRetried',
  z.object({ projection: z.string(), eventId: z.string() }),
);

/**
 * `position` and `error`: where it stands, and why it could not be applied, as the admin saw it.
 */
const projectionEventSkipped = defineEvent(
  'ProjectionEventSkipped',
  z.object({
    projection: z.string(),
    eventId: z.string(),
    position: z.string(),
    error: z.string(),
  }),
);

export const projectionsContract = defineContract({
  categories: ['projection'],
  events: [
    rebuildRequested,
    rebuildCancelled,
    verificationRequested,
    projectionPaused,
    projectionResumed,
    projectionRetried,
    projectionEventSkipped,
  ],
});
export type ProjectionEvent = EventsOf<typeof projectionsContract>;
