import { sql } from '../../database/sql.ts';
import type { KeyKind, Role } from '../../events/tenancy.ts';
import type { Position } from '../../event-store/port.ts';
import {
  atLeast,
  type Versioned,
  type ReadModels,
  type ReadOptions,
} from '../engine/reading/read-models.ts';
import { firmware } from '../firmware/tables.ts';
import { state } from '../state/tables.ts';
import { tenancy } from './tables.ts';

export interface ProjectView {
  readonly projectId: string;
  readonly name: string;
  readonly createdAt: Date;
}

export interface MemberView {
  readonly memberId: string;
  readonly name: string;
  readonly role: Role;
  readonly position: Position;
}

export interface DeviceView {
  readonly deviceId: string;
  readonly devEui: string | null;
  readonly simCardId: string | null;
  readonly sensorId: string | null;
  readonly createdAt: Date;
  readonly retiredAt: Date | null;
  readonly lastSeenAt: Date | null;
  readonly revision: bigint;
}

export interface KeyView {
  readonly keyId: string;
  readonly kind: KeyKind;
  readonly holder: string;
  readonly issuedAt: Date;
  readonly revokedAt: Date | null;
  readonly position: Position;
}

export interface DeviceFilter {
  readonly hasDevEui?: boolean;
  readonly isRetired?: boolean;
  /** The version of any of its components. */
  readonly version?: string;
  /** The organization that holds its SIM card at `now`. */
  readonly heldBy?: { readonly orgId: string; readonly now: Date };
  readonly seenAfter?: Date;
  readonly seenBefore?: Date;
}

const NEWEST = 9_223_372_036_854_775_807n;

export class TenancyQueries {
  readonly #models: ReadModels;

  constructor(models: ReadModels) {
    this.#models = models;
  }

  /** Projects by id, after one if given: all, or the one that a member may see. */
  async projects(
    page: { only?: string; after?: string; limit: number; asOf?: Position | undefined },
    options: ReadOptions,
  ): Promise<Versioned<ProjectView[]>> {
    const { only, after, limit, asOf } = page;
    return this.#models.read<ProjectView>(
      sql`
        select project_id as "projectId", name, created_at as "createdAt"
        from ${tenancy.projects}
        where (${only}::text is null or project_id = ${only})
          and (${after}::text is null or project_id > ${after})
          and position <= ${asOf ?? NEWEST}
        order by project_id
        limit ${limit}`,
      atLeast(options, asOf),
    );
  }

  /** Who was a member at `asOf`, in the order in which they came. */
  async members(
    projectId: string,
    { after, limit, asOf }: { after?: Position; limit: number; asOf?: Position | undefined },
    options: ReadOptions,
  ): Promise<Versioned<MemberView[]>> {
    return this.#models.read<MemberView>(
      sql`
        select member_id as "memberId", name, role, from_position as "position"
        from ${tenancy.members}
        where project_id = ${projectId}
          and from_position > ${after ?? 0n}
          and from_position <= ${asOf ?? NEWEST}
          and (to_position is null or to_position > ${asOf ?? NEWEST})
        order by from_position
        limit ${limit}`,
      atLeast(options, asOf),
    );
  }

  /**
   * The devices of a project as of a position, by id; each was last seen when its key was used, or
   * its sensor reported.
   */
  async devices(
    projectId: string,
    page: {
      after?: string;
      only?: string;
      limit: number;
      asOf?: Position | undefined;
    } & DeviceFilter,
    options: ReadOptions,
  ): Promise<Versioned<DeviceView[]>> {
    const asOf = page.asOf ?? NEWEST;
    return this.#models.read<DeviceView>(
      sql`
        select
          d.device_id as "deviceId",
          d.dev_eui as "devEui",
          d.sim_card_id as "simCardId",
          d.sensor_id as "sensorId",
          d.created_at as "createdAt",
          d.retired_at as "retiredAt",
          counted.revision,
          greatest(s.updated_at, f.received_at, n.recorded_at) as "lastSeenAt"
        from ${tenancy.devices} d
        /* Every event of a device is kept, so their number gives the revision that it had then. */
        cross join lateral (
          select count(*) - 1 as revision
          from ${tenancy.device_events} e
          where e.project_id = d.project_id
            and e.subject = d.device_id
            and e.position <= ${asOf}
        ) counted
        left join lateral (
          select h.recorded_at as updated_at
          from ${state.history} h
          where h.project_id = d.project_id
            and h.sensor_id = d.sensor_id
            and h.position <= ${asOf}
          order by h.position desc
          limit 1
        ) s on true
        left join lateral (
          select r.received_at
          from ${firmware.reports} r
          where r.project_id = d.project_id
            and r.device_id = d.device_id
            and r.position <= ${asOf}
          order by r.position desc
          limit 1
        ) f on true
        left join lateral (
          select seen.recorded_at
          from ${tenancy.sightings} seen
          where seen.project_id = d.project_id
            and seen.device_id = d.device_id
            and seen.position <= ${asOf}
          order by seen.position desc
          limit 1
        ) n on true
        where d.project_id = ${projectId}
          and d.from_position <= ${asOf}
          and (d.to_position is null or d.to_position > ${asOf})
          and (${page.only}::text is null or d.device_id = ${page.only})
          and (${page.after}::text is null or d.device_id > ${page.after})
          and (${page.hasDevEui}::boolean is null or (d.dev_eui is not null) = ${page.hasDevEui})
          and (${page.isRetired}::boolean is null or (d.retired_at is not null) = ${page.isRetired})
          and (
            ${page.seenAfter}::timestamptz is null
            or greatest(s.updated_at, f.received_at, n.recorded_at) > ${page.seenAfter}
          )
          and (
            ${page.seenBefore}::timestamptz is null
            or greatest(s.updated_at, f.received_at, n.recorded_at) < ${page.seenBefore}
          )
          and (${page.version}::text is null or exists (
            select
            from (
              select distinct on (r.component) r.version
              from ${firmware.reports} r
              where r.project_id = d.project_id
                and r.device_id = d.device_id
                and r.position <= ${asOf}
              order by r.component, r.ordered_at desc, r.position desc
            ) newest
            where newest.version = ${page.version}
          ))
          and (${page.heldBy?.orgId}::text is null or ${page.heldBy?.orgId} = (
            select a.org_id
            from ${tenancy.sim_assignments} a
            where a.project_id = d.project_id
              and a.sim_card_id = d.sim_card_id
              and a.from_time <= ${page.heldBy?.now}
              and a.position <= ${asOf}
            order by a.from_time desc, a.position desc
            limit 1
          ))
        order by d.device_id
        limit ${page.limit}`,
      atLeast(options, page.asOf),
    );
  }

  /** The keys of a project, revoked ones too, in the order of issue, as of a position if given. */
  async keys(
    projectId: string,
    { after, limit, asOf }: { after?: Position; limit: number; asOf?: Position | undefined },
    options: ReadOptions,
  ): Promise<Versioned<KeyView[]>> {
    return this.#models.read<KeyView>(
      sql`
        select
          key_id as "keyId",
          kind,
          holder,
          issued_at as "issuedAt",
          case when revoked_position <= ${asOf ?? NEWEST} then revoked_at end as "revokedAt",
          position
        from ${tenancy.keys}
        where project_id = ${projectId}
          and position > ${after ?? 0n}
          and position <= ${asOf ?? NEWEST}
          and (to_position is null or to_position > ${asOf ?? NEWEST})
        order by position
        limit ${limit}`,
      atLeast(options, asOf),
    );
  }
}
