import {
  EventStoreDBClient,
  START,
  streamNameFilter,
  type AllStreamResolvedEvent,
} from '@eventstore/db-client';
import { measureBacklog } from './backlog-result.ts';
import type { BareReading } from './bare-reading.ts';

/** The limit: the events of one log, read by the bare client, and dropped. */
const { connectionString, form, prefix, events } = JSON.parse(process.argv[2] ?? '') as BareReading;
const client = EventStoreDBClient.connectionString(connectionString);

const result = await measureBacklog(async () => {
  const source = open();
  let count = 0;
  await new Promise<void>((resolve, reject) => {
    source.on('data', ({ event }: AllStreamResolvedEvent) => {
      if (event?.streamId.startsWith(prefix) !== true) return;
      count += 1;
      if (count === events) resolve();
    });
    source.on('error', reject);
    source.on('end', () => reject(new Error(`${count} of ${events} were read`)));
  });
  return count;
});
process.stdout.write(JSON.stringify(result), () => process.exit(0));

function open() {
  if (form === 'readAll') return client.readAll({ fromPosition: START });
  return client.subscribeToAll({
    fromPosition: START,
    filter: streamNameFilter({ prefixes: [prefix] }),
  });
}
