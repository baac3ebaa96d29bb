import { sql, type Sql } from '../../database/sql.ts';
import type { Position } from '../../event-store/port.ts';
import type { JsonObject } from '../../shared/json.ts';
import { mergePatch } from '../../shared/merge-patch.ts';
import {
  atLeast,
  type Versioned,
  type ReadModels,
  type ReadOptions,
} from '../engine/reading/read-models.ts';
import { PATCHES_PER_KEYFRAME } from './projection.ts';
import { state } from './tables.ts';

export interface SensorView {
  readonly sensorId: string;
  readonly revision: bigint;
  readonly state: JsonObject;
  readonly updatedAt: Date;
}

export interface HistoryEntry {
  readonly revision: bigint;
  readonly position: Position;
  readonly patch: JsonObject;
  readonly state: JsonObject;
  readonly occurredAt: Date | null;
  readonly recordedAt: Date;
  readonly actor: string;
}

interface HistoryRow extends Omit<HistoryEntry, 'state'> {
  /** Null where only the patch is kept. */
  readonly state: JsonObject | null;
  /** The revision of the last event by then that was no patch; -1 without one. */
  readonly settingRevision: bigint;
}

/** Which events of a sensor count: conditions on the tables of its patches and of its settings. */
interface UpTo {
  readonly patches: Sql;
  readonly settings: Sql;
}

function upToPosition(newest: Position | undefined): UpTo {
  const condition = sql`position <= coalesce(${newest}, 9223372036854775807)`;
  return { patches: condition, settings: condition };
}

/** No event counts when the sensor has never had the revision. */
function upToRevision(projectId: string, sensorId: string, revision: bigint): UpTo {
  return {
    // From the keyframe before it, the patch of a revision is at most 15 rows away.
    patches: sql`
      position <= (
        select max(near.position)
        from (
          select h.position, h.revision
          from ${state.history} h
          where h.project_id = ${projectId}
            and h.sensor_id = ${sensorId}
            and h.position >= (
              select keyframe.position
              from ${state.history} keyframe
              where keyframe.project_id = ${projectId}
                and keyframe.sensor_id = ${sensorId}
                and keyframe.state is not null
                and keyframe.revision <= ${revision}
              order by keyframe.revision desc
              limit 1
            )
          order by h.position
          limit ${PATCHES_PER_KEYFRAME}
        ) near
        where near.revision <= ${revision}
      )
      and exists (
        select
        from ${state.sensors} s
        where s.project_id = ${projectId}
          and s.sensor_id = ${sensorId}
          and s.revision >= ${revision}
      )`,
    settings: sql`revision <= ${revision}`,
  };
}

interface SensorPage {
  readonly after?: string | undefined;
  readonly limit: number;
  readonly asOf?: Position | undefined;
}

/** Either the state, or the patches to fold it from, newest first. */
interface PastSensorRow extends Omit<SensorView, 'state'> {
  readonly state: JsonObject | null;
  readonly patches: { readonly patch: JsonObject; readonly state: JsonObject | null }[] | null;
}

export class StateQueries {
  readonly #models: ReadModels;

  constructor(models: ReadModels) {
    this.#models = models;
  }

