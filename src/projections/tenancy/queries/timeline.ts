import { readPosition, sql } from '../../../database/sql.ts';
import type { Position } from '../../../event-store/port.ts';
import { publishedData } from '../../../events/published.ts';
import type { JsonObject } from '../../../shared/json.ts';
import { usageSubject } from '../../usage/projection.ts';
import {
  atLeast,
  type Versioned,
  type ReadModels,
  type ReadOptions,
} from '../../engine/reading/read-models.ts';
import { deveui } from '../../deveui/tables.ts';
import { firmware } from '../../firmware/tables.ts';
import { state } from '../../state/tables.ts';
import { usage } from '../../usage/tables.ts';
import { tenancy } from '../tables.ts';

export interface TimelineEntry {
  readonly eventId: string;
  readonly position: Position;
  readonly type: string;
  readonly domain: string;
  readonly occurredAt: Date | null;
  readonly recordedAt: Date;
  readonly actor: string;
  readonly data: JsonObject;
}

/** Everything that happened to a device, out of the read models of all domains. */
export class TimelineQueries {
  readonly #models: ReadModels;

  constructor(models: ReadModels) {
    this.#models = models;
  }

  /**
   * Newest first, before a position or as of one if that is given, and as far as all of the read
   * models have come: an entry that came later below another would be missed by a walk. Usage alone
   * may be behind these, unless it is asked for as of a position: records of SIM cards come by the
   * million. It is waited for what this process recorded of its own SIM cards. What its sensor did
   * counts while the device carried it, and so do the days of its SIM card, each an entry at its
   * first record; of its DevEUI everything does, as that was registered before it was bound. As of
   * a position, only what it was bound to by then counts.
   */
  async ofDevice(
    projectId: string,
    deviceId: string,
    {
      before,
      limit,
      asOf,
    }: { readonly before?: Position; readonly limit: number; readonly asOf?: Position | undefined },
    options: ReadOptions,
  ): Promise<Versioned<TimelineEntry[]>> {
    const about = await this.#simCards(projectId, deviceId, options);
    const below = lowestOf(before, asOf);
    const { value, position } = await this.#models.read<TimelineEntry>(
      sql`
        with spans as (
          select dev_eui, sensor_id, sim_card_id, from_position, to_position
          from ${tenancy.devices}
          where project_id = ${projectId}
            and device_id = ${deviceId}
            and from_position <= coalesce(${asOf}::bigint, 9223372036854775807)
        ),
        own as (
          select position, event_id, type, 'tenancy' as domain, occurred_at, recorded_at, actor, data
          from ${tenancy.device_events}
          where project_id = ${projectId}
            and subject = ${deviceId}
            and position < ${below}
            and position <= ${readPosition}
            /* These are in the stream of a device, but are about a device elsewhere. */
            and type not in ('LinkClaimVoided', 'DeviceTransferRefused')
          order by position desc
          limit ${limit}
        ),
        reports as (
          select
            position, event_id, 'FirmwareReported' as type, 'firmware' as domain,
            reported_at as occurred_at, received_at as recorded_at, actor,
            json_build_object(
              'deviceId', device_id, 'component', component, 'version', version,
              'hardware', hardware
            ) as data
          from ${firmware.reports}
          where project_id = ${projectId}
            and device_id = ${deviceId}
            and position < ${below}
            and position <= ${readPosition}
          order by position desc
          limit ${limit}
        ),
        provisioning as (
          select e.*
          from (select distinct dev_eui from spans where dev_eui is not null) bound
          cross join lateral (
            select position, event_id, type, 'deveui' as domain, occurred_at, recorded_at, actor, data
            from ${deveui.deveui_events}
            where project_id = ${projectId}
              and subject = bound.dev_eui
              and position < ${below}
              and position <= ${readPosition}
            order by position desc
            limit ${limit}
          ) e
        ),
        states as (
          select e.*
          from spans
          cross join lateral (
            select
              position, event_id, 'SensorPatched' as type, 'state' as domain, occurred_at,
              recorded_at, actor,
              json_build_object('sensorId', sensor_id, 'revision', revision, 'patch', patch) as data
            from ${state.history}
            where project_id = ${projectId}
              and sensor_id = spans.sensor_id
              and position >= spans.from_position
              and position < coalesce(spans.to_position, 9223372036854775807)
              and position < ${below}
              and position <= ${readPosition}
            order by position desc
            limit ${limit}
          ) e
        ),
        usage as (
          select e.*
          from spans
          cross join lateral (
            select
              first_position as position, first_event_id as event_id, 'UsageRecorded' as type,
              'usage' as domain, day as occurred_at, first_recorded_at as recorded_at,
              first_actor as actor,
              json_build_object(
                'simCardId', sim_card_id, 'day', to_char(day at time zone 'UTC', 'YYYY-MM-DD'),
                'bytesUsed',
                /* beyond what JSON holds exactly: as text */
                case
                  when used.bytes > 9007199254740991 then to_jsonb(used.bytes::text)
                  else to_jsonb(used.bytes)
                end,
                'records', used.records
              ) as data
            from ${usage.sim_days} d
            cross join lateral (
              select coalesce(sum(r.bytes), 0) as bytes, count(*) as records
              from ${usage.records} r
              where r.project_id = d.project_id
                and r.sim_card_id = d.sim_card_id
                and r.used_at >= d.day
                and r.used_at < d.day + interval '1 day'
                and r.position <= coalesce(${asOf}::bigint, ${readPosition})
            ) used
            where project_id = ${projectId}
              and sim_card_id = spans.sim_card_id
              and first_position >= spans.from_position
              and first_position < coalesce(spans.to_position, 9223372036854775807)
              and first_position < ${below}
              and first_position <= ${readPosition}
            order by first_position desc
            limit ${limit}
          ) e
        )
        select
          event_id as "eventId",
          position,
          type,
          domain,
          occurred_at as "occurredAt",
          recorded_at as "recordedAt",
          actor,
          data
        from (
          select * from own
          union all
          select * from reports
          union all
          select * from provisioning
          union all
          select * from states
          union all
          select * from usage
        ) everything
        order by position desc
        limit ${limit}`,
      atLeast(options, asOf),
      { usage: { ...options.wait, projectId, about } },
    );
    const entries = value.map((entry) => ({
      ...entry,
      data: publishedData(entry.type, entry.data),
    }));
    return { value: entries, position };
  }

  /** All that it ever had, as subjects of usage. */
  async #simCards(projectId: string, deviceId: string, options: ReadOptions): Promise<string[]> {
    const { value } = await this.#models.read<{ simCardId: string }>(
      sql`
        select distinct sim_card_id as "simCardId"
        from ${tenancy.devices}
        where project_id = ${projectId}
          and device_id = ${deviceId}
          and sim_card_id is not null`,
      options,
    );
    return value.map(({ simCardId }) => usageSubject(projectId, simCardId));
  }
}

const NEVER = 9_223_372_036_854_775_807n;

/** Entries are below this position. */
function lowestOf(before: Position = NEVER as Position, asOf: Position | undefined): bigint {
  const behind = asOf === undefined ? NEVER : asOf + 1n;
  return before < behind ? before : behind;
}
