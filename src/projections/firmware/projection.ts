import type { Queryable } from '../../database/database.ts';
import { insertRows, rowsAs } from '../../database/rows.ts';
import { sql } from '../../database/sql.ts';
import { firmwareContract, type FirmwareEvent } from '../../events/firmware.ts';
import type { RecordedEvent } from '../../event-store/port.ts';
import type { Projection } from '../engine/projection.ts';
import { firmware, firmwareDdl } from './tables.ts';
import { orderingTime } from './report-clock.ts';

/**
 * Every firmware report, and the current one of each component of a device: the report with the
 * newest `ordered_at` (see `orderingTime`), so that a late report changes the history only.
 * `previous_version` is the last version before it that differs.
 */
export const firmwareProjection: Projection = {
  name: 'firmware',
  version: 2,
  handles: ['FirmwareReported'],
  ...firmwareDdl,
  apply,
};

async function apply(events: readonly RecordedEvent[], tx: Queryable): Promise<void> {
  const reports = events.map((recorded): Report => {
    const { data } = firmwareContract.read(recorded);
    const orderedAt = orderingTime(new Date(data.reportedAt), recorded.recordedAt).toISOString();
    return { recorded, projectId: recorded.metadata.projectId, data, orderedAt };
  });
  await tx.query(
    insertRows(
      firmware.reports,
      {
        project_id: ['text', ({ projectId }) => projectId],
        device_id: ['text', ({ data }) => data.deviceId],
        component: ['text', ({ data }) => data.component],
        ordered_at: ['timestamptz', ({ orderedAt }) => orderedAt],
        position: ['bigint', ({ recorded }) => recorded.position],
        version: ['text', ({ data }) => data.version],
        hardware: ['text', ({ data }) => data.hardware],
        reported_at: ['timestamptz', ({ data }) => data.reportedAt],
        received_at: ['timestamptz', ({ recorded }) => recorded.recordedAt],
        event_id: ['uuid', ({ recorded }) => recorded.id],
        actor: ['text', ({ recorded }) => recorded.metadata.actor],
      },
      reports,
    ),
  );
  await moveCurrent(touchedBy(reports), tx);
}

interface Report {
  readonly recorded: RecordedEvent;
  readonly projectId: string;
  readonly data: FirmwareEvent['data'];
  readonly orderedAt: string;
}

interface Touched {
  readonly projectId: string;
  readonly deviceId: string;
  readonly component: string;
  /** The oldest time of its reports in this batch. */
  oldestAt: string;
  /** The version that all of them have; null when they differ. */
  onlyVersion: string | null;
}

function touchedBy(reports: readonly Report[]): Touched[] {
  const touched = new Map<string, Touched>();
  for (const { projectId, data, orderedAt } of reports) {
    const { deviceId, component, version } = data;
    const name = JSON.stringify([projectId, deviceId, component]);
    const before = touched.get(name);
    if (before === undefined) {
      const first = { oldestAt: orderedAt, onlyVersion: version };
      touched.set(name, { projectId, deviceId, component, ...first });
      continue;
    }
    if (orderedAt < before.oldestAt) before.oldestAt = orderedAt;
    if (version !== before.onlyVersion) before.onlyVersion = null;
  }
  return [...touched.values()];
}

/**
 * Takes the current report of each component from all that is in the table by now, whatever order
 * the reports came in. The previous version is looked for only where it may have changed: otherwise
 * each report of a device that has had one version for years would be read back to the first.
 */
async function moveCurrent(components: readonly Touched[], tx: Queryable): Promise<void> {
  const touched = rowsAs(
    'touched',
    {
      project_id: ['text', ({ projectId }) => projectId],
      device_id: ['text', ({ deviceId }) => deviceId],
      component: ['text', ({ component }) => component],
      oldest_at: ['timestamptz', ({ oldestAt }) => oldestAt],
      only_version: ['text', ({ onlyVersion }) => onlyVersion],
    },
    components,
  );
  await tx.query(sql`
    insert into ${firmware.current} (
      project_id, device_id, component, version, previous_version, ordered_at, reported_at,
      received_at
    )
    select
      touched.project_id, touched.device_id, touched.component,
      newest.version,
      case when same.is_same then same.previous_version else previous.version end,
      newest.ordered_at, newest.reported_at, newest.received_at
    from ${touched}
    cross join lateral (
      select r.version, r.ordered_at, r.reported_at, r.received_at, r.position
      from ${firmware.reports} r
      where r.project_id = touched.project_id
        and r.device_id = touched.device_id
        and r.component = touched.component
      order by r.ordered_at desc, r.position desc
      limit 1
    ) newest
    left join lateral (
      select c.previous_version, true as is_same
      from ${firmware.current} c
      where c.project_id = touched.project_id
        and c.device_id = touched.device_id
        and c.component = touched.component
        and c.version = touched.only_version
        and c.ordered_at <= touched.oldest_at
    ) same on true
    left join lateral (
      select r.version
      from ${firmware.reports} r
      where same.is_same is null
        and r.project_id = touched.project_id
        and r.device_id = touched.device_id
        and r.component = touched.component
        and (r.ordered_at, r.position) < (newest.ordered_at, newest.position)
        and r.version <> newest.version
      order by r.ordered_at desc, r.position desc
      limit 1
    ) previous on true
    on conflict (project_id, device_id, component) do update
    set version = excluded.version,
        previous_version = excluded.previous_version,
        ordered_at = excluded.ordered_at,
        reported_at = excluded.reported_at,
        received_at = excluded.received_at`);
}
