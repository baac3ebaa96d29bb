// @module-tag slow
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { createProject, type Api, type ApiClient } from '../api/api-client.ts';
import { createTestDatabase } from '../database/test-database.ts';
import {
  startStandInProcess,
  type StandInChild,
} from '../event-store/eventstoredb/stand-in-child.ts';
import { startLoad } from './load.ts';
import {
  printedAdminKey,
  runCli,
  startCli,
  startServiceProcess,
  terminate,
} from './service-process.ts';

// Whole services are started, one after the other, with a database of their own.
vi.setConfig({ testTimeout: 240_000 });

const ADMIN_API_KEY = 'the-admin-key-of-the-tests';
const database = createTestDatabase();
const empty = createTestDatabase();
let standIn: StandInChild;

beforeAll(async () => {
  standIn = await startStandInProcess();
});
afterAll(() => standIn.end());

function eventStoreUrl(name: string): string {
  return `${standIn.connectionString}&streamPrefix=${name}.`;
}

interface CopyOutcome {
  readonly from: string;
  readonly to: string;
  readonly events: number;
  readonly sha256: string;
}

async function copied(from: string, to: string): Promise<CopyOutcome> {
  const { code, stdout, stderr } = await runCli(
    ['log', 'copy', '--from', from, '--to', to, '--json'],
    { EVENTSTORE_URL: '' },
  );
  expect({ code, stderr }, stdout).toEqual({ code: 0, stderr: '' });
  return JSON.parse(stdout) as CopyOutcome;
}

/** What a client has seen of the ledger, to be seen again wherever it is. */
async function whatIsSeen(client: ApiClient, times: readonly string[]) {
  const sensors = await client.walk<{ id: string }>('/sensors?limit=500');
  const seen: unknown[] = [sensors, await client.walk('/sensors/hot/history?limit=500')];
  for (const time of times) {
    for (const { id } of sensors.slice(0, 5)) {
      const { status, body } = await client.get(`/sensors/${id}?as_of=${encodeURIComponent(time)}`);
      seen.push({ time, id, status, body });
    }
  }
  return seen;
}

test('a ledger outgrows its own store in one command, while it writes', async () => {
  const target = eventStoreUrl('outgrown');
  const first = startServiceProcess({ ADMIN_API_KEY, EVENTSTORE_URL: '' });
  const api = await first.serving();
  const project = await createProject(api, ADMIN_API_KEY);
  const withKey = { json: { device_id: 'd-1' }, headers: { 'idempotency-key': 'first-device' } };
  const created = await project.owner.post<{ key: string }>('/devices', withKey);
  expect(created.status).toBe(201);
  const load = await startLoad(project.owner, 4);
  await vi.waitUntil(() => load.acknowledged() > 500, 60_000);

  const copying = startCli(['log', 'copy', '--from', 'embedded', '--to', target], {
    EVENTSTORE_URL: '',
  });
  await vi.waitUntil(() => copying.stderr().includes('once the service is stopped'), 60_000);
  const acknowledged = load.acknowledged();
  await vi.waitUntil(() => load.acknowledged() > acknowledged + 200, 60_000);

  const { body: history } = await project.owner.get<{ items: { recorded_at: string }[] }>(
    '/sensors/hot/history?limit=500',
  );
  const times = [0, 100, 499].map((index) => history.items[index]?.recorded_at ?? '');
  expect(await terminate(first)).toBe(0);
  await load.ended();
  expect(await copying.ended(), copying.stderr()).toBe(0);
  expect(copying.stdout()).toMatch(/^Copied the log .{8} to .{8}: \d+ events, the same by SHA-256/);

  // It continues there, with read models made from the new log automatically.
  const again = startServiceProcess({ ADMIN_API_KEY, EVENTSTORE_URL: '' });
  const before = await seenBy(await again.serving(), project.owner, times);
  expect(await terminate(again)).toBe(0);
  const moved = startServiceProcess({ ADMIN_API_KEY, EVENTSTORE_URL: target });
  const there = await moved.serving();
  const owner = there.client(project.owner.key);
  await vi.waitFor(async () => expect((await owner.get('/sensors')).status).toBe(200), 60_000);
  expect(await whatIsSeen(owner, times)).toEqual(before);
  await load.expectKept(owner);
  // Keys of devices, and answers that were kept, have moved along.
  const repeated = await owner.post<{ key: string }>('/devices', withKey);
  expect(repeated.headers.get('Idempotency-Replayed')).toBe('true');
  expect(repeated.body).toEqual(created.body);
  expect(await owner.patch('/sensors/hot', { json: { data: { n: -1 } } })).toMatchObject({
    status: 200,
  });
  expect(await terminate(moved)).toBe(0);

  // And back, into a database that knows nothing yet.
  const back = await copied(target, database.url);
  const returned = startServiceProcess({
    ADMIN_API_KEY,
    EVENTSTORE_URL: '',
    DATABASE_URL: database.url,
  });
  const owner2 = (await returned.serving()).client(project.owner.key);
  const history2 = await owner2.walk('/sensors/hot/history?limit=500');
  expect(history2[0]).toMatchObject({ patch: { n: -1 } });
  expect((await owner2.post('/devices', withKey)).body).toEqual(created.body);
  await owner2.patch('/sensors/hot', { json: { data: { n: -2 } } });
  expect(await terminate(returned)).toBe(0);
  // Its own events are in it by now: the copying is over.
  const refused = await runCli(['log', 'copy', '--from', target, '--to', database.url], {
    EVENTSTORE_URL: '',
  });
  expect(refused).toMatchObject({ code: 1, stderr: expect.stringContaining('events of its own') });
  expect(back.events).toBeGreaterThan(700);
});

