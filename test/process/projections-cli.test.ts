import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import {
  createProject,
  startTestService,
  type TestProject,
  type TestService,
} from '../api/api-client.ts';
import {
  connect,
  dataDir,
  open,
  processesIn,
  query,
  until,
} from '../database/embedded-server-fixture.ts';
import { createTestDatabase } from '../database/test-database.ts';
import {
  liveSchema,
  PROJECTION_NAMES,
  PROJECTION_VERSIONS,
} from '../projections/projection-versions.ts';
import {
  printedAdminKey,
  runCli,
  startCli,
  startServiceProcess,
  terminate,
  type Outcome,
} from './service-process.ts';

// Each starts several processes, some of them with a database of their own.
vi.setConfig({ testTimeout: 180_000 });

interface Projection {
  readonly name: string;
  readonly generation: number;
  readonly status: string;
  readonly position: string;
  readonly head: string;
  readonly lag_events: number;
  readonly last_error: { readonly event_id: string } | null;
}

interface Replay {
  readonly id: string;
  readonly status: string;
}

function projections(
  args: readonly string[],
  settings: Readonly<Record<string, string>> = {},
): Promise<Outcome> {
  return runCli(['projections', ...args], settings);
}

/** What it answered, each line of it; nothing else was said. */
function answered<Body>({ code, stdout, stderr }: Outcome, expectedCode = 0): Body[] {
  expect({ code, stderr }, stdout).toEqual({ code: expectedCode, stderr: '' });
  return stdout
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line) as Body);
}

/** The cells of each line of a table. */
function cells(text: string): string[][] {
  return text
    .trimEnd()
    .split('\n')
    .map((line) => line.split(/ {2,}/));
}

describe('without a service', { tags: ['slow'] }, () => {
  test('a rebuild and a verification are carried out by the command, over what a service left', async () => {
    const service = startServiceProcess();
    const api = await service.serving();
    await until(() => service.stdout().includes('curl'));
    const { owner } = await createProject(api, printedAdminKey(service));
    for (const id of ['a', 'b', 'c'])
      await owner.patch(`/sensors/${id}`, { json: { data: { id } } });
    expect(await terminate(service)).toBe(0);

    const [before] = answered<{ items: Projection[] }>(await projections(['list', '--json']));
    expect(before?.items.map(({ name, status }) => [name, status])).toEqual(
      PROJECTION_NAMES.map((name) => [name, 'live']),
    );
    const generation = before?.items[1]?.generation ?? 0;
    const [rebuild] = answered(await projections(['rebuild', 'state', '--json']));
    expect(rebuild).toMatchObject({ projection: 'state', status: 'completed', percent: 100 });
    const { code, stdout, stderr } = await projections(['verify', 'state']);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toMatch(/^The verification \S+ of 'state' completed .* none differ\.\n$/);
    const [, tenancy, state] = cells((await projections(['list'])).stdout);
    expect(tenancy?.slice(0, 4)).toEqual([
      'tenancy',
      String(PROJECTION_VERSIONS['tenancy']),
      '1',
      'live',
    ]);
    expect(state?.slice(0, 4)).toEqual([
      'state',
      String(PROJECTION_VERSIONS['state']),
      String(generation + 1),
      'live',
    ]);
    expect(processesIn(dataDir)).toEqual([]);

    const again = (await startServiceProcess().serving()).client(owner.key);
    expect(await again.get('/sensors')).toMatchObject({ body: { items: [{}, {}, {}] } });
  });

  test('a rebuild that is interrupted is carried on by the next start', async () => {
    const service = startServiceProcess();
    await service.serving();
    await until(() => service.stdout().includes('curl'));
    const admin = printedAdminKey(service);
    expect(await terminate(service)).toBe(0);

    const server = await open('tool');
    const reader = await connect(server.url);
    await reader.query('begin');
    await reader.query(
      `select from ${await liveSchema(server.url, 'state')}.checkpoint for update`,
    );
    const rebuilding = startCli(['projections', 'rebuild', 'state']);
    let id = '';
    await until(async () => {
      const sql = `select replay_id from engine.replays where status = 'running'`;
      const [running] = await query(server.url, sql);
      id = String(running?.['replay_id']);
      return running !== undefined;
    });
    rebuilding.child.kill('SIGINT');
    expect(await rebuilding.ended()).toBe(3);
    expect(rebuilding.stdout()).toBe('');
    expect(rebuilding.stderr()).toContain(id);
    await reader.end();
    await server.close();
    expect(processesIn(dataDir)).toEqual([]);

    const next = (await startServiceProcess().serving()).client(admin);
    await until(async () => {
      const { body } = await next.get<Replay>(`/admin/rebuilds/${id}`);
      return body.status === 'completed';
    });
  });

  test('a command that is interrupted while it starts the server ends it again', async () => {
    const rebuilding = startCli(['projections', 'rebuild', 'state']);
    await until(() => processesIn(dataDir).length > 0);
    rebuilding.child.kill('SIGINT');
    expect(await rebuilding.ended()).toBe(3);
    expect(rebuilding.stdout()).toBe('');
    expect(processesIn(dataDir)).toEqual([]);
  });
});

