import { getPostgreSQLEventStore } from '@event-driven-io/emmett-postgresql';
import { BENCH_PROJECT, sensorEvent, sensorId } from './sensor-event.ts';

/**
 * The peer's log, filled through its own port. One append at a time: its consumer reads by
 * transaction and would pass over events of transactions that overlap.
 */
export async function fillEmmettLog(
  url: string,
  sensors: number,
  eventsPerSensor: number,
): Promise<void> {
  const store = getPostgreSQLEventStore(url);
  await store.schema.migrate();
  for (let sensor = 0; sensor < sensors; sensor++) {
    const events = Array.from({ length: eventsPerSensor }, (_, turn) =>
      sensorEvent(sensor, sensor + turn * sensors),
    );
    await store.appendToStream(`sensor-${BENCH_PROJECT}.${sensorId(sensor)}`, events);
  }
  await store.close();
}
