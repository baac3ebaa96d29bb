import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import express from 'express';
import pg from 'pg';
import { z } from 'zod';

/**
 * The peer: the routes as one writes them by hand. The key is compared to a constant, the body is
 * validated, and one durable INSERT per request keeps the state: no history, no revisions, nothing
 * shared between requests.
 */
const [databaseUrl, key] = process.argv.slice(2);
const pool = new pg.Pool({ connectionString: databaseUrl, max: 20 });
await pool.query(`
  create table if not exists sensors (
    sensor_id  text        primary key,
    state      jsonb       not null,
    updated_at timestamptz not null
  );
  create table if not exists reports (
    component   text        not null,
    version     text        not null,
    reported_at timestamptz not null,
    received_at timestamptz not null,
    primary key (component, version, reported_at)
  )`);

const params = z.object({ id: z.string().min(1).max(256) });
const body = z.object({ data: z.record(z.string(), z.unknown()) });

const app = express();
app.disable('x-powered-by');
app.disable('etag');
app.use(express.json({ limit: '64kb' }));
app.patch('/api/v1/sensors/:id', async (request, response) => {
  if (request.headers.authorization !== `Bearer ${key}`) {
    response.status(401).json({ error: 'a key is needed' });
    return;
  }
  const path = params.safeParse(request.params);
  const sent = body.safeParse(request.body);
  if (!path.success || !sent.success) {
    response.status(422).json({ error: 'the request is not valid' });
    return;
  }
  await pool.query({
    name: 'patch-sensor',
    text: `
      insert into sensors (sensor_id, state, updated_at)
      values ($1, $2, now())
      on conflict (sensor_id) do update
      set state = sensors.state || excluded.state,
          updated_at = excluded.updated_at`,
    values: [path.data.id, JSON.stringify(sent.data.data)],
  });
  response.json({ data: sent.data.data });
});

const report = z.object({
  version: z.string().regex(/^\d+\.\d+\.\d+/),
  component: z.string(),
  timestamp: z.number(),
});
app.post('/api/v1/firmware', async (request, response) => {
  if (request.headers.authorization !== `Bearer ${key}`) {
    response.status(401).json({ error: 'a key is needed' });
    return;
  }
  const sent = report.safeParse(request.body);
  if (!sent.success) {
    response.status(400).json({ error: 'the request is not valid' });
    return;
  }
  const { component, version, timestamp } = sent.data;
  await pool.query({
    name: 'report-firmware',
    text: `
      insert into reports (component, version, reported_at, received_at)
      values ($1, $2, $3, now())
      on conflict do nothing`,
    values: [component, version, new Date(timestamp * 1_000)],
  });
  response.status(202).json({ message: 'Update Accepted.' });
});

const server = createServer(app);
server.keepAliveTimeout = 75_000;
server.listen(0, '127.0.0.1', () => {
  process.stdout.write(`http://127.0.0.1:${(server.address() as AddressInfo).port}\n`);
});
process.once('SIGTERM', () => process.exit(0));
