import { sql } from '../../database/sql.ts';
import type { Position } from '../../event-store/port.ts';
import {
  atLeast,
  type ReadModels,
  type ReadOptions,
  type Versioned,
} from '../engine/reading/read-models.ts';
import { tenancy } from '../tenancy/tables.ts';
import { clockOf, type ReportClock } from './report-clock.ts';
import { firmware } from './tables.ts';

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
  /** The last version before it that differs. */
  readonly previousVersion: string | null;
  readonly reportedAt: Date;
  readonly receivedAt: Date;
}

export interface VersionSpread {
  readonly component: string;
  readonly version: string;
  readonly devices: number;
  /** The part of the devices with this component, 0 to 1. */
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
    page: {
      readonly after?: ReportPlace | undefined;
      readonly limit: number;
      readonly asOf?: Position | undefined;
    },
    options: ReadOptions,
  ): Promise<Versioned<FirmwareReportView[]>> {
    const { after, limit, asOf } = page;
    const { value, position } = await this.#models.read<Omit<FirmwareReportView, 'clock'>>(
      sql`
        select
          event_id as "eventId",
          device_id as "deviceId",
          component,
          version,
          hardware,
          reported_at as "reportedAt",
          received_at as "receivedAt",
          ordered_at as "orderedAt",
          position
        from ${firmware.reports}
        where project_id = ${projectId}
          and device_id = ${deviceId}
          and position <= coalesce(${asOf}, 9223372036854775807)
          and (ordered_at, position)
            < (coalesce(${after?.orderedAt}::timestamptz, 'infinity'), coalesce(${after?.before}, 0))
        order by ordered_at desc, position desc
        limit ${limit}`,
      atLeast(options, asOf),
    );
    return { value: value.map((row) => ({ ...row, clock: clockOf(row.reportedAt) })), position };
  }

  /** What each component of a device has, or had as of a position. */
  async current(
    projectId: string,
    deviceId: string,
    asOf: Position | undefined,
    options: ReadOptions,
  ): Promise<Versioned<CurrentFirmware[]>> {
    if (asOf !== undefined) return this.#currentAsOf(projectId, deviceId, asOf, options);
    return this.#models.read<CurrentFirmware>(
      sql`
        select
          component,
          version,
          previous_version as "previousVersion",
          reported_at as "reportedAt",
          received_at as "receivedAt"
        from ${firmware.current}
        where project_id = ${projectId}
          and device_id = ${deviceId}
        order by component`,
      options,
    );
  }

  #currentAsOf(
    projectId: string,
    deviceId: string,
    asOf: Position,
    options: ReadOptions,
  ): Promise<Versioned<CurrentFirmware[]>> {
    return this.#models.read<CurrentFirmware>(
      sql`
        select
          newest.component,
          newest.version,
          previous.version as "previousVersion",
          newest.reported_at as "reportedAt",
          newest.received_at as "receivedAt"
        from ${firmware.current} c
        cross join lateral (
          select *
          from ${firmware.reports} r
          where r.project_id = c.project_id
            and r.device_id = c.device_id
            and r.component = c.component
            and r.position <= ${asOf}
          order by r.ordered_at desc, r.position desc
          limit 1
        ) newest
        left join lateral (
          select r.version
          from ${firmware.reports} r
          where r.project_id = c.project_id
            and r.device_id = c.device_id
            and r.component = c.component
            and r.position <= ${asOf}
            and (r.ordered_at, r.position) < (newest.ordered_at, newest.position)
            and r.version <> newest.version
          order by r.ordered_at desc, r.position desc
          limit 1
        ) previous on true
        where c.project_id = ${projectId}
          and c.device_id = ${deviceId}
        order by newest.component`,
      atLeast(options, asOf),
    );
  }

  /**
   * The position that registered a device, retired or not; undefined where none is known, or was
   * as of a position.
   */
  async registeredAt(
    projectId: string,
    deviceId: string,
    asOf: Position | undefined,
    options: ReadOptions,
  ): Promise<Position | undefined> {
    const { value } = await this.#models.read<{ position: Position }>(
      sql`
        select from_position as "position"
        from ${tenancy.devices}
        where project_id = ${projectId}
          and device_id = ${deviceId}
          and from_position <= coalesce(${asOf}, 9223372036854775807)
        order by from_position
        limit 1`,
      atLeast(options, asOf),
    );
    return value[0]?.position;
  }

  /**
   * Which versions the devices of a project have, or had as of a position: those that are not
   * retired.
   */
  async spread(
    projectId: string,
    asOf: Position | undefined,
    options: ReadOptions,
  ): Promise<Versioned<VersionSpread[]>> {
    const fleetNow = sql`
      select c.component, c.version
      from ${firmware.current} c
      join ${tenancy.devices} d
        on d.project_id = c.project_id
        and d.device_id = c.device_id
        and d.to_position is null
        and d.retired_at is null
      where c.project_id = ${projectId}`;
    const fleetAsOf = sql`
      select newest.component, newest.version
      from ${firmware.current} c
      join ${tenancy.devices} d
        on d.project_id = c.project_id
        and d.device_id = c.device_id
        and d.from_position <= ${asOf}
        and (d.to_position is null or d.to_position > ${asOf})
        and d.retired_at is null
      cross join lateral (
        select r.component, r.version
        from ${firmware.reports} r
        where r.project_id = c.project_id
          and r.device_id = c.device_id
          and r.component = c.component
          and r.position <= ${asOf}
        order by r.ordered_at desc, r.position desc
        limit 1
      ) newest
      where c.project_id = ${projectId}`;
    return this.#models.read<VersionSpread>(
      sql`
        with fleet as (${asOf === undefined ? fleetNow : fleetAsOf}),
        spread as (
          select
            component, version,
            count(*)::integer as devices,
            count(*)::double precision / sum(count(*)) over (partition by component) as share
          from fleet
          group by component, version
        )
        select spread.*, seen.first_seen_at as "firstSeenAt", seen.last_seen_at as "lastSeenAt"
        from spread
        cross join lateral (
          select min(r.ordered_at) as first_seen_at, max(r.ordered_at) as last_seen_at
          from ${firmware.reports} r
          where r.project_id = ${projectId}
            and r.component = spread.component
            and r.version = spread.version
            and r.position <= coalesce(${asOf}, 9223372036854775807)
        ) seen
        order by component, devices desc, version`,
      atLeast(options, asOf),
    );
  }
}
