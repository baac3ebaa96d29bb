import { parseArgs } from 'node:util';
import { EventStoreStandIn } from './stand-in.ts';

/** A process of its own, for benches and for what has to be seen from outside. */
const { values } = parseArgs({
  options: { port: { type: 'string' }, 'shows-after-ms': { type: 'string' } },
});
const standIn = await EventStoreStandIn.start({
  port: Number(values.port ?? 0),
  showsAfterMs: Number(values['shows-after-ms'] ?? 0),
});
process.once('SIGTERM', () => void standIn.close());
console.log(standIn.connectionString);
