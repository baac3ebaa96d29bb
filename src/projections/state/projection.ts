import type { Queryable } from '../../database/database.ts';
import type { SensorEvent } from '../../events/state.ts';
import { domainEvent } from '../../events/registry.ts';
import type { RecordedEvent } from '../../event-store/port.ts';
import { parseStreamName } from '../../event-store/stream-name.ts';
import type { JsonObject } from '../../shared/json.ts';
import { mergePatch } from '../../shared/merge-patch.ts';
import type { Projection } from '../engine/projection.ts';

/**
 * The whole state stands beside every so many patches of a sensor, so that any past state is folded
 * from few rows, and history does not hold the whole state again for each patch.
 */
export const PATCHES_PER_KEYFRAME = 16;

/**
 * So many sensors are in memory at once: a state may take 256 KiB, and a batch may speak of a
 * sensor in each of its events.
 */
const MAX_SENSORS_AT_ONCE = 1_000;

/** Sensors with their current state, and every patch they took. */
export const stateProjection: Projection = {
  name: 'state',
  version: 3,
  handles: ['SensorPatched', 'SensorDedupSet'],
  tables: `
    create table sensors (
      project_id     text        not null collate "C",
      sensor_id      text        not null collate "C",
      revision       bigint      not null,
      state          json        not null,
      since_keyframe integer     not null,
      updated_at     timestamptz not null,
      primary key (project_id, sensor_id)
    );

    create table history (
      project_id  text        not null collate "C",
      sensor_id   text        not null collate "C",
      position    bigint      not null,
      event_id    uuid        not null,
      revision    bigint      not null,
      patch       json        not null,
      state       json,
      occurred_at timestamptz,
      recorded_at timestamptz not null,
      actor       text        not null
    );

    /* The events of a sensor that are no patch: they move its revision, and nothing else here. */
    create table settings (
      project_id  text        not null collate "C",
      sensor_id   text        not null collate "C",
      position    bigint      not null,
      revision    bigint      not null
    )`,
  // Nothing looks into the history while it is written.
  indexes: `
    alter table history add primary key (project_id, sensor_id, position);
    alter table settings add primary key (project_id, sensor_id, position)`,
  apply,
};

