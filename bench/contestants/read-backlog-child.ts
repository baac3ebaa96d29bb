import { measureBacklog, type Backlog } from './backlog-result.ts';
import { openBenchLedger } from './open-ledger.ts';

/** The limit: the events that a projection is given, read through the port, and dropped. */
const backlog = JSON.parse(process.argv[2] ?? '') as Backlog;
const ledger = await openBenchLedger(backlog.databaseUrl);
const { store, administration } = ledger;
const after = 0n as Awaited<ReturnType<typeof store.head>>;
const types = administration.handledBy(backlog.projection);

const result = await measureBacklog(async () => {
  let count = 0;
  for await (const { events } of store.readAll({ after, types })) count += events.length;
  return count;
});

if (result.events !== backlog.events) {
  throw new Error(`${result.events} of ${backlog.events} were read`);
}
await ledger.close();
process.stdout.write(JSON.stringify(result), () => process.exit(0));
