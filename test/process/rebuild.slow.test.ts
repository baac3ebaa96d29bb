// @module-tag slow
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { createProject, type Answer, type ApiClient } from '../api/api-client.ts';
import { createTestDatabase } from '../database/test-database.ts';
import { startServiceProcess, terminate, type ServiceProcess } from './service-process.ts';

vi.setConfig({ testTimeout: 300_000 });

const ADMIN_KEY = 'the-admin-key-of-the-tests';
const SENSORS = 200;
const testDatabase = createTestDatabase();
const services: ServiceProcess[] = [];

afterEach(async () => {
  for (const service of services.splice(0)) await terminate(service).catch(() => undefined);
});

function start(roles: string): ServiceProcess {
  const service = startServiceProcess({
    DATABASE_URL: testDatabase.url,
    ADMIN_API_KEY: ADMIN_KEY,
    ROLES: roles,
  });
  services.push(service);
  return service;
}

interface Rebuild {
  readonly id: string;
  readonly status: string;
  readonly percent: number;
  readonly position: string;
}

interface Standing {
  readonly position: string;
  readonly head: string;
}

function at(position: string): bigint {
  return BigInt(position.split('-')[1] ?? -1);
}

/** Many patches at once, to have something to rebuild. */
async function fill(client: ApiClient, rounds: number): Promise<void> {
  for (let round = 0; round < rounds; round += 1) {
    const patches = Array.from({ length: 5_000 }, (_, index) => ({
      id: `s${index % SENSORS}`,
      data: { [`filled_${round % 3}`]: round * 5_000 + index },
    }));
    const { status } = await client.post('/sensors/patches', { json: patches });
    expect(status).toBe(200);
  }
}

/** Counts up in each sensor, without end; each writer under a name of its own. */
function write(client: ApiClient, name: string, signal: AbortSignal): Promise<number> {
  return (async () => {
    let n = 0;
    while (!signal.aborted) {
      n += 1;
      const answer = await client.patch(`/sensors/s${n % SENSORS}`, {
        json: { data: { [name]: n } },
      });
      expect(answer.status, answer.text).toBe(200);
    }
    return n;
  })();
}

/** Reads all sensors and a history, over and over: nothing is missing, and nothing goes back. */
function read(client: ApiClient, signal: AbortSignal): Promise<number> {
  return (async () => {
    let reads = 0;
    let last = 0n;
    const counted = new Map<string, number>();
    while (!signal.aborted) {
      const answer = await readUntilAnswered<{
        items: { id: string; data: { current: { n?: number } } }[];
      }>(client, '/sensors?limit=500');
      expect(answer.status, answer.text).toBe(200);
      expect(answer.body.items).toHaveLength(SENSORS);
      for (const { id, data } of answer.body.items) {
        const { n = 0 } = data.current;
        expect(n, id).toBeGreaterThanOrEqual(counted.get(id) ?? 0);
        counted.set(id, n);
      }
      const position = at(answer.headers.get('Fleetledger-Position') ?? '');
      expect(position).toBeGreaterThanOrEqual(last);
      last = position;
      const history = await readUntilAnswered<{ items: unknown[] }>(
        client,
        `/sensors/s${reads % SENSORS}/history?limit=10`,
      );
      expect(history.status, history.text).toBe(200);
      expect(history.body.items).toHaveLength(10);
      reads += 1;
    }
    return reads;
  })();
}

/** As clients read: a machine that does not keep up with its load says so, and is asked again. */
async function readUntilAnswered<Body>(client: ApiClient, path: string): Promise<Answer<Body>> {
  for (;;) {
    const answer = await client.get<Body & { readonly code?: string }>(path);
    if (answer.body?.code !== 'read-model-behind') return answer;
  }
}

async function eventually<T>(
  look: () => Promise<T>,
  isIt: (found: T) => boolean,
  timeoutMs = 120_000,
): Promise<T> {
  const end = Date.now() + timeoutMs;
  for (;;) {
    const found = await look();
    if (isIt(found)) return found;
    if (Date.now() > end) throw new Error(`in vain: ${JSON.stringify(found)}`);
    await delay(20);
  }
}

describe('a rebuild under a load of writes and reads', () => {
  test('killed ten times over, ends right, and no reader notices', async () => {
    const api = await start('api').serving();
    const runners = [start('projections'), start('projections')];
    const admin = api.client(ADMIN_KEY);
    const { owner } = await createProject(api, ADMIN_KEY);
    /** Until what the log holds now is in the live tables. */
    const caughtUp = async (): Promise<void> => {
      const read = async () => (await admin.get<Standing>('/admin/projections/state')).body;
      const { head } = await read();
      await eventually(read, ({ position }) => at(position) >= at(head));
    };
    await fill(owner, 24);
    await caughtUp();
    const load = new AbortController();
    const working = Promise.all([
      write(owner, 'n', load.signal),
      write(owner, 'm', load.signal),
      read(owner, load.signal),
    ]);
    // It is awaited below, where it is over.
    working.catch(() => undefined);
    const rebuild = async (): Promise<string> => {
      const asked = await admin.post<Rebuild>('/admin/projections/state/rebuild');
      expect(asked.status, asked.text).toBe(202);
      return asked.body.id;
    };
    const progress = async (id: string): Promise<Rebuild> =>
      (await admin.get<Rebuild>(`/admin/rebuilds/${id}`)).body;

    let id = await rebuild();
    for (let kill = 0; kill < 10; kill += 1) {
      await delay(300 + Math.random() * 700);
      const oldest = runners.shift()!;
      oldest.child.kill('SIGKILL');
      await oldest.ended();
      runners.push(start('projections'));
      // With both killed, readers would wait for longer than they have to.
      await caughtUp();
      const { status } = await progress(id);
      expect(['running', 'completed']).toContain(status);
      // Short machines get through between two kills: then the next one is rebuilt.
      if (status === 'completed') id = await rebuild();
    }
    const ended = await Promise.race([
      eventually(
        () => progress(id),
        ({ status }) => status !== 'running',
      ),
      working.then(() => undefined),
    ]);
    load.abort();
    await working;

    expect(ended).toMatchObject({ status: 'completed', percent: 100 });
    const asked = await admin.post<{ id: string }>('/admin/projections/state/verify');
    const verified = await eventually(
      async () =>
        (
          await admin.get<{ status: string; rows: number; differing: unknown[] }>(
            `/admin/verifications/${asked.body.id}`,
          )
        ).body,
      ({ status }) => status !== 'running',
    );
    expect(verified).toMatchObject({ status: 'completed', differing: [] });
    expect(verified.rows).toBeGreaterThan(24 * 5_000);
  });
});
