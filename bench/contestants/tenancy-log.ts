import type { Database } from '../../src/database/database.ts';
import { BENCH_PROJECT } from './sensor-event.ts';

/** Puts devices at the end of the log, each registered and with a key, without the port. */
export async function fillTenancyLog(database: Database, devices: number): Promise<void> {
  await database.query({
    text: `
      insert into ledger.events
        (position, stream, revision, event_id, type, data, metadata, recorded_at)
      select
        n + 1,
        'device-' || $1 || '.d' || n / 2,
        n % 2,
        uuidv7(),
        case n % 2 when 0 then 'DeviceRegistered' else 'KeyIssued' end,
        case n % 2
          when 0 then json_build_object(
            'deviceId', 'd' || n / 2,
            'devEui', null,
            'simCardId', null,
            'sensorId', 's' || n / 2,
            'createdAt', '2026-01-01T00:00:00.000Z'
          )
          else json_build_object(
            'keyId', 'k' || n / 2,
            'kind', 'dev',
            'holder', 'd' || n / 2,
            'secretHash', md5(n::text),
            'issuedAt', '2026-01-01T00:00:00.000Z'
          )
        end,
        json_build_object(
          'projectId', $1,
          'actor', 'bench',
          'correlationId', '0198c0de-0000-7000-8000-000000000000',
          'schemaVersion', 1
        ),
        timestamptz '2026-01-01 00:00Z' + n * interval '1 millisecond'
      from generate_series(0, 2 * $2::bigint - 1) n`,
    values: [BENCH_PROJECT, devices],
  });
  await database.query({ text: 'vacuum (freeze, analyze) ledger.events' });
}
