import type { Database } from '../../../database/database.ts';
import { dropUnused } from './generations.ts';
import type { Projection } from '../projection.ts';
import { abandonedReplays, endReplay } from '../replaying/replays.ts';

/**
 * Ends the replays of releases that no process runs any more, and drops the tables that nobody uses:
 * what a swap has replaced, what ended replays have left, and the tables of those releases.
 */
export async function dropAbandoned(database: Database, projection: Projection): Promise<void> {
  for (const replay of await abandonedReplays(database, projection)) {
    const error = `no process has run version ${replay.version} of the projection for ten minutes`;
    await endReplay(database, replay, { status: 'failed', error });
  }
  await dropUnused(database, projection);
}
