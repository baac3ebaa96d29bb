import { getPostgreSQLEventStore } from '@event-driven-io/emmett-postgresql';
import pg from 'pg';
import { APPEND_STREAMS, runCallers, type Appender, type AppendLoad } from './append-load.ts';
import { BENCH_PROJECT, sensorEvent, sensorId } from './sensor-event.ts';

/**
 * The peer: `appendToStream`, each with the exact version of its stream. Its own pool of
 * connections (10): with 20 and 64 it was slower.
 */
export async function openEmmettAppender(url: string, load: AppendLoad): Promise<Appender> {
  const store = getPostgreSQLEventStore(url);
  await store.schema.migrate();
  const streams = Array.from({ length: APPEND_STREAMS }, (_, index) => ({
    // Its category ends at the first `-`, like ours.
    name: `sensor-${BENCH_PROJECT}.${sensorId(index)}`,
    version: undefined as bigint | undefined,
    patches: 0,
  }));
  let acknowledged = 0;

  async function append(streamIndex: number): Promise<void> {
    const stream = streams[streamIndex];
    if (stream === undefined) throw new Error(`there is no stream ${streamIndex}`);
    const events = [];
    for (let count = 0; count < load.eventsPerAppend; count++) {
      events.push(sensorEvent(streamIndex, stream.patches++));
    }
    const appended = await store.appendToStream(stream.name, events, {
      expectedStreamVersion: stream.version ?? 'STREAM_DOES_NOT_EXIST',
    });
    stream.version = appended.nextExpectedStreamVersion;
  }

  return {
    async run(durationMs) {
      const { eventsPerSecond, events } = await runCallers(load, durationMs, append);
      acknowledged += events;
      return eventsPerSecond;
    },
    async verify() {
      const client = new pg.Client(url);
      await client.connect();
      const { rows } = await client.query<{ stored: string }>(
        'select count(*) as stored from emt_messages',
      );
      await client.end();
      if (Number(rows[0]?.stored) !== acknowledged) {
        throw new Error(`${acknowledged} events were acknowledged, ${rows[0]?.stored} are stored`);
      }
    },
    close: () => store.close(),
  };
}
