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
import { PATCHES_PER_KEYFRAME } from './projection.ts';

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

interface SensorViewRow {
  readonly sensor_id: string;
  readonly revision: bigint;
  readonly state: JsonObject;
  readonly updated_at: Date;
}

interface HistoryRow {
  readonly position: bigint;
  readonly revision: bigint;
  readonly patch: JsonObject;
  readonly state: JsonObject | null;
  readonly occurred_at: Date | null;
  readonly recorded_at: Date;
  readonly actor: string;
  /** Of the last event by then that was no patch; -1 without one. */
  readonly setting_revision: bigint;
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
    const { value, position } = await this.#models.read<SensorViewRow>(
      'state',
      {
        name: 'sensor',
        text: `
          select sensor_id, revision, state, updated_at
          from read_state.sensors
          where project_id = $1 /* project */
            and sensor_id = $2 /* sensor */`,
        values: [projectId, sensorId],
      },
      options,
    );
    const [row] = value;
    return { value: row && sensorView(row), position };
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
    const { value, position } = await this.#models.read<SensorViewRow>(
      'state',
      {
        name: 'sensors',
        text: `
          select sensor_id, revision, state, updated_at
          from read_state.sensors
          where project_id = $1 /* project */
            and ($2::text is null or sensor_id > $2) /* after */
          order by sensor_id
          limit $3 /* limit */`,
        values: [projectId, after ?? null, limit],
        orderBy: 'sensor_id',
      },
      options,
    );
    return { value: value.map(sensorView), position };
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
    const { value, position } = await this.#models.read<HistoryRow>(
      'state',
      {
        name: 'sensor-history',
        text: `
          select
            position, revision, patch, state, occurred_at, recorded_at, actor,
            (
              select coalesce(max(s.revision), -1)
              from read_state.settings s
              where s.project_id = $1 /* project */
                and s.sensor_id = $2 /* sensor */
                and s.position <= coalesce($3, 9223372036854775807) /* newest */
            ) as setting_revision
          from read_state.history
          where project_id = $1 /* project */
            and sensor_id = $2 /* sensor */
            and position <= coalesce($3, 9223372036854775807) /* newest */
          order by position desc
          limit $4 /* limit */`,
        // Among so many more rows there is a keyframe to fold the last of them from.
        values: [projectId, sensorId, newest ?? null, limit + PATCHES_PER_KEYFRAME - 1],
        orderBy: 'found.position desc',
      },
      options,
    );
    return {
      entries: withStates(value).slice(0, limit),
      settingRevision: value[0]?.setting_revision ?? -1n,
      position,
    };
  }
}

/** Folds rows, newest first, from their oldest keyframe on; older rows than that are left out. */
function withStates(rows: readonly HistoryRow[]): HistoryEntry[] {
  const oldestKeyframe = rows.findLastIndex(({ state }) => state !== null);
  const entries: HistoryEntry[] = [];
  let state: JsonObject | undefined;
  for (const row of rows.slice(0, oldestKeyframe + 1).toReversed()) {
    state = row.state ?? mergePatch(state, row.patch);
    entries.push({
      revision: row.revision,
      position: row.position as Position,
      patch: row.patch,
      state,
      occurredAt: row.occurred_at,
      recordedAt: row.recorded_at,
      actor: row.actor,
    });
  }
  return entries.toReversed();
}

function sensorView(row: SensorViewRow): SensorView {
  return {
    sensorId: row.sensor_id,
    revision: row.revision,
    state: row.state,
    updatedAt: row.updated_at,
  };
}
