import { sql } from '../../../database/sql.ts';
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
import type { TimelineParts } from '../../timeline.ts';
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
  readonly #parts: TimelineParts;

  constructor(models: ReadModels, parts: TimelineParts) {
    this.#models = models;
    this.#parts = parts;
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
    const query = { projectId, deviceId, below: lowestOf(before, asOf), asOf, limit };
    const parts = Object.entries(this.#parts).map(
      ([domain, part]) => sql`
        select position, event_id, type, ${domain}::text as domain, occurred_at, recorded_at, actor, data
        from (${part(query)}) ${sql.raw(domain)}`,
    );
    const { value, position } = await this.#models.read<TimelineEntry>(
      sql`
        with spans as (
          select dev_eui, sensor_id, sim_card_id, from_position, to_position
          from ${tenancy.devices}
          where project_id = ${projectId}
            and device_id = ${deviceId}
            and from_position <= coalesce(${asOf}::bigint, 9223372036854775807)
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
        from (${sql.join(parts, ' union all ')}) everything
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
