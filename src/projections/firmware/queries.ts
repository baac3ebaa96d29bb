import type { Position } from '../../event-store/port.ts';
import {
  atLeast,
  type Versioned,
  type ReadModels,
  type ReadOptions,
} from '../engine/reading/read-models.ts';
import { clockOf, type ReportClock } from './report-clock.ts';

export interface FirmwareReportView {
  readonly eventId: string;
  readonly deviceId: string;
  readonly component: string;
  readonly version: string;
  readonly hardware: string | null;
  readonly reportedAt: Date;
  readonly receivedAt: Date;
  /** See `orderingTime`. */
  readonly orderedAt: Date;
  readonly clock: ReportClock;
  readonly position: Position;
}

export interface CurrentFirmware {
  readonly component: string;
  readonly version: string;
  /** The other one that it had before. */
  readonly previousVersion: string | null;
  readonly reportedAt: Date;
  readonly receivedAt: Date;
}

export interface VersionSpread {
  readonly component: string;
  readonly version: string;
  readonly devices: number;
  /** Of the devices that have the component, 0 to 1. */
  readonly share: number;
  readonly firstSeenAt: Date;
  readonly lastSeenAt: Date;
}

/** A place in the reports of a device. */
export interface ReportPlace {
  readonly orderedAt: Date;
  readonly before: Position;
}

export class FirmwareQueries {
  readonly #models: ReadModels;

  constructor(models: ReadModels) {
    this.#models = models;
  }

  /** The reports of a device, newest first, as of a position if one is given. */
  async reports(
    projectId: string,
    deviceId: string,
    page: { readonly after?: ReportPlace; readonly limit: number; readonly asOf?: Position },
    options: ReadOptions,
  ): Promise<Versioned<FirmwareReportView[]>> {
    const { value, position } = await this.#models.read<{
      event_id: string;
      component: string;
      version: string;
      hardware: string | null;
      ordered_at: Date;
      reported_at: Date;
      received_at: Date;
      report_position: bigint;
    }>(
      'firmware',
      {
        name: 'firmware-reports',
        text: `
          select
            event_id, component, version, hardware, ordered_at, reported_at, received_at,
            position as report_position
          from read_firmware.reports
          where project_id = $1 /* project */
            and device_id = $2 /* device */
            and position <= coalesce($3, 9223372036854775807) /* as of */
            and (ordered_at, position) < (coalesce($4::timestamptz, 'infinity'), coalesce($5::bigint, 0)) /* after */
          order by ordered_at desc, position desc
          limit $6 /* limit */`,
        values: [
          projectId,
          deviceId,
          page.asOf ?? null,
          page.after?.orderedAt ?? null,
          page.after?.before ?? null,
          page.limit,
        ],
        orderBy: 'ordered_at desc, report_position desc',
      },
      atLeast(options, page.asOf),
    );
    const views = value.map((row) => ({
      eventId: row.event_id,
      deviceId,
      component: row.component,
      version: row.version,
      hardware: row.hardware,
      reportedAt: row.reported_at,
      receivedAt: row.received_at,
      orderedAt: row.ordered_at,
      clock: clockOf(row.reported_at),
      position: row.report_position as Position,
    }));
    return { value: views, position };
  }

  /** What each component of a device has, or had as of a position. */
  async current(
    projectId: string,
    deviceId: string,
    asOf: Position | undefined,
    options: ReadOptions,
  ): Promise<Versioned<CurrentFirmware[]>> {
    const { value, position } = await this.#models.read<{
      component: string;
      version: string;
      previous_version: string | null;
      reported_at: Date;
      received_at: Date;
    }>(
      'firmware',
      {
        name: asOf === undefined ? 'current-firmware' : 'current-firmware-as-of',
        text: asOf === undefined ? CURRENT : CURRENT_AS_OF,
        values: asOf === undefined ? [projectId, deviceId] : [projectId, deviceId, asOf],
        orderBy: 'component',
      },
      atLeast(options, asOf),
    );
    const views = value.map((row) => ({
      component: row.component,
      version: row.version,
      previousVersion: row.previous_version,
      reportedAt: row.reported_at,
      receivedAt: row.received_at,
    }));
    return { value: views, position };
  }

  /** Whether a device is known, or was as of a position: retired or not. */
  async hasDevice(
    projectId: string,
    deviceId: string,
    asOf: Position | undefined,
    options: ReadOptions,
  ): Promise<boolean> {
    const { value } = await this.#models.read<{ is_known: boolean }>(
      'tenancy',
      {
        name: 'has-device',
        text: `
          select exists (
            select
            from read_tenancy.devices
            where project_id = $1 /* project */
              and device_id = $2 /* device */
              and from_position <= coalesce($3::bigint, 9223372036854775807) /* as of */
          ) as is_known`,
        values: [projectId, deviceId, asOf ?? null],
      },
      atLeast(options, asOf),
    );
    return value[0]?.is_known === true;
  }

  /** Which versions the devices of a project have, or had as of a position: those that are not retired. */
  async spread(
    projectId: string,
    asOf: Position | undefined,
    options: ReadOptions,
  ): Promise<Versioned<VersionSpread[]>> {
    const { value, position } = await this.#models.read<{
      component: string;
      version: string;
      devices: number;
      share: number;
      first_seen_at: Date;
      last_seen_at: Date;
    }>(
      'firmware',
      {
        name: asOf === undefined ? 'firmware-spread' : 'firmware-spread-as-of',
        joins: ['tenancy'],
        text: `
          with fleet as (${asOf === undefined ? FLEET_NOW : FLEET_AS_OF}),
          spread as (
            select
              component, version,
              count(*)::integer as devices,
              count(*)::double precision / sum(count(*)) over (partition by component) as share
            from fleet
            group by component, version
          )
          select spread.*, seen.first_seen_at, seen.last_seen_at
          from spread
          cross join lateral (
            select min(r.ordered_at) as first_seen_at, max(r.ordered_at) as last_seen_at
            from read_firmware.reports r
            where r.project_id = $1 /* project */
              and r.component = spread.component
              and r.version = spread.version
              and r.position <= coalesce($2, 9223372036854775807) /* as of */
          ) seen`,
        values: [projectId, asOf ?? null],
        orderBy: 'component, devices desc, version',
      },
      atLeast(options, asOf),
    );
    const views = value.map((row) => ({
      component: row.component,
      version: row.version,
      devices: row.devices,
      share: row.share,
      firstSeenAt: row.first_seen_at,
      lastSeenAt: row.last_seen_at,
    }));
    return { value: views, position };
  }
}