async function seenBy(api: Api, { key }: ApiClient, times: readonly string[]) {
  const client = api.client(key);
  await vi.waitFor(async () => expect((await client.get('/sensors')).status).toBe(200), 60_000);
  return whatIsSeen(client, times);
}

test('a copy that is killed again and again is whole in the end', async () => {
  const source = { EVENTSTORE_URL: '' };
  const service = startServiceProcess(source);
  const api = await service.serving();
  const project = await createProject(api, printedAdminKey(service));
  const text = 'x'.repeat(200);
  for (let part = 0; part < 4; part += 1) {
    const items = Array.from({ length: 5_000 }, (_, n) => ({
      id: `s-${n % 500}`,
      data: { n, part, text },
    }));
    const answer = await project.owner.post('/sensors/patches', { json: items });
    expect(answer.status).toBe(200);
  }
  expect(await terminate(service)).toBe(0);

  for (const target of [eventStoreUrl('killed'), empty.url]) {
    const command = ['log', 'copy', '--from', 'embedded', '--to', target];
    for (let kill = 0; kill < 4; kill += 1) {
      const copying = startCli(command, source);
      const ended = copying.ended();
      await Promise.race([ended, new Promise((resolve) => setTimeout(resolve, 700 + kill * 400))]);
      copying.child.kill('SIGKILL');
      await ended;
    }
    const { events } = await copied('embedded', target);
    expect(events).toBeGreaterThan(20_000);
  }
});

test('what cannot be copied is refused in a line', async () => {
  const refused = async (...args: readonly string[]) =>
    runCli(['log', 'copy', ...args], { EVENTSTORE_URL: '' });
  expect(await refused('--from', 'mysql://x', '--to', 'embedded')).toMatchObject({
    code: 2,
    stderr: expect.stringMatching(/^--from: 'mysql:\/\/x' is not a log/),
  });
  expect(await refused('--from', 'embedded', '--to', 'embedded')).toMatchObject({
    code: 1,
    stderr: expect.stringContaining('the same log'),
  });
  expect(await refused('--from', 'embedded')).toMatchObject({ code: 2 });
});
