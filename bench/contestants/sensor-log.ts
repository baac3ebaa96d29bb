import type { Database } from '../../src/database/database.ts';
import { BENCH_PROJECT } from './sensor-event.ts';

export interface SensorLogPart {
  /** The sensors are `<prefix>0`, `<prefix>1`, … */
  readonly prefix: string;
  readonly sensors: number;
  readonly eventsPerSensor: number;
}

/**
 * Puts patches of sensors at the end of the log, without the port: a million would take a minute
 * through it. Sensors take turns, as they would; positions and revisions are as the port makes
 * them.
 */
export async function fillSensorLog(
  database: Database,
  { prefix, sensors, eventsPerSensor }: SensorLogPart,
): Promise<void> {
  await database.query({
    text: `
      insert into ledger.events
        (position, stream, revision, event_id, type, data, metadata, recorded_at)
      select
        head.position + n + 1,
        'sensor-' || $1 || '.' || $2 || n % $3,
        n / $3,
        uuidv7(),
        'SensorPatched',
        json_build_object(
          'sensorId', $2 || n % $3,
          'patch', json_build_object('temperature', n),
          'receivedAt', '2026-01-01T00:00:00.000Z'
        ),
        json_build_object(
          'projectId', $1,
          'actor', 'bench',
          'correlationId', '0198c0de-0000-7000-8000-000000000000',
          'schemaVersion', 1
        ),
        timestamptz '2026-01-01 00:00Z' + (head.position + n) * interval '1 millisecond'
      from (select coalesce(max(position), 0) as position from ledger.events) head,
        generate_series(0, $3::bigint * $4::bigint - 1) n`,
    values: [BENCH_PROJECT, prefix, sensors, eventsPerSensor],
  });
  // What a log that grew over weeks has behind it.
  await database.query({ text: 'vacuum (freeze, analyze) ledger.events' });
}
