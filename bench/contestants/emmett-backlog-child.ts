import { sql } from '@event-driven-io/dumbo';
import {
  pongoSingleStreamProjection,
  postgreSQLEventStoreConsumer,
  postgreSQLRawSQLProjection,
  rebuildPostgreSQLProjections,
  type PostgreSQLProjectionDefinition,
} from '@event-driven-io/emmett-postgresql';
import pg from 'pg';
import { measureBacklog } from './backlog-result.ts';
import type { SensorEvent } from './sensor-event.ts';

/**
 * The peer: its consumer with one projector, from the beginning until no messages are left, or its
 * function that rebuilds a projection, which is that consumer with another processor. Two
 * projections of the same events, of which the faster counts: the one that its documentation leads
 * to (a document per stream, without history), and plain SQL, which keeps what ours keeps.
 */
const [url = '', form = '', way = 'project'] = process.argv.slice(2);

interface Sensor {
  readonly state: Record<string, unknown>;
  readonly [key: string]: unknown;
}

const document = pongoSingleStreamProjection<Sensor, SensorEvent>({
  collectionName: 'sensors',
  canHandle: ['SensorPatched'],
  initialState: () => ({ state: {} }),
  evolve: ({ state }: Sensor, { data }: SensorEvent) => ({ state: { ...state, ...data.patch } }),
});

const plainSql = postgreSQLRawSQLProjection<SensorEvent>({
  name: 'sensors',
  canHandle: ['SensorPatched'],
  evolve: ({ data, metadata }) => [
    sql(
      `insert into sensors (sensor_id, state) values (%L, %L)
       on conflict (sensor_id) do update set state = sensors.state || excluded.state`,
      data.sensorId,
      JSON.stringify(data.patch),
    ),
    sql(
      'insert into history (sensor_id, patch, actor, recorded_at) values (%L, %L, %L, now())',
      data.sensorId,
      JSON.stringify(data.patch),
      metadata.actor,
    ),
  ],
  init: () => [
    sql('create table sensors (sensor_id text primary key, state jsonb not null)'),
    sql(`create table history (
      entry bigint generated always as identity primary key,
      sensor_id text not null, patch jsonb not null,
      actor text not null, recorded_at timestamptz not null)`),
    sql('create index on history (sensor_id)'),
  ],
});

const projection: PostgreSQLProjectionDefinition<SensorEvent> =
  form === 'document' ? document : plainSql;

const client = new pg.Client(url);
await client.connect();
const { rows: logged } = await client.query<{ events: string }>(
  'select count(*) as events from emt_messages',
);

// Its defaults are 100 events and then a pause of 50 ms: it would mostly sleep.
const pulling = { batchSize: 1_000, pullingFrequencyInMs: 0 };
const consumer = way === 'rebuild' ? rebuilding() : projecting();
const result = await measureBacklog(async () => {
  await consumer.start();
  return Number(logged[0]?.events);
});
await consumer.close();

const newest = form === 'document' ? `data->'state'` : 'state';
const { rows: projected } = await client.query<{ sensors: string; newest: string }>(
  `select count(*) as sensors, max((${newest}->>'temperature')::integer) as newest from sensors`,
);
if (Number(projected[0]?.newest) !== result.events - 1) {
  throw new Error(`not everything was projected: ${JSON.stringify(projected[0])}`);
}
const { rows: delivered } =
  form === 'document'
    ? { rows: [] }
    : await client.query<{ events: string }>('select count(*) as events from history');
const lost = delivered[0] === undefined ? 0 : result.events - Number(delivered[0].events);
await client.end();
process.stdout.write(JSON.stringify({ ...result, lost }), () => process.exit(0));

function projecting() {
  const consumer = postgreSQLEventStoreConsumer({
    connectionString: url,
    stopWhen: { noMessagesLeft: true },
    pulling,
  });
  consumer.projector<SensorEvent>({ projection });
  return consumer;
}

function rebuilding() {
  return rebuildPostgreSQLProjections<SensorEvent>({
    connectionString: url,
    pulling,
    projections: [projection],
  });
}
