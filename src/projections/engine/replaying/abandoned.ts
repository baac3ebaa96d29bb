import type { Database } from '../../../database/database.ts';
import type { Projection } from '../projection.ts';
import { abandonedReplays, endReplay } from './replays.ts';

/** Ends the replays of releases that no process runs any more. */
export async function endAbandonedReplays(
  database: Database,
  projection: Projection,
): Promise<void> {
  for (const replay of await abandonedReplays(database, projection)) {
    const error = `no process has run version ${replay.version} of the projection for ten minutes`;
    await endReplay(database, replay, 'fail', { error });
  }
}
