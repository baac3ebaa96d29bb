import { measureBacklog, type Backlog } from './backlog-result.ts';
import { openBenchLedger } from './open-ledger.ts';

/**
 * Ours: the engine as the service runs it, all its projections, from an empty read model until the
 * checkpoint of the state projection has reached the head.
 */
const backlog = JSON.parse(process.argv[2] ?? '') as Backlog;
const ledger = await openBenchLedger(backlog.databaseUrl, backlog.eventStoreUrl);
const { engine, store, database } = ledger;
const head = await store.head();
const { freshness } = engine;

const result = await measureBacklog(async () => {
  await new Promise<void>((resolve) => {
    const moved = freshness.moved.bind(freshness);
    // The runner reports it: asking for a position would wake the runner.
    freshness.moved = (projection, position) => {
      moved(projection, position);
      if (projection === 'state' && position >= head) resolve();
    };
    engine.start();
  });
  return backlog.events;
});

const [row] = await database.query<{ history: bigint }>({
  text: 'select count(*) as history from read_state_g1.history',
});
if (row?.history !== BigInt(backlog.events)) {
  throw new Error(`${row?.history} of ${backlog.events} events were projected`);
}
await engine.stop();
await ledger.close();
process.stdout.write(JSON.stringify(result), () => process.exit(0));