const CURRENT = `
  select component, version, previous_version, reported_at, received_at
  from read_firmware.current
  where project_id = $1 /* project */
    and device_id = $2 /* device */`;

const CURRENT_AS_OF = `
  select
    newest.component, newest.version, previous.version as previous_version,
    newest.reported_at, newest.received_at
  from read_firmware.current c
  ${newestAsOf('$3')}
  left join lateral (
    select r.version
    from read_firmware.reports r
    where r.project_id = c.project_id
      and r.device_id = c.device_id
      and r.component = c.component
      and r.position <= $3 /* as of */
      and (r.ordered_at, r.position) < (newest.ordered_at, newest.position)
      and r.version <> newest.version
    order by r.ordered_at desc, r.position desc
    limit 1
  ) previous on true
  where c.project_id = $1 /* project */
    and c.device_id = $2 /* device */`;

const FLEET_NOW = `
  select c.component, c.version
  from read_firmware.current c
  join read_tenancy.devices d
    on d.project_id = c.project_id
    and d.device_id = c.device_id
    and d.to_position is null
    and d.retired_at is null
  where c.project_id = $1 /* project */`;

const FLEET_AS_OF = `
  select newest.component, newest.version
  from read_firmware.current c
  join read_tenancy.devices d
    on d.project_id = c.project_id
    and d.device_id = c.device_id
    and d.from_position <= $2 /* as of */
    and (d.to_position is null or d.to_position > $2) /* as of */
    and d.retired_at is null
  ${newestAsOf('$2')}
  where c.project_id = $1 /* project */`;

/** The newest report of a component `c`, up to a position. */
function newestAsOf(asOf: '$2' | '$3'): string {
  return `
    cross join lateral (
      select r.component, r.version, r.ordered_at, r.reported_at, r.received_at, r.position
      from read_firmware.reports r
      where r.project_id = c.project_id
        and r.device_id = c.device_id
        and r.component = c.component
        and r.position <= ${asOf} /* as of */
      order by r.ordered_at desc, r.position desc
      limit 1
    ) newest`;
}
