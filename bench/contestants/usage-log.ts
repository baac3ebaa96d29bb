import type { Database } from '../../src/database/database.ts';
import { BENCH_PROJECT } from './sensor-event.ts';

export interface UsageLogPart {
  /** Holds the SIM cards `<organization>-0`, `<organization>-1`, … */
  readonly organization: string;
  readonly sims: number;
  /** A record an hour of each SIM card, from the beginning of 2025 on. */
  readonly hours: number;
}

const METADATA = `
        json_build_object(
          'projectId', $1::text,
          'actor', 'bench',
          'correlationId', '0198c0de-0000-7000-8000-000000000000',
          'schemaVersion', 1
        )`;

/** Puts SIM cards and what they used at the end of the log, without the port. */
export async function fillUsageLog(
  database: Database,
  { organization, sims, hours }: UsageLogPart,
): Promise<void> {
  await database.query({
    text: `
      insert into ledger.events
        (position, stream, revision, event_id, type, data, metadata, recorded_at)
      select
        head.position + n + 1,
        'sim-' || $1 || '.' || $2 || '-' || n,
        0,
        uuidv7(),
        'SimAssigned',
        json_build_object('simCardId', $2 || '-' || n, 'orgId', $2, 'from', null),
        ${METADATA},
        timestamptz '2026-01-01 00:00Z' + (head.position + n) * interval '1 millisecond'
      from (select coalesce(max(position), 0) as position from ledger.events) head,
        generate_series(0, $3::bigint - 1) n`,
    values: [BENCH_PROJECT, organization, sims],
  });
  await database.query({
    text: `
      insert into ledger.events
        (position, stream, revision, event_id, type, data, metadata, recorded_at)
      select
        head.position + n + 1,
        'usage-' || $1 || '.id/' || $2 || '-' || n,
        0,
        uuidv7(),
        'UsageRecorded',
        json_build_object(
          'simCardId', $2 || '-' || n % $3,
          'bytesUsed', n % 5000,
          'usedAt', to_char(
            timestamp '2025-01-01 00:00' + n / $3 * interval '1 hour',
            'YYYY-MM-DD"T"HH24:MI:SS".000Z"'
          )
        ),
        ${METADATA},
        timestamptz '2026-01-01 00:00Z' + (head.position + n) * interval '1 millisecond'
      from (select coalesce(max(position), 0) as position from ledger.events) head,
        generate_series(0, $3::bigint * $4::bigint - 1) n`,
    values: [BENCH_PROJECT, organization, sims, hours],
  });
  await database.query({ text: 'vacuum (freeze, analyze) ledger.events' });
}