describe('beside a service', () => {
  const database = createTestDatabase();
  let service: TestService;
  let project: TestProject;

  beforeAll(async () => {
    service = await startTestService(database.url);
    project = await service.newProject();
    for (const n of [1, 2, 3]) {
      await project.owner.patch(`/sensors/s-${n}`, { json: { data: { n } } });
    }
  });
  afterAll(() => service.stop());

  function run(...args: readonly string[]): Promise<Outcome> {
    return projections(args, { DATABASE_URL: database.url });
  }

  async function status(name = 'state'): Promise<Projection> {
    return (await service.admin.get<Projection>(`/admin/projections/${name}`)).body;
  }

  /** What the log says was done with it, the last first. */
  async function recorded(): Promise<{ type: string; data: object; metadata: object }[]> {
    const stream = 'projection-_installation.state';
    const items = await service.admin.walk<{ type: string; data: object; metadata: object }>(
      `/admin/log?stream=${stream}`,
    );
    return items.toReversed();
  }

  /** A transaction that holds the checkpoint: nothing is swapped meanwhile. */
  async function holdTables(): Promise<{ release(): Promise<void> }> {
    const reader = await connect(database.url);
    await reader.query('begin');
    const schema = await liveSchema(database.url, 'state');
    await reader.query(`select from ${schema}.checkpoint for update`);
    return {
      async release() {
        await reader.query('rollback');
      },
    };
  }

  async function changeByHand(): Promise<void> {
    const client = await connect(database.url);
    const changed = await client.query(
      `update ${await liveSchema(database.url, 'state')}.sensors set state = '{"n":"by ` +
        `hand"}' where sensor_id = 's-2'`,
    );
    expect(changed.rowCount).toBe(1);
  }

  test('the list is what the API answers, and a table', async () => {
    const [listed] = answered<{ items: Projection[] }>(await run('list', '--json'));
    const { body } = await service.admin.get<{ items: Projection[] }>('/admin/projections');
    expect(listed?.items.map((item) => Object.keys(item))).toEqual(
      body.items.map((item) => Object.keys(item)),
    );
    const passing = { lag_seconds: 0, events_per_second: 0 };
    expect(listed?.items.map((item) => ({ ...item, ...passing }))).toEqual(
      body.items.map((item) => ({ ...item, ...passing })),
    );
    const { stdout } = await run('list');
    expect(cells(stdout)[0]?.[0]).toBe('NAME');
    expect(cells(stdout).slice(1)).toEqual(
      body.items.map(({ name, generation, position }) => [
        name,
        String(PROJECTION_VERSIONS[name]),
        String(generation),
        'live',
        position,
        '0',
        expect.stringMatching(/^\d+\.\d$/),
      ]),
    );
  });

  test('a rebuild puts a new generation in place, is the one of the API, and is recorded', async () => {
    const before = await status();
    const [rebuild] = answered<Replay>(await run('rebuild', 'state', '--json'));
    expect(rebuild).toMatchObject({ status: 'completed', percent: 100 });
    const { body } = await service.admin.get(`/admin/rebuilds/${rebuild?.id}`);
    expect(rebuild).toEqual(body);
    expect((await status()).generation).toBe(before.generation + 1);
    expect((await recorded())[0]).toMatchObject({
      type: 'ProjectionRebuildRequested',
      data: { projection: 'state', rebuildId: rebuild?.id },
      metadata: { actor: 'system:cli', projectId: '_installation' },
    });
    expect(await project.owner.get('/sensors/s-1')).toMatchObject({
      body: { data: { current: { n: 1 } } },
    });
  });

  test('a verification finds nothing, then a row changed by hand, which --repair fixes', async () => {
    const [clean] = answered<Replay>(await run('verify', 'state', '--json'));
    expect(clean).toMatchObject({ status: 'completed', rows: 6, differing: [] });
    const { body } = await service.admin.get(`/admin/verifications/${clean?.id}`);
    expect(clean).toEqual(body);
    expect((await recorded())[0]).toMatchObject({
      type: 'ProjectionVerificationRequested',
      data: { projection: 'state', verificationId: clean?.id },
      metadata: { actor: 'system:cli' },
    });

    await changeByHand();
    const key = { project_id: project.id, sensor_id: 's-2' };
    const [found] = answered(await run('verify', 'state', '--json'), 1);
    expect(found).toMatchObject({
      status: 'completed',
      differing: [
        { table: 'sensors', key, live: { state: { n: 'by hand' } }, replayed: { state: { n: 2 } } },
      ],
    });
    const { code, stdout, stderr } = await run('verify', 'state');
    expect({ code, stderr }).toEqual({ code: 1, stderr: '' });
    const lines = stdout.trimEnd().split('\n');
    expect(lines[0]).toMatch(/ Of 6 rows, 1 differ:$/);
    expect(lines[1]).toBe(`sensors ${JSON.stringify(key)}`);
    expect(lines[2]).toMatch(/^ {2}live {5}\{.*"by hand"/);
    expect(lines[3]).toMatch(/^ {2}replayed \{.*"n":2/);

    const repaired = answered(await run('verify', 'state', '--repair', '--json'));
    expect(repaired).toMatchObject([
      { status: 'completed', differing: [{ key }] },
      { status: 'completed', percent: 100 },
    ]);
    expect(await project.owner.get('/sensors/s-2')).toMatchObject({
      body: { data: { current: { n: 2 } } },
    });
    // Nothing to repair.
    expect(answered(await run('verify', 'state', '--repair', '--json'))).toMatchObject([
      { differing: [] },
    ]);
  });

  test('a projection is paused, and resumed', { tags: ['slow'] }, async () => {
    const { code, stdout } = await run('pause', 'state');
    expect(code).toBe(0);
    expect(cells(stdout)[1]?.[3]).toBe('paused');
    expect((await recorded())[0]).toMatchObject({
      type: 'ProjectionPaused',
      metadata: { actor: 'system:cli' },
    });
    await project.owner.patch('/sensors/s-1', { json: { data: { n: 10 } } });
    const [listed] = answered<{ items: Projection[] }>(await run('list', '--json'));
    expect(listed?.items[1]).toMatchObject({ name: 'state', status: 'paused' });
    expect(listed?.items[1]?.lag_events).toBeGreaterThan(0);

    const [resumed] = answered<Projection>(await run('resume', 'state', '--json'));
    expect(resumed).toMatchObject({ name: 'state', status: 'live' });
    await until(async () => (await status()).lag_events === 0);
    expect((await recorded())[0]).toMatchObject({ type: 'ProjectionResumed' });
  });

  test(
    'one that is stopped tries again, and continues without the event',
    { tags: ['slow'] },
    async () => {
      const client = await connect(database.url);
      const table = `alter table ${await liveSchema(database.url, 'state')}.sensors`;
      await client.query(`${table} add constraint by_hand check (sensor_id not like 'bad-%')`);
      await project.owner.patch('/sensors/bad-1', { json: { data: { n: 1 } } });
      await until(async () => (await status()).status === 'stopped');
      const { stdout } = await run('list');
      const stop = (await status()).last_error?.event_id ?? '';
      const [, , state] = cells(stdout);
      expect(state?.[3]).toBe('stopped');
      expect(state?.at(-1)).toMatch(new RegExp(`^event ${stop}: .*by_hand`));

      await client.query(`${table} drop constraint by_hand`);
      answered(await run('retry', 'state', '--json'));
      await until(async () => (await status()).lag_events === 0);
      expect((await recorded())[0]).toMatchObject({
        type: 'ProjectionRetried',
        data: { projection: 'state', eventId: stop },
      });

      await client.query(`${table} add constraint by_hand check (sensor_id <> 'bad-2')`);
      await project.owner.patch('/sensors/bad-2', { json: { data: { n: 1 } } });
      await until(async () => (await status()).status === 'stopped');
      const second = (await status()).last_error?.event_id ?? '';
      answered(await run('skip', 'state', '--json'));
      await until(async () => (await status()).lag_events === 0);
      expect((await recorded())[0]).toMatchObject({
        type: 'ProjectionEventSkipped',
        data: { projection: 'state', eventId: second, error: expect.stringContaining('by_hand') },
        metadata: { actor: 'system:cli' },
      });
      expect(await status()).toMatchObject({ status: 'live', last_error: null });
      await client.query(`${table} drop constraint by_hand`);
      // What was skipped is skipped by every replay.
      answered(await run('verify', 'state', '--json'));
    },
  );

  test('what cannot be done is refused in a line', { tags: ['slow'] }, async () => {
    const known = new RegExp(`'nope'.* ${PROJECTION_NAMES.join(', ')}\\.\\n$`);
    const refusals: [readonly string[], number, RegExp][] = [
      [['rebuild', 'nope'], 1, known],
      [['verify', 'nope'], 1, known],
      [['pause', 'nope'], 1, known],
      [['skip', 'nope'], 1, known],
      [['retry', 'state'], 1, /not stopped/],
      [['rebuild'], 2, /name/],
      [['rebuild', 'state', '--repair'], 2, /--repair/],
      [['nope'], 2, /nope/],
      [[], 2, /Usage/],
    ];
    for (const [args, expectedCode, words] of refusals) {
      const { code, stdout, stderr } = await run(...args);
      expect({ code, stdout }).toEqual({ code: expectedCode, stdout: '' });
      expect(stderr).toMatch(words);
      expect(stderr).not.toMatch(/^\s+at /m);
      if (expectedCode === 1) expect(stderr.trimEnd().split('\n')).toHaveLength(1);
    }
  });

  test(
    'an interrupted rebuild stays where it stands, and is carried on; it can be followed again',
    { tags: ['slow'] },
    async () => {
      const held = await holdTables();
      const settings = { DATABASE_URL: database.url };
      const first = startCli(['projections', 'rebuild', 'state'], settings);
      let id = '';
      await until(async () => {
        const { body } = await service.admin.get<{ items: Replay[] }>('/admin/rebuilds?limit=1');
        const [newest] = body.items;
        id = newest?.id ?? '';
        return newest?.status === 'running';
      });
      await until(async () => JSON.stringify((await recorded())[0]).includes(id));
      const events = await recorded();
      const second = startCli(['projections', 'rebuild', 'state', '--json'], settings);
      await until(() => second.stderr().includes(id));

      first.child.kill('SIGINT');
      expect(await first.ended()).toBe(3);
      expect(first.stdout()).toBe('');
      expect(first.stderr()).toContain('A running service carries it on');
      expect(first.stderr()).toContain(`DELETE /api/v1/admin/rebuilds/${id}`);
      const other = await run('verify', 'state');
      expect(other).toMatchObject({ code: 1, stdout: '', stderr: expect.stringContaining(id) });

      await held.release();
      expect(await second.ended()).toBe(0);
      expect(JSON.parse(second.stdout())).toMatchObject({ id, status: 'completed' });
      // The second has not asked for anything.
      expect((await recorded()).length).toBe(events.length);
    },
  );

  test('a rebuild that an admin cancels has failed', async () => {
    const held = await holdTables();
    const rebuilding = startCli(['projections', 'rebuild', 'state'], {
      DATABASE_URL: database.url,
    });
    let id = '';
    await until(async () => {
      const { body } = await service.admin.get<{ items: Replay[] }>('/admin/rebuilds?limit=1');
      id = body.items[0]?.id ?? '';
      return body.items[0]?.status === 'running';
    });
    expect(await service.admin.delete(`/admin/rebuilds/${id}`)).toMatchObject({ status: 200 });
    expect(await rebuilding.ended()).toBe(1);
    expect(rebuilding.stdout()).toContain(`The rebuild ${id} of 'state' was cancelled`);
    await held.release();
  });
});