interface Sensor {
  readonly projectId: string;
  readonly sensorId: string;
  revision: bigint;
  state: JsonObject | undefined;
  sinceKeyframe: number;
  updatedAt: Date;
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
    const event = domainEvent(recorded) as SensorEvent;
    if (event.type !== 'SensorPatched') {
      settings.push({ sensor, event: recorded });
      continue;
    }
    const { patch } = event.data;
    const isFirst = sensor.state === undefined;
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

interface SensorRow {
  readonly ordinal: number;
  readonly revision: bigint;
  readonly state: JsonObject;
  readonly since_keyframe: number;
  readonly updated_at: Date;
}

/** The sensors that the events speak of, by stream, as they are so far. */
async function loadSensors(
  events: readonly RecordedEvent[],
  tx: Queryable,
): Promise<Map<string, Sensor>> {
  const sensors = new Map<string, Sensor>();
  for (const { stream, data, recordedAt } of events) {
    if (sensors.has(stream)) continue;
    const projectId = parseStreamName(stream)?.projectId ?? '';
    const sensorId = data['sensorId'] as string;
    sensors.set(stream, {
      projectId,
      sensorId,
      revision: 0n,
      state: undefined,
      sinceKeyframe: 0,
      updatedAt: recordedAt,
    });
  }
  const list = [...sensors.values()];
  const rows = await tx.query<SensorRow>({
    name: 'load-sensors',
    text: `
      select wanted.ordinal::integer, s.revision, s.state, s.since_keyframe, s.updated_at
      from unnest(
        $1::text[], /* projects */
        $2::text[]  /* sensors */
      ) with ordinality as wanted (project_id, sensor_id, ordinal)
      join sensors s using (project_id, sensor_id)`,
    values: [list.map((sensor) => sensor.projectId), list.map((sensor) => sensor.sensorId)],
  });
  for (const row of rows) {
    const sensor = list[row.ordinal - 1];
    if (sensor === undefined) continue;
    sensor.revision = row.revision;
    sensor.state = row.state;
    sensor.sinceKeyframe = row.since_keyframe;
    sensor.updatedAt = row.updated_at;
  }
  return sensors;
}

async function saveSensors(all: readonly Sensor[], tx: Queryable): Promise<void> {
  // A sensor that has a strategy of its own but never was patched is not seen yet.
  const sensors = all.filter(({ state }) => state !== undefined);
  if (sensors.length === 0) return;
  await tx.query({
    name: 'save-sensors',
    text: `
      insert into sensors (project_id, sensor_id, revision, state, since_keyframe, updated_at)
      select *
      from unnest(
        $1::text[],                                /* projects */
        $2::text[],                                /* sensors */
        $3::bigint[],                              /* revisions */
        string_to_array($4, E'\\x1e')::json[],      /* states */
        $5::integer[],                             /* since keyframe */
        $6::timestamptz[]                          /* updated at */
      )
      on conflict (project_id, sensor_id) do update
      set revision = excluded.revision,
          state = excluded.state,
          since_keyframe = excluded.since_keyframe,
          updated_at = excluded.updated_at`,
    values: [
      sensors.map((sensor) => sensor.projectId),
      sensors.map((sensor) => sensor.sensorId),
      `{${sensors.map((sensor) => sensor.revision).join(',')}}`,
      sensors.map((sensor) => JSON.stringify(sensor.state)).join('\u001e'),
      `{${sensors.map((sensor) => sensor.sinceKeyframe).join(',')}}`,
      `{${sensors.map((sensor) => sensor.updatedAt.toISOString()).join(',')}}`,
    ],
  });
}

async function saveHistory(history: readonly Patched[], tx: Queryable): Promise<void> {
  if (history.length === 0) return;
  await tx.query({
    name: 'save-history',
    text: `
      insert into history
        (
          project_id, sensor_id, position, event_id, revision, patch, state, occurred_at, recorded_at,
          actor
        )
      select *
      from unnest(
        $1::text[],                                     /* projects */
        $2::text[],                                     /* sensors */
        $3::bigint[],                                   /* positions */
        $4::uuid[],                                     /* event ids */
        $5::bigint[],                                   /* revisions */
        string_to_array($6, E'\\x1e')::json[],           /* patches */
        string_to_array($7, E'\\x1e', '')::json[],       /* keyframes */
        string_to_array($8, ',', '')::timestamptz[],    /* occurred at */
        $9::timestamptz[],                              /* recorded at */
        $10::text[]                                     /* actors */
      )`,
    values: [
      history.map(({ sensor }) => sensor.projectId),
      history.map(({ sensor }) => sensor.sensorId),
      `{${history.map(({ event }) => event.position).join(',')}}`,
      `{${history.map(({ event }) => event.id).join(',')}}`,
      `{${history.map(({ event }) => event.revision).join(',')}}`,
      history.map(({ patch }) => JSON.stringify(patch)).join('\u001e'),
      history
        .map(({ keyframe }) => (keyframe === undefined ? '' : JSON.stringify(keyframe)))
        .join('\u001e'),
      history.map(({ event }) => event.metadata.occurredAt ?? '').join(','),
      `{${history.map(({ event }) => event.recordedAt.toISOString()).join(',')}}`,
      history.map(({ event }) => event.metadata.actor),
    ],
  });
}

async function saveSettings(settings: readonly Setting[], tx: Queryable): Promise<void> {
  if (settings.length === 0) return;
  await tx.query({
    name: 'save-settings',
    text: `
      insert into settings (project_id, sensor_id, position, revision)
      select *
      from unnest(
        $1::text[],   /* projects */
        $2::text[],   /* sensors */
        $3::bigint[], /* positions */
        $4::bigint[]  /* revisions */
      )`,
    values: [
      settings.map(({ sensor }) => sensor.projectId),
      settings.map(({ sensor }) => sensor.sensorId),
      settings.map(({ event }) => event.position),
      settings.map(({ event }) => event.revision),
    ],
  });
}
