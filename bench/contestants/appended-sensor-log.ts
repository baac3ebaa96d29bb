import type * as idsModule from '../../src/shared/ids.ts';
import type { StreamName } from '../../src/event-store/stream-name.ts';
import { compiled } from '../build.ts';
import { openEventStoreDBLog } from './bench-log.ts';
import { sensorEvent, sensorStream } from './sensor-event.ts';
import type { SensorLogPart } from './sensor-log.ts';

/**
 * Fills a log in EventStoreDB with patches, through the port: all sensors in turn, a turn at once.
 */
export async function appendSensorLog(
  url: string,
  { sensors, eventsPerSensor }: Omit<SensorLogPart, 'prefix'>,
): Promise<void> {
  const { newEventId } = await compiled<typeof idsModule>('shared/ids.ts');
  const { store, close } = await openEventStoreDBLog(url);
  for (let turn = 0; turn < eventsPerSensor; turn++) {
    const writes = Array.from({ length: sensors }, (_, sensor) => ({
      stream: sensorStream(sensor) as StreamName,
      events: [{ id: newEventId(), ...sensorEvent(sensor, sensor + turn * sensors) }],
      expectedRevision: turn === 0 ? ('no-stream' as const) : BigInt(turn - 1),
    }));
    const appended = await store.append(writes);
    if (appended.some(({ outcome }) => outcome !== 'appended')) {
      throw new Error('an append was refused');
    }
  }
  await close();
}
