import { openDatabase } from '../../src/database/database.ts';
import { ProjectionEngine } from '../../src/projections/engine/engine.ts';
import { createLogger } from '../../src/shared/logger.ts';
import { openTestLog } from '../event-store/test-log.ts';
import { notesProjection } from './notes-projection.ts';

/**
 * A process to be killed or stopped: runs a projection of notes. Told to stall, it says so in the
 * midst of its first transaction, and never ends that.
 */
const [url = '', name = '', type = '', stalls] = process.argv.slice(2);
const logger = createLogger('silent');
const database = openDatabase({ url, logger });
const store = await openTestLog({ databaseUrl: url, database, logger });
const projection = notesProjection({
  name,
  type,
  writer: 'child',
  isUnique: true,
  async after() {
    if (stalls !== 'stalls') return;
    console.log('stalled');
    await new Promise(() => undefined);
  },
});
const engine = new ProjectionEngine({
  database,
  store,
  logger,
  projections: [projection],
  processId: `child-${process.pid}`,
});
await engine.prepare();
engine.start();
console.log('started');
