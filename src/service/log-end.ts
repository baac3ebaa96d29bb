import { ConfigError } from '../config.ts';
import type { Ledger } from './ledger.ts';
import { sleep } from '../shared/sleep.ts';

/** A node of a cluster that follows another may be this far behind. */
const LAGGING_MS = 5_000;
const LOOK_INTERVAL_MS = 250;

/**
 * Refuses to start over read models that hold more than the log. New events would get positions
 * that the read models have passed, and would never be seen.
 * @throws ConfigError
 */
export async function refuseShorterLog({ administration, store }: Ledger): Promise<void> {
  const lookUntilMs = performance.now() + LAGGING_MS;
  for (;;) {
    const end = await store.end();
    const beyond = (await administration.statuses()).find(({ position }) => position > end);
    if (beyond === undefined) return;
    if (performance.now() > lookUntilMs) {
      throw new ConfigError(
        `The log went back: it ends at position ${end}, and the read model '${beyond.name}' ` +
          `holds events up to ${beyond.position}. Restore the log, or a backup of the read ` +
          'models that is not newer than it; or name an empty database in DATABASE_URL, where ' +
          'they are rebuilt.',
      );
    }
    await sleep(LOOK_INTERVAL_MS);
  }
}
