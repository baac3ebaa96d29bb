import { projectionsContract } from '../../../events/projections.ts';
import type { EventStore } from '../../../event-store/port.ts';
import { projectionStream } from '../../../event-store/stream-name.ts';

/**
 * The ids of the events that an admin has told a projection to skip. They are in the log, so every
 * generation skips the same events, in whatever store and release it is built.
 */
export async function readSkips(
  store: EventStore,
  projection: string,
): Promise<ReadonlySet<string>> {
  const skipped = new Set<string>();
  for await (const recorded of store.readStream(projectionStream(projection))) {
    const event = projectionsContract.read(recorded);
    if (event.type === 'ProjectionEventSkipped') skipped.add(event.data.eventId);
  }
  return skipped;
}
