import type { KeyKind, Role } from '../../events/tenancy.ts';
import type { Position } from '../../event-store/port.ts';
import {
  atLeast,
  type Versioned,
  type ReadModels,
  type ReadOptions,
} from '../engine/reading/read-models.ts';

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
  /** Of any of its components. */
  readonly version?: string;
  /** Of whoever holds its SIM card at `now`. */
  readonly heldBy?: { readonly orgId: string; readonly now: Date };
  readonly seenAfter?: Date;
  readonly seenBefore?: Date;
}

interface DeviceRow {
  readonly device_id: string;
  readonly dev_eui: string | null;
  readonly sim_card_id: string | null;
  readonly sensor_id: string | null;
  readonly created_at: Date;
  readonly retired_at: Date | null;
  readonly last_seen_at: Date | null;
  readonly revision: bigint;
}

const NEWEST = 9_223_372_036_854_775_807n;

export class TenancyQueries {
  readonly #models: ReadModels;

  constructor(models: ReadModels) {
    this.#models = models;
  }

  /** By id, after one if given; all projects, or the one that a member may see. */
  async projects(
    { only, after, limit }: { only?: string; after?: string; limit: number },
    options: ReadOptions,
  ): Promise<Versioned<ProjectView[]>> {
    const { value, position } = await this.#models.read<{
      project_id: string;
      name: string;
      created_at: Date;
    }>(
      'tenancy',
      {
        name: 'projects',
        text: `
          select project_id, name, created_at
          from read_tenancy.projects
          where ($1::text is null or project_id = $1) /* only */
            and ($2::text is null or project_id > $2) /* after */
          order by project_id
          limit $3 /* limit */`,
        values: [only ?? null, after ?? null, limit],
        orderBy: 'project_id',
      },
      options,
    );
    const views = value.map((row) => ({
      projectId: row.project_id,
      name: row.name,
      createdAt: row.created_at,
    }));
    return { value: views, position };
  }

  /** Who was a member at `asOf`, in the order in which they came. */
  async members(
    projectId: string,
    { after, limit, asOf }: { after?: Position; limit: number; asOf?: Position },
    options: ReadOptions,
  ): Promise<Versioned<MemberView[]>> {
    const { value, position } = await this.#models.read<{
      member_id: string;
      name: string;
      role: Role;
      from_position: bigint;
    }>(
      'tenancy',
      {
        name: 'members',
        text: `
          select member_id, name, role, from_position
          from read_tenancy.members
          where project_id = $1 /* project */
            and from_position > $2 /* after */
            and from_position <= $3 /* as of */
            and (to_position is null or to_position > $3) /* as of */
          order by from_position
          limit $4 /* limit */`,
        values: [projectId, after ?? 0n, asOf ?? NEWEST, limit],
        orderBy: 'from_position',
      },
      atLeast(options, asOf),
    );
    const views = value.map((row) => ({
      memberId: row.member_id,
      name: row.name,
      role: row.role,
      position: row.from_position as Position,
    }));
    return { value: views, position };
  }

  /** The devices of a project as of a position, by id; each was last seen when its key was used, or its sensor reported. */
  async devices(
    projectId: string,
    page: { after?: string; only?: string; limit: number; asOf?: Position } & DeviceFilter,
    options: ReadOptions,
  ): Promise<Versioned<DeviceView[]>> {
    const { value, position } = await this.#models.read<DeviceRow>(
      'tenancy',
      {
        name: 'devices',
        joins: ['state', 'firmware'],
        text: `
          select
            d.device_id, d.dev_eui, d.sim_card_id, d.sensor_id, d.created_at, d.retired_at,
            counted.revision, greatest(s.updated_at, f.received_at, n.recorded_at) as last_seen_at
          from read_tenancy.devices d
          /* Every event of a device is kept, so their number is the revision that it had then. */
          cross join lateral (
            select count(*) - 1 as revision
            from read_tenancy.device_events e
            where e.project_id = d.project_id
              and e.subject = d.device_id
              and e.position <= $2 /* as of */
          ) counted
          left join lateral (
            select h.recorded_at as updated_at
            from read_state.history h
            where h.project_id = d.project_id
              and h.sensor_id = d.sensor_id
              and h.position <= $2 /* as of */
            order by h.position desc
            limit 1
          ) s on true
          left join lateral (
            select r.received_at
            from read_firmware.reports r
            where r.project_id = d.project_id
              and r.device_id = d.device_id
              and r.position <= $2 /* as of */
            order by r.position desc
            limit 1
          ) f on true
          left join lateral (
            select seen.recorded_at
            from read_tenancy.sightings seen
            where seen.project_id = d.project_id
              and seen.device_id = d.device_id
              and seen.position <= $2 /* as of */
            order by seen.position desc
            limit 1
          ) n on true
          where d.project_id = $1 /* project */
            and d.from_position <= $2 /* as of */
            and (d.to_position is null or d.to_position > $2) /* as of */
            and ($3::text is null or d.device_id = $3) /* only */
            and ($4::text is null or d.device_id > $4) /* after */
            and ($5::boolean is null or (d.dev_eui is not null) = $5) /* has a DevEUI */
            and ($6::boolean is null or (d.retired_at is not null) = $6) /* retired */
            and ($7::timestamptz is null or greatest(s.updated_at, f.received_at, n.recorded_at) > $7) /* seen after */
            and ($8::timestamptz is null or greatest(s.updated_at, f.received_at, n.recorded_at) < $8) /* seen before */
            and ($9::text is null or exists (
              select
              from (
                select distinct on (r.component) r.version
                from read_firmware.reports r
                where r.project_id = d.project_id
                  and r.device_id = d.device_id
                  and r.position <= $2 /* as of */
                order by r.component, r.ordered_at desc, r.position desc
              ) newest
              where newest.version = $9 /* version */
            ))
            and ($10::text is null or $10 /* organization */ = (
              select a.org_id
              from read_tenancy.sim_assignments a
              where a.project_id = d.project_id
                and a.sim_card_id = d.sim_card_id
                and a.from_time <= $11 /* now */
                and a.position <= $2 /* as of */
              order by a.from_time desc, a.position desc
              limit 1
            ))
          order by d.device_id
          limit $12 /* limit */`,
        values: [
          projectId,
          page.asOf ?? NEWEST,
          page.only ?? null,
          page.after ?? null,
          page.hasDevEui ?? null,
          page.isRetired ?? null,
          page.seenAfter ?? null,
          page.seenBefore ?? null,
          page.version ?? null,
          page.heldBy?.orgId ?? null,
          page.heldBy?.now ?? null,
          page.limit,
        ],
        orderBy: 'device_id',
      },
      atLeast(options, page.asOf),
    );
    return { value: value.map(deviceView), position };
  }

  /** Every key ever issued in a project, in the order of issue. */
  async keys(
    projectId: string,
    { after, limit }: { after?: Position; limit: number },
    options: ReadOptions,
  ): Promise<Versioned<KeyView[]>> {
    const { value, position } = await this.#models.read<{
      key_id: string;
      kind: KeyKind;
      holder: string;
      issued_at: Date;
      revoked_at: Date | null;
      issued_position: bigint;
    }>(
      'tenancy',
      {
        name: 'keys',
        text: `
          select key_id, kind, holder, issued_at, revoked_at, position as issued_position
          from read_tenancy.keys
          where project_id = $1 /* project */
            and position > $2 /* after */
          order by position
          limit $3 /* limit */`,
        values: [projectId, after ?? 0n, limit],
        orderBy: 'issued_position',
      },
      options,
    );
    const views = value.map((row) => ({
      keyId: row.key_id,
      kind: row.kind,
      holder: row.holder,
      issuedAt: row.issued_at,
      revokedAt: row.revoked_at,
      position: row.issued_position as Position,
    }));
    return { value: views, position };
  }
}

function deviceView(row: DeviceRow): DeviceView {
  return {
    deviceId: row.device_id,
    devEui: row.dev_eui,
    simCardId: row.sim_card_id,
    sensorId: row.sensor_id,
    createdAt: row.created_at,
    retiredAt: row.retired_at,
    lastSeenAt: row.last_seen_at,
    revision: row.revision,
  };
}
