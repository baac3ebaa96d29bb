import type { Queryable } from '../../database/database.ts';
import { insertRows, rowsAs } from '../../database/rows.ts';
import { sql } from '../../database/sql.ts';
import type { SensorEvent } from '../../events/state.ts';
import { domainEvent } from '../../events/registry.ts';
import type { RecordedEvent } from '../../event-store/port.ts';
import { parseStreamName } from '../../event-store/stream-name.ts';
import type { JsonObject } from '../../shared/json.ts';
import { mergePatch } from '../../shared/merge-patch.ts';
import type { Projection } from '../engine/projection.ts';
import { state, stateDdl } from './tables.ts';

/**
 * Every 16th patch of a sensor is kept with the whole state, so that any past state is folded from
 * few rows, and the history does not repeat the whole state for each patch.
 */
export const PATCHES_PER_KEYFRAME = 16;

/**
 * How many sensors are in memory at once: a state may take 256 KiB, and each event of a batch may
 * be about another sensor.
 */
const MAX_SENSORS_AT_ONCE = 1_000;

/** Sensors with their current state, and every patch that they took. */
export const stateProjection: Projection = {
  name: 'state',
  version: 4,
  handles: ['SensorPatched', 'SensorDedupSet'],
  ...stateDdl,
  apply,
};

interface Sensor {
  readonly stream: string;
  readonly projectId: string;
  readonly sensorId: string;
  revision: bigint;
  state: JsonObject | undefined;
  sinceKeyframe: number;
  updatedAt: Date;
  /** The position of the first patch; undefined before it. */
  firstPosition: bigint | undefined;
  lastPosition: bigint;
}

interface Setting {
  readonly sensor: Sensor;
  readonly event: RecordedEvent;
}

interface Patched extends Setting {
  readonly patch: JsonObject;
  readonly keyframe: JsonObject | undefined;
}

async function apply(events: readonly RecordedEvent[], tx: Queryable): Promise<void> {
  let slice: RecordedEvent[] = [];
  const streams = new Set<string>();
  for (const event of events) {
    if (streams.size === MAX_SENSORS_AT_ONCE && !streams.has(event.stream)) {
      await applySlice(slice, tx);
      slice = [];
      streams.clear();
    }
    slice.push(event);
    streams.add(event.stream);
  }
  await applySlice(slice, tx);
}

async function applySlice(events: readonly RecordedEvent[], tx: Queryable): Promise<void> {
  const sensors = await loadSensors(events, tx);
  const history: Patched[] = [];
  const settings: Setting[] = [];
  for (const recorded of events) {
    const sensor = sensors.get(recorded.stream);
    if (sensor === undefined) throw new Error(`no sensor was loaded for ${recorded.stream}`);
    sensor.revision = recorded.revision;
    sensor.lastPosition = recorded.position;
    const event = domainEvent(recorded) as SensorEvent;
    if (event.type !== 'SensorPatched') {
      settings.push({ sensor, event: recorded });
      continue;
    }
    const { patch } = event.data;
    const isFirst = sensor.state === undefined;
    sensor.firstPosition ??= recorded.position;
    sensor.state = mergePatch(sensor.state, patch);
    sensor.updatedAt = recorded.recordedAt;
    sensor.sinceKeyframe = (isFirst ? 0 : sensor.sinceKeyframe + 1) % PATCHES_PER_KEYFRAME;
    const keyframe = sensor.sinceKeyframe === 0 ? sensor.state : undefined;
    history.push({ sensor, event: recorded, patch, keyframe });
  }
  await saveSensors([...sensors.values()], tx);
  await saveHistory(history, tx);
  await saveSettings(settings, tx);
}

/** The sensors that the events are about, by stream, as they are so far. */
async function loadSensors(
  events: readonly RecordedEvent[],
  tx: Queryable,
): Promise<Map<string, Sensor>> {
  const sensors = new Map<string, Sensor>();
  for (const { stream, data, recordedAt, position } of events) {
    if (sensors.has(stream)) continue;
    const projectId = parseStreamName(stream)?.projectId ?? '';
    const sensorId = data['sensorId'] as string;
    sensors.set(stream, {
      stream,
      projectId,
      sensorId,
      revision: 0n,
      state: undefined,
      sinceKeyframe: 0,
      updatedAt: recordedAt,
      firstPosition: undefined,
      lastPosition: position,
    });
  }
  const wanted = rowsAs(
    'wanted',
    {
      stream: ['text', (sensor) => sensor.stream],
      project_id: ['text', (sensor) => sensor.projectId],
      sensor_id: ['text', (sensor) => sensor.sensorId],
    },
    [...sensors.values()],
  );
  const known = await tx.query<Sensor>(sql`
    select
      wanted.stream,
      s.project_id as "projectId",
      s.sensor_id as "sensorId",
      s.revision,
      s.state,
      s.since_keyframe as "sinceKeyframe",
      s.updated_at as "updatedAt",
      s.first_position as "firstPosition",
      s.last_position as "lastPosition"
    from ${wanted}
    join ${state.sensors} s using (project_id, sensor_id)`);
  for (const sensor of known) sensors.set(sensor.stream, sensor);
  return sensors;
}

async function saveSensors(all: readonly Sensor[], tx: Queryable): Promise<void> {
  // A sensor that has a strategy of its own but never was patched is not seen yet.
  const sensors = all.filter((sensor) => sensor.state !== undefined);
  if (sensors.length === 0) return;
  const inserted = insertRows(
    state.sensors,
    {
      project_id: ['text', (sensor) => sensor.projectId],
      sensor_id: ['text', (sensor) => sensor.sensorId],
      revision: ['bigint', (sensor) => sensor.revision],
      state: ['json', (sensor) => sensor.state],
      since_keyframe: ['integer', (sensor) => sensor.sinceKeyframe],
      updated_at: ['timestamptz', (sensor) => sensor.updatedAt],
      first_position: ['bigint', (sensor) => sensor.firstPosition],
      last_position: ['bigint', (sensor) => sensor.lastPosition],
    },
    sensors,
  );
  await tx.query(sql`
    ${inserted}
    on conflict (project_id, sensor_id) do update
    set revision = excluded.revision,
        state = excluded.state,
        since_keyframe = excluded.since_keyframe,
        updated_at = excluded.updated_at,
        last_position = excluded.last_position`);
}

async function saveHistory(history: readonly Patched[], tx: Queryable): Promise<void> {
  if (history.length === 0) return;
  await tx.query(
    insertRows(
      state.history,
      {
        project_id: ['text', ({ sensor }) => sensor.projectId],
        sensor_id: ['text', ({ sensor }) => sensor.sensorId],
        position: ['bigint', ({ event }) => event.position],
        event_id: ['uuid', ({ event }) => event.id],
        revision: ['bigint', ({ event }) => event.revision],
        patch: ['json', ({ patch }) => patch],
        state: ['json', ({ keyframe }) => keyframe],
        occurred_at: ['timestamptz', ({ event }) => event.metadata.occurredAt],
        recorded_at: ['timestamptz', ({ event }) => event.recordedAt],
        actor: ['text', ({ event }) => event.metadata.actor],
      },
      history,
    ),
  );
}

async function saveSettings(settings: readonly Setting[], tx: Queryable): Promise<void> {
  if (settings.length === 0) return;
  await tx.query(
    insertRows(
      state.settings,
      {
        project_id: ['text', ({ sensor }) => sensor.projectId],
        sensor_id: ['text', ({ sensor }) => sensor.sensorId],
        position: ['bigint', ({ event }) => event.position],
        revision: ['bigint', ({ event }) => event.revision],
      },
      settings,
    ),
  );
}