  /** A sensor as it is. */
  async sensor(
    projectId: string,
    sensorId: string,
    options: ReadOptions,
  ): Promise<Versioned<SensorView | undefined>> {
    const { value, position } = await this.#models.read<SensorView>(
      sql`
        select sensor_id as "sensorId", revision, state, updated_at as "updatedAt"
        from ${state.sensors}
        where project_id = ${projectId}
          and sensor_id = ${sensorId}`,
      options,
    );
    return { value: value[0], position };
  }

  /** A sensor as it was when the log stood at `asOf`. */
  async sensorAt(
    projectId: string,
    sensorId: string,
    asOf: Position,
    options: ReadOptions,
  ): Promise<Versioned<SensorView | undefined>> {
    return this.#sensorUpTo(projectId, sensorId, upToPosition(asOf), atLeast(options, asOf));
  }

  /** A sensor as it was at a revision; undefined when it never had that revision. */
  async sensorAtRevision(
    projectId: string,
    sensorId: string,
    revision: bigint,
    options: ReadOptions,
  ): Promise<Versioned<SensorView | undefined>> {
    return this.#sensorUpTo(
      projectId,
      sensorId,
      upToRevision(projectId, sensorId, revision),
      options,
    );
  }

  /**
   * The patches of a sensor, newest first, before a position, and as of one, if these are given.
   */
  async history(
    projectId: string,
    sensorId: string,
    page: {
      readonly before?: Position;
      readonly limit: number;
      readonly asOf?: Position | undefined;
    },
    options: ReadOptions,
  ): Promise<Versioned<HistoryEntry[]>> {
    const { before, limit, asOf } = page;
    const last = before === undefined ? undefined : ((before - 1n) as Position);
    const newest = asOf === undefined || (last !== undefined && last < asOf) ? last : asOf;
    const { entries, position } = await this.#history(
      projectId,
      sensorId,
      { upTo: upToPosition(newest), limit },
      atLeast(options, asOf),
    );
    return { value: entries, position };
  }

  /** The sensors of a project with their state, by id, as of a position if one is given. */
  async sensors(
    projectId: string,
    page: SensorPage,
    options: ReadOptions,
  ): Promise<Versioned<SensorView[]>> {
    const { after, limit, asOf } = page;
    if (asOf !== undefined) return this.#sensorsAsOf(projectId, { after, limit, asOf }, options);
    return this.#models.read<SensorView>(
      sql`
        select sensor_id as "sensorId", revision, state, updated_at as "updatedAt"
        from ${state.sensors}
        where project_id = ${projectId}
          and (${after}::text is null or sensor_id > ${after})
        order by sensor_id
        limit ${limit}`,
      options,
    );
  }

  /** The history is read only for sensors with later events. */
  async #sensorsAsOf(
    projectId: string,
    { after, limit, asOf }: SensorPage & { readonly asOf: Position },
    options: ReadOptions,
  ): Promise<Versioned<SensorView[]>> {
    const { value, position } = await this.#models.read<PastSensorRow>(
      sql`
        select
          s.sensor_id as "sensorId",
          coalesce(past.revision, s.revision) as revision,
          case when past.patches is null then s.state end as state,
          coalesce(past.updated_at, s.updated_at) as "updatedAt",
          past.patches
        from ${state.sensors} s
        left join lateral (
          select
            greatest(
              max(h.revision),
              (
                select max(settings.revision)
                from ${state.settings}
                where settings.project_id = s.project_id
                  and settings.sensor_id = s.sensor_id
                  and settings.position <= ${asOf}
              )
            ) as revision,
            (array_agg(h.recorded_at order by h.position desc))[1] as updated_at,
            json_agg(
              json_build_object('patch', h.patch, 'state', h.state) order by h.position desc
            ) as patches
          from (
            select *
            from ${state.history}
            where history.project_id = s.project_id
              and history.sensor_id = s.sensor_id
              and history.position <= ${asOf}
            order by history.position desc
            limit ${PATCHES_PER_KEYFRAME}
          ) h
        ) past on s.last_position > ${asOf}
        where s.project_id = ${projectId}
          and s.first_position <= ${asOf}
          and (${after}::text is null or s.sensor_id > ${after})
        order by s.sensor_id
        limit ${limit}`,
      atLeast(options, asOf),
    );
    const views = value.map(({ patches, ...row }) => ({
      ...row,
      state: row.state ?? fold(patches),
    }));
    return { value: views, position };
  }

  async #sensorUpTo(
    projectId: string,
    sensorId: string,
    upTo: UpTo,
    options: ReadOptions,
  ): Promise<Versioned<SensorView | undefined>> {
    const { entries, settingRevision, position } = await this.#history(
      projectId,
      sensorId,
      { upTo, limit: 1 },
      options,
    );
    const [entry] = entries;
    const view = entry && {
      sensorId,
      revision: settingRevision > entry.revision ? settingRevision : entry.revision,
      state: entry.state,
      updatedAt: entry.recordedAt,
    };
    return { value: view, position };
  }

  async #history(
    projectId: string,
    sensorId: string,
    { upTo, limit }: { readonly upTo: UpTo; readonly limit: number },
    options: ReadOptions,
  ): Promise<{
    readonly entries: HistoryEntry[];
    readonly settingRevision: bigint;
    readonly position: Position;
  }> {
    // A keyframe to fold the last entry from is at most that many rows further.
    const rows = limit + PATCHES_PER_KEYFRAME - 1;
    const { value, position } = await this.#models.read<HistoryRow>(
      sql`
        select
          revision,
          position,
          patch,
          state,
          occurred_at as "occurredAt",
          recorded_at as "recordedAt",
          actor,
          (
            select coalesce(max(revision), -1)
            from ${state.settings}
            where project_id = ${projectId}
              and sensor_id = ${sensorId}
              and ${upTo.settings}
          ) as "settingRevision"
        from ${state.history}
        where project_id = ${projectId}
          and sensor_id = ${sensorId}
          and ${upTo.patches}
        order by position desc
        limit ${rows}`,
      options,
    );
    return {
      entries: withStates(value).slice(0, limit),
      settingRevision: value[0]?.settingRevision ?? -1n,
      position,
    };
  }
}

/** Folds patches, newest first, from the last one that is kept with the whole state. */
function fold(patches: PastSensorRow['patches']): JsonObject {
  const newest = patches ?? [];
  const keyframe = newest.findIndex((row) => row.state !== null);
  return newest
    .slice(0, Math.max(keyframe, 0))
    .reduceRight<JsonObject>(
      (folded, { patch }) => mergePatch(folded, patch),
      newest[keyframe]?.state ?? {},
    );
}

/** Folds rows, newest first, from their oldest keyframe on; older rows than that are left out. */
function withStates(rows: readonly HistoryRow[]): HistoryEntry[] {
  const oldestKeyframe = rows.findLastIndex((row) => row.state !== null);
  const entries: HistoryEntry[] = [];
  let folded: JsonObject | undefined;
  for (const { settingRevision: _, ...row } of rows.slice(0, oldestKeyframe + 1).toReversed()) {
    folded = row.state ?? mergePatch(folded, row.patch);
    entries.push({ ...row, state: folded });
  }
  return entries.toReversed();
}
