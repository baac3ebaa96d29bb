import { measureBacklog } from './backlog-result.ts';
import { openBenchLedger } from './open-ledger.ts';

/** The limit: the events that a projection is given, read through the port, and dropped. */
const [url = '', name = ''] = process.argv.slice(2);
const ledger = await openBenchLedger(url);
const { store, administration } = ledger;
const after = 0n as Awaited<ReturnType<typeof store.head>>;
const types = administration.handledBy(name);

const result = await measureBacklog(async () => {
  let count = 0;
  for await (const { events } of store.readAll({ after, types })) count += events.length;
  return count;
});

const head = await store.head();
if (BigInt(result.events) !== head) throw new Error(`${result.events} of ${head} were read`);
await ledger.close();
process.stdout.write(JSON.stringify(result), () => process.exit(0));
