import type * as projectionModule from '../../src/projections/state/state-projection.ts';
import { compiled } from '../build.ts';
import { measureBacklog } from './backlog-result.ts';
import { openBenchLedger } from './open-ledger.ts';

/** The limit: the events that the state projection is given, read through the port, and dropped. */
const { stateProjection } = await compiled<typeof projectionModule>(
  'projections/state/state-projection.ts',
);
const ledger = await openBenchLedger(process.argv[2] ?? '');
const { store } = ledger;
const after = 0n as Awaited<ReturnType<typeof store.head>>;

const result = await measureBacklog(async () => {
  let count = 0;
  for await (const { events } of store.readAll({ after, types: stateProjection.handles })) {
    count += events.length;
  }
  return count;
});

const head = await store.head();
if (BigInt(result.events) !== head) throw new Error(`${result.events} of ${head} were read`);
await ledger.close();
process.stdout.write(JSON.stringify(result), () => process.exit(0));
