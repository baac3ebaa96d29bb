import { execFile } from 'node:child_process';
import { readdir, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { once } from 'node:events';
import path from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, test, vi } from 'vitest';
import { createProject, type Answer, type ApiClient } from '../api/api-client.ts';
import { dataDir, processesIn, scratchDir, until } from '../database/embedded-server-fixture.ts';
import { isConnectionLost, startLoad } from './load.ts';
import {
  printedAdminKey,
  startServiceProcess,
  terminate,
  type ServiceProcess,
} from './service-process.ts';

const run = promisify(execFile);

// Each starts several processes, each with a database of its own.
vi.setConfig({ testTimeout: 180_000 });

async function serveFirst(
  settings: Readonly<Record<string, string>> = {},
): Promise<{ service: ServiceProcess; owner: ApiClient }> {
  const service = startServiceProcess(settings);
  const api = await service.serving();
  await until(() => service.stdout().includes('curl'));
  const { owner } = await createProject(api, printedAdminKey(service));
  return { service, owner };
}

/** The same client, of the process that serves now. */
async function again(client: ApiClient): Promise<{ service: ServiceProcess; client: ApiClient }> {
  const service = startServiceProcess();
  const api = await service.serving();
  return { service, client: api.client(client.key) };
}

async function killed(service: ServiceProcess): Promise<void> {
  service.child.kill('SIGKILL');
  await service.ended();
}

describe('the first start', () => {
  test('prints the admin key once, with a command that creates a project as it is', async () => {
    const service = startServiceProcess();
    await service.serving();
    await until(() => service.stdout().includes('curl'));
    const key = printedAdminKey(service);
    expect(key).toMatch(/^fl_adm_[^_]+_[^_]{20,}$/);
    const command =
      service
        .stdout()
        .split('\n')
        .find((line) => line.includes('curl ')) ?? '';
    const { stdout } = await run('sh', ['-c', command]);
    const project = JSON.parse(stdout) as { id: string; name: string; owner: { key: string } };
    expect(project).toMatchObject({ name: 'My fleet', owner: { role: 'owner' } });
    expect(service.stdout().split(key)).toHaveLength(3);
    expect(service.stderr()).not.toContain(key);

    const owner = (await service.serving()).client(project.owner.key);
    await owner.patch('/sensors/s', { json: { data: { a: 1 } } });
    expect(await terminate(service)).toBe(0);
    expect(processesIn(dataDir)).toEqual([]);

    const second = await again(owner);
    expect(await second.client.get('/sensors/s')).toMatchObject({
      status: 200,
      body: { data: { current: { a: 1 } } },
    });
    const admin = (await second.service.serving()).client(key);
    expect(await admin.get(`/projects/${project.id}`)).toMatchObject({ status: 200 });
    expect(await terminate(second.service)).toBe(0);
    expect(second.service.stdout()).not.toContain('fl_adm_');
  });

  test('prints no key where one is set', { tags: ['slow'] }, async () => {
    const service = startServiceProcess({ ADMIN_API_KEY: 'my-own-admin-key' });
    const api = await service.serving();
    await createProject(api, 'my-own-admin-key');
    expect(await terminate(service)).toBe(0);
    expect(service.stdout()).not.toContain('fl_adm_');
    expect(service.stdout() + service.stderr()).not.toContain('my-own-admin-key');
  });

  test(
    'takes its settings from .env, and the environment before that',
    { tags: ['slow'] },
    async () => {
      const folder = await scratchDir();
      const settings = { ADMIN_API_KEY: 'the-admin-key-of-the-file', LOG_LEVEL: 'nonsense' };
      const lines = Object.entries(settings).map(([name, value]) => `${name}=${value}\n`);
      await writeFile(path.join(folder, '.env'), lines.join(''));
      const service = startServiceProcess({ LOG_LEVEL: 'warn' }, folder);
      const api = await service.serving();
      expect(await api.client('the-admin-key-of-the-file').get('/projects')).toMatchObject({
        status: 200,
      });
    },
  );
});

