import type * as databaseModule from '../../src/database/database.ts';
import type * as migrationsModule from '../../src/database/migrations.ts';
import type * as streamNameModule from '../../src/event-store/stream-name.ts';
import type * as storeModule from '../../src/event-store/postgres/postgres-event-store.ts';
import type * as idsModule from '../../src/shared/ids.ts';
import { createLogger } from '../../src/shared/logger.ts';
import { compiled } from '../build.ts';
import { APPEND_STREAMS, runCallers, type Appender, type AppendLoad } from './append-load.ts';
import { BENCH_PROJECT, sensorEvent, sensorId } from './sensor-event.ts';

/** Ours: `EventStore.append`, one write a call, each with the exact revision of its stream. */
export async function openLedgerAppender(url: string, load: AppendLoad): Promise<Appender> {
  const { openDatabase } = await compiled<typeof databaseModule>('database/database.ts');
  const { migrate } = await compiled<typeof migrationsModule>('database/migrations.ts');
  const { streamName } = await compiled<typeof streamNameModule>('event-store/stream-name.ts');
  const { newEventId } = await compiled<typeof idsModule>('shared/ids.ts');
  const { openPostgresEventStore } = await compiled<typeof storeModule>(
    'event-store/postgres/postgres-event-store.ts',
  );
  const logger = createLogger('warn');
  const database = openDatabase({ url, logger });
  await migrate(database, logger);
  const store = await openPostgresEventStore({ database, logger });
  const streams = Array.from({ length: APPEND_STREAMS }, (_, index) => ({
    name: streamName('sensor', BENCH_PROJECT, sensorId(index)),
    revision: 'no-stream' as bigint | 'no-stream',
    patches: 0,
  }));
  let acknowledged = 0;

  async function append(streamIndex: number): Promise<void> {
    const stream = streams[streamIndex];
    if (stream === undefined) throw new Error(`there is no stream ${streamIndex}`);
    const events = [];
    for (let count = 0; count < load.eventsPerAppend; count++) {
      events.push({ id: newEventId(), ...sensorEvent(streamIndex, stream.patches++) });
    }
    const [appended] = await store.append([
      { stream: stream.name, events, expectedRevision: stream.revision },
    ]);
    if (appended?.outcome !== 'appended') {
      throw new Error(`an append was refused: ${String(appended?.outcome)}`);
    }
    stream.revision = appended.revision;
  }

  return {
    async run(durationMs) {
      const { eventsPerSecond, events } = await runCallers(load, durationMs, append);
      acknowledged += events;
      return eventsPerSecond;
    },
    async verify() {
      const [row] = await database.query<{ stored: bigint }>({
        text: 'select count(*) as stored from ledger.events',
      });
      if (row?.stored !== BigInt(acknowledged)) {
        throw new Error(`${acknowledged} events were acknowledged, ${row?.stored} are stored`);
      }
    },
    async close() {
      await store.close();
      await database.close();
    },
  };
}
