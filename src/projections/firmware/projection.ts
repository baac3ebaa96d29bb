import type { Queryable } from '../../database/database.ts';
import type { FirmwareEvent } from '../../events/firmware.ts';
import { domainEvent } from '../../events/registry.ts';
import type { RecordedEvent } from '../../event-store/port.ts';
import type { Projection } from '../engine/projection.ts';
import { orderingTime } from './report-clock.ts';

/**
 * Every firmware report, and what each component of a device has now: the version with the newest
 * `ordered_at` (see `orderingTime`), so a late report is history and nothing more. `previous_version` is the
 * one before that, which is another.
 */
export const firmwareProjection: Projection = {
  name: 'firmware',
  version: 2,
  handles: ['FirmwareReported'],
  tables: `
    create table reports (
      project_id  text        not null collate "C",
      device_id   text        not null collate "C",
      component   text        not null collate "C",
      ordered_at  timestamptz not null,
      position    bigint      not null,
      version     text        not null collate "C",
      hardware    text,
      reported_at timestamptz not null,
      received_at timestamptz not null,
      event_id    uuid        not null,
      actor       text        not null,
      primary key (project_id, device_id, component, ordered_at, position)
    );

    create table current (
      project_id       text        not null collate "C",
      device_id        text        not null collate "C",
      component        text        not null collate "C",
      version          text        not null collate "C",
      previous_version text        collate "C",
      ordered_at       timestamptz not null,
      reported_at      timestamptz not null,
      received_at      timestamptz not null,
      primary key (project_id, device_id, component)
    )`,
  indexes: `
    create index reports_by_time on reports (project_id, device_id, ordered_at, position);
    create index reports_by_position on reports (project_id, device_id, position);
    create index reports_by_version on reports (project_id, component, version, ordered_at);
    create index current_by_version on current (project_id, component, version)`,
  apply,
};

async function apply(events: readonly RecordedEvent[], tx: Queryable): Promise<void> {
  const reports = events.map((recorded): Report => {
    const { data } = domainEvent(recorded) as FirmwareEvent;
    const orderedAt = orderingTime(new Date(data.reportedAt), recorded.recordedAt).toISOString();
    return { recorded, projectId: recorded.metadata.projectId, data, orderedAt };
  });
  await tx.query({
    name: 'save-firmware-reports',
    text: `
      insert into reports (
        project_id, device_id, component, ordered_at, position, version, hardware, reported_at,
        received_at, event_id, actor
      )
      select *
      from unnest(
        $1::text[],        /* projects */
        $2::text[],        /* devices */
        $3::text[],        /* components */
        $4::timestamptz[], /* ordered at */
        $5::bigint[],      /* positions */
        $6::text[],        /* versions */
        $7::text[],        /* hardware */
        $8::timestamptz[], /* reported at */
        $9::timestamptz[], /* received at */
        $10::uuid[],       /* events */
        $11::text[]        /* actors */
      )`,
    values: [
      reports.map(({ projectId }) => projectId),
      reports.map(({ data }) => data.deviceId),
      reports.map(({ data }) => data.component),
      reports.map(({ orderedAt }) => orderedAt),
      reports.map(({ recorded }) => recorded.position),
      reports.map(({ data }) => data.version),
      reports.map(({ data }) => data.hardware ?? null),
      reports.map(({ data }) => data.reportedAt),
      reports.map(({ recorded }) => recorded.recordedAt),
      reports.map(({ recorded }) => recorded.id),
      reports.map(({ recorded }) => recorded.metadata.actor),
    ],
  });
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
  /** Of what came now: the oldest time, and the version if all have one. */
  oldestAt: string;
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
 * Out of what is in the table by now, in whatever order it came. What was before the current version is looked
 * for only where it may have changed: a device that reports one version for years would be read back to its
 * first report by each further one.
 */
async function moveCurrent(components: readonly Touched[], tx: Queryable): Promise<void> {
  await tx.query({
    name: 'move-current-firmware',
    text: `
      insert into current (
        project_id, device_id, component, version, previous_version, ordered_at, reported_at,
        received_at
      )
      select
        touched.project_id, touched.device_id, touched.component,
        newest.version,
        case when same.is_same then same.previous_version else previous.version end,
        newest.ordered_at, newest.reported_at, newest.received_at
      from unnest(
        $1::text[],        /* projects */
        $2::text[],        /* devices */
        $3::text[],        /* components */
        $4::timestamptz[], /* oldest at */
        $5::text[]         /* only versions */
      ) as touched (project_id, device_id, component, oldest_at, only_version)
      cross join lateral (
        select r.version, r.ordered_at, r.reported_at, r.received_at, r.position
        from reports r
        where r.project_id = touched.project_id
          and r.device_id = touched.device_id
          and r.component = touched.component
        order by r.ordered_at desc, r.position desc
        limit 1
      ) newest
      left join lateral (
        select c.previous_version, true as is_same
        from current c
        where c.project_id = touched.project_id
          and c.device_id = touched.device_id
          and c.component = touched.component
          and c.version = touched.only_version
          and c.ordered_at <= touched.oldest_at
      ) same on true
      left join lateral (
        select r.version
        from reports r
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
          received_at = excluded.received_at`,
    values: [
      components.map(({ projectId }) => projectId),
      components.map(({ deviceId }) => deviceId),
      components.map(({ component }) => component),
      components.map(({ oldestAt }) => oldestAt),
      components.map(({ onlyVersion }) => onlyVersion),
    ],
  });
}