describe('a start is refused', () => {
  test('with one line for each setting that cannot be used, before anything is done', async () => {
    const service = startServiceProcess({
      PORT: '99999',
      DATABASE_URL: 'mysql://localhost/x',
      KAFKA_BROKERS: 'kafka:9092,elsewhere',
      KAFKA_USAGE_TOPIC: 'a topic',
      KAFKA_GROUP_ID: 'a group',
      KAFKA_PROJECT: 'Mine',
      ADMIN_API_KEY: 'a b',
      ROLES: 'api,cook',
      LOG_LEVEL: 'loud',
    });
    expect(await service.ended()).toBeGreaterThan(0);
    const lines = service.stderr().trimEnd().split('\n');
    const kafka = ['KAFKA_BROKERS', 'KAFKA_USAGE_TOPIC', 'KAFKA_GROUP_ID', 'KAFKA_PROJECT'];
    const names = ['PORT', 'DATABASE_URL', ...kafka, 'ADMIN_API_KEY', 'ROLES', 'LOG_LEVEL'];
    expect(lines).toHaveLength(names.length);
    expect(new Set(lines.map((line) => line.split(':')[0]))).toEqual(new Set(names));
    for (const line of lines) expect(line).toMatch(/^[A-Z_]+: must (be|have) \w/);
    expect(service.stdout()).toBe('');
    expect(await readdir(dataDir)).toEqual([]);
  });

  test(
    'over a data directory that is being served, in one line, and disturbs nobody',
    { tags: ['slow'] },
    async () => {
      const { service, owner } = await serveFirst();
      const second = startServiceProcess();
      expect(await second.ended()).toBeGreaterThan(0);
      expect(second.stderr().trimEnd().split('\n').at(-1)).toMatch(
        new RegExp(`\\(pid ${service.child.pid}\\) is serving this data directory: ${dataDir}`),
      );
      expect(second.stderr()).not.toMatch(/^\s+at /m);
      expect(second.stdout()).toBe('');
      expect(await owner.patch('/sensors/s', { json: { data: {} } })).toMatchObject({
        status: 200,
      });
    },
  );

  test(
    'at a port that is taken, in one line; nothing is left running, no key is lost',
    { tags: ['slow'] },
    async () => {
      const occupant = createServer().listen(0, '127.0.0.1');
      await once(occupant, 'listening');
      const { port } = occupant.address() as AddressInfo;
      const service = startServiceProcess({ PORT: String(port) });
      expect(await service.ended()).toBeGreaterThan(0);
      occupant.close();
      expect(service.stderr().trimEnd().split('\n').at(-1)).toMatch(new RegExp(`\\b${port}\\b`));
      expect(service.stderr()).not.toMatch(/^\s+at /m);
      expect(service.stdout()).toBe('');
      expect(processesIn(dataDir)).toEqual([]);
      await serveFirst();
    },
  );

  test('with a database that is not there, in one line', async () => {
    const occupant = createServer((socket) => socket.destroy()).listen(0, '127.0.0.1');
    await once(occupant, 'listening');
    const { port } = occupant.address() as AddressInfo;
    const service = startServiceProcess({ DATABASE_URL: `postgres://x:y@127.0.0.1:${port}/z` });
    expect(await service.ended()).toBeGreaterThan(0);
    occupant.close();
    expect(service.stderr().trimEnd().split('\n').at(-1)).toMatch(/database/i);
    expect(service.stderr()).not.toMatch(/^\s+at /m);
  });
});

