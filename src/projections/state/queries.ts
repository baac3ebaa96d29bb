import { sql } from '../../database/sql.ts';
import type { Position } from '../../event-store/port.ts';
import { streamName } from '../../event-store/stream-name.ts';
import type { JsonObject } from '../../shared/json.ts';
import { mergePatch } from '../../shared/merge-patch.ts';
import {
  atLeast,
  type Versioned,
  type ReadModels,
  type ReadOptions,
} from '../engine/reading/read-models.ts';
import { PATCHES_PER_KEYFRAME, state } from './projection.ts';

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
    const { value, position } = await this.#models.select<SensorView>(
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
    const { entries, settingRevision, position } = await this.#history(
      projectId,
      sensorId,
      asOf,
      1,
      atLeast(options, asOf),
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

  /** Where the log stood when the sensor had a revision; undefined when it never had. */
  async positionOfRevision(
    projectId: string,
    sensorId: string,
    revision: bigint,
  ): Promise<Position | undefined> {
    const stream = streamName('sensor', projectId, sensorId);
    const events = this.#models.store.readStream(stream, { from: revision, limit: 1 });
    for await (const event of events) return event.position;
    return undefined;
  }

  /** The patches of a sensor, newest first, before a position if one is given. */
  async history(
    projectId: string,
    sensorId: string,
    { before, limit }: { readonly before?: Position; readonly limit: number },
    options: ReadOptions,
  ): Promise<Versioned<HistoryEntry[]>> {
    const newest = before === undefined ? undefined : ((before - 1n) as Position);
    const { entries, position } = await this.#history(projectId, sensorId, newest, limit, options);
    return { value: entries, position };
  }

  /** The sensors of a project with their current state, by id. */
  async sensors(
    projectId: string,
    { after, limit }: { readonly after?: string; readonly limit: number },
    options: ReadOptions,
  ): Promise<Versioned<SensorView[]>> {
    return this.#models.select<SensorView>(
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

  async #history(
    projectId: string,
    sensorId: string,
    newest: Position | undefined,
    limit: number,
    options: ReadOptions,
  ): Promise<{
    readonly entries: HistoryEntry[];
    readonly settingRevision: bigint;
    readonly position: Position;
  }> {
    // A keyframe to fold the last entry from is at most that many rows further.
    const rows = limit + PATCHES_PER_KEYFRAME - 1;
    const { value, position } = await this.#models.select<HistoryRow>(
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
              and position <= coalesce(${newest}, 9223372036854775807)
          ) as "settingRevision"
        from ${state.history}
        where project_id = ${projectId}
          and sensor_id = ${sensorId}
          and position <= coalesce(${newest}, 9223372036854775807)
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