describe('a service', { tags: ['slow'] }, () => {
  test.each(['SIGTERM', 'SIGINT'] as const)(
    'that gets %s under load finishes what it has begun, and loses nothing',
    async (signal) => {
      const { service, owner } = await serveFirst();
      const load = await startLoad(owner, 16);
      await until(() => load.acknowledged() > 300);
      service.child.kill(signal);
      await load.ended();
      expect(await service.ended()).toBe(0);
      expect(processesIn(dataDir)).toEqual([]);
      await load.expectKept((await again(owner)).client);
    },
  );

  test('that is killed under load has everything that it acknowledged, once', async () => {
    const { service, owner } = await serveFirst();
    const load = await startLoad(owner, 24);
    await until(() => load.acknowledged() > 500);
    await killed(service);
    await load.ended();
    const second = await again(owner);
    await load.expectKept(second.client);
    // And continues where it was.
    const more = await startLoad(second.client, 8);
    await until(() => more.acknowledged() > 50);
    expect(await terminate(second.service)).toBe(0);
    await more.ended();
    expect(processesIn(dataDir)).toEqual([]);
  });

  test('that is killed amid new devices makes each of them once when they are sent again', async () => {
    let { service, owner } = await serveFirst();
    for (const [round, answersBefore] of [0, 1, 4, 9, 16].entries()) {
      const requests = Array.from({ length: 20 }, (_, n) => `round-${round}-device-${n}`);
      const register = (client: ApiClient, id: string): Promise<Answer<{ key: string }>> =>
        client.post('/devices', {
          json: { device_id: id, sensor_id: id },
          headers: { 'idempotency-key': `key of ${id}` },
        });
      const first = new Map<string, string>();
      const sent = requests.map(async (id) => {
        const answer = await register(owner, id).catch((error: unknown) => {
          if (!isConnectionLost(error)) throw error;
          return undefined;
        });
        if (answer === undefined) return;
        expect(answer.status, answer.text).toBe(201);
        first.set(id, answer.text);
      });
      await vi.waitUntil(() => first.size >= answersBefore, { interval: 1 });
      await killed(service);
      await Promise.all(sent);

      ({ service, client: owner } = await again(owner));
      for (const id of requests) {
        const answer = await register(owner, id);
        expect(answer, answer.text).toMatchObject({ status: 201, body: { device_id: id } });
        expect(answer.text).toBe(first.get(id) ?? answer.text);
        expect(await register(owner, id)).toMatchObject({ status: 201, text: answer.text });
        const device = (await service.serving()).client(answer.body.key);
        expect(await device.patch(`/sensors/${id}`, { json: { data: { round } } })).toMatchObject({
          status: 200,
        });
      }
      const keys = await owner.walk<{ holder: string }>('/keys?limit=500');
      const holders = keys.map(({ holder }) => holder).filter((id) => requests.includes(id));
      expect(holders.toSorted()).toEqual(requests.toSorted());
    }
    expect(await terminate(service)).toBe(0);
    expect(processesIn(dataDir)).toEqual([]);
  });

  test('writes no secret to its log, whatever it logs and however it is asked', async () => {
    const { service, owner } = await serveFirst({ LOG_LEVEL: 'trace' });
    const admin = printedAdminKey(service);
    const api = await service.serving();
    const secretKey = 'an-idempotency-key-that-nobody-may-learn';
    const device = await owner.post<{ key: string }>('/devices', {
      json: { device_id: 'd', sensor_id: 's' },
      headers: { 'idempotency-key': secretKey },
    });
    const member = await owner.post<{ key: string }>('/members', {
      json: { name: 'M', role: 'owner' },
    });
    const keys = [admin, owner.key ?? '', device.body.key, member.body.key];
    for (const key of keys) {
      const client = api.client(key);
      const wrong = api.client(`${key.slice(0, -1)}~`);
      const json = { data: { key, secret: key } };
      await client.patch('/sensors/s', { json });
      await client.patch('/sensors/s', { body: `{"${key}`, headers: {} });
      await client.post('/devices', {
        json: { device_id: key },
        headers: { 'x-device-api-key': key },
      });
      await client.get(`/devices?limit=${key}`);
      await client.get('/devices/%ff');
      await wrong.get('/devices');
      await api.client().get('/devices', { headers: { 'x-device-api-key': key } });
    }
    expect(await terminate(service)).toBe(0);
    const log = service.stderr();
    // It does log requests.
    expect(log).toContain('/api/v1/devices');
    for (const secret of [secretKey, ...keys.map((key) => key.split('_')[3] ?? '')]) {
      expect(secret.length).toBeGreaterThan(20);
      expect(log.split('\n').filter((line) => line.includes(secret))).toEqual([]);
    }
  });
});

describe('a service that is asked to end as soon as it runs', () => {
  test('ends with 0, and leaves nothing running', async () => {
    // As soon as it listens for the signal. As process 1 of a container, node would ignore it
    // before that.
    const code = `
      const asking = setInterval(() => {
        if (process.listenerCount('SIGTERM') === 0) return;
        clearInterval(asking);
        process.kill(process.pid, 'SIGTERM');
      }, 1).unref();`;
    const NODE_OPTIONS = `--import data:text/javascript,${encodeURIComponent(code)}`;
    const service = startServiceProcess({ NODE_OPTIONS });
    expect(await service.ended()).toBe(0);
    expect(processesIn(dataDir)).toEqual([]);
  });
});

describe('a process without the API', () => {
  test(
    'serves health and metrics all the same, and does its work where the port is taken',
    { tags: ['slow'] },
    async () => {
      const settings = { ROLES: 'projections' };
      const portOf = ({ stdout, stderr }: ServiceProcess): string =>
        /"port":(\d+),"msg":"ready: /.exec(stdout() + stderr())?.[1] ?? '';
      const first = startServiceProcess(settings);
      await until(() => portOf(first) !== '');
      const url = `http://127.0.0.1:${portOf(first)}`;
      expect((await fetch(`${url}/health/live`)).status).toBe(200);
      await vi.waitFor(async () => expect((await fetch(`${url}/health/ready`)).status).toBe(200), {
        timeout: 60_000,
        interval: 50,
      });
      expect(await (await fetch(`${url}/metrics`)).text()).toContain('fleetledger_projection_lag');
      // Documents of an API that is served elsewhere would be wrong about this process.
      for (const path of ['/api/v1/projects', '/docs', '/openapi.json']) {
        expect((await fetch(url + path)).status, path).toBe(404);
      }
      expect(await terminate(first)).toBe(0);

      const taken = createServer().listen(0, '127.0.0.1');
      await once(taken, 'listening');
      const { port } = taken.address() as AddressInfo;
      const second = startServiceProcess({ ...settings, PORT: String(port) });
      await until(() => (second.stdout() + second.stderr()).includes('cannot be served'));
      expect(await terminate(second)).toBe(0);
      taken.close();
    },
  );
});
