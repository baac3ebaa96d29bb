// @module-tag slow
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { connectTo, createProject, type Api, type TestProject } from '../api/api-client.ts';
import { createTestDatabase } from '../database/test-database.ts';

/** What `docs/tutorial-add-a-domain.md` adds, in a copy of the source. */
const TUTORIAL = 'docs/tutorial-add-a-domain.md';
const ADMIN_KEY = 'the-admin-key-of-the-tutorial';
const run = promisify(execFile);
const database = createTestDatabase();

let tree: string;
let service: ChildProcess;
let api: Api;
let project: TestProject;

beforeAll(async () => {
  tree = await mkdtemp(path.join(tmpdir(), 'fleetledger-tutorial-'));
  for (const name of [
    'src',
    'migrations',
    'package.json',
    'tsconfig.json',
    'tsconfig.build.json',
  ]) {
    await cp(name, path.join(tree, name), { recursive: true });
  }
  const helper = 'test/commands/core/given-when-then.ts';
  await cp(helper, path.join(tree, helper));
  await symlink(path.resolve('node_modules'), path.join(tree, 'node_modules'));
  for (const block of await blocksOf(TUTORIAL)) await apply(block);
  await run('npx', ['tsc', '-p', 'tsconfig.build.json'], { cwd: tree });
  service = spawn(process.execPath, ['dist/cli.js', 'serve'], {
    cwd: tree,
    env: {
      PATH: process.env['PATH'],
      DATABASE_URL: database.url,
      PORT: '0',
      ADMIN_API_KEY: ADMIN_KEY,
    },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  api = await connectTo(await urlOf(service));
  project = await createProject(api, ADMIN_KEY);
}, 180_000);

afterAll(async () => {
  api?.leave();
  const isOver = new Promise((resolve) => service.once('exit', resolve));
  service.kill('SIGTERM');
  await isOver;
  await rm(tree, { recursive: true });
});

test('the decider passes the tests of the tutorial', async () => {
  const args = ['vitest', 'run', '--root', tree, '--config', path.join(tree, 'vitest.config.mjs')];
  await writeFile(path.join(tree, 'vitest.config.mjs'), 'export default {};\n');
  const { stdout } = await run('npx', args, { cwd: tree });
  expect(stdout).toMatch(/2 passed/);
});

test('the new domain is served: it records, answers, pages and knows the past', async () => {
  const { owner } = project;
  const put = (id: string, name: string) => owner.put(`/sites/${id}`, { json: { name } });
  const first = await put('s1', 'Harbour');
  expect(first).toMatchObject({ status: 200, body: { id: 's1', name: 'Harbour' } });
  const position = first.headers.get('fleetledger-position') ?? '';
  await put('s1', 'Harbour');
  await put('s1', 'Old harbour');
  await put('s2', 'Depot');

  expect(await owner.get('/sites/s1')).toMatchObject({ body: { name: 'Old harbour' } });
  expect(await owner.get(`/sites/s1?as_of=${position}`)).toMatchObject({
    body: { name: 'Harbour' },
  });
  expect(await owner.walk('/sites?limit=1')).toEqual([
    { id: 's1', name: 'Old harbour' },
    { id: 's2', name: 'Depot' },
  ]);
  expect(await owner.walk(`/sites?as_of=${position}`)).toEqual([{ id: 's1', name: 'Harbour' }]);
  expect(await owner.get('/sites/s3')).toMatchObject({ status: 404 });
  expect(await put('s1', '')).toMatchObject({ status: 422 });
  const events = await owner.get(`/events?domains=sites&after=${position}`);
  const named = (siteId: string, name: string) => ({ type: 'SiteNamed', data: { siteId, name } });
  expect(events).toMatchObject({
    body: { items: [named('s1', 'Old harbour'), named('s2', 'Depot')] },
  });
});

test('its read model is rebuilt like the others', async () => {
  const admin = api.client(ADMIN_KEY);
  const { body, status } = await admin.post<{ id: string }>('/admin/projections/sites/rebuild');
  expect(status).toBe(202);
  await vi.waitFor(
    async () =>
      expect(await admin.get(`/admin/rebuilds/${body.id}`)).toMatchObject({
        body: { projection: 'sites', status: 'completed' },
      }),
    { timeout: 30_000, interval: 50 },
  );
  expect(await project.owner.get('/sites/s1')).toMatchObject({ body: { name: 'Old harbour' } });
});

interface Block {
  readonly language: string;
  readonly file: string;
  readonly text: string;
}

/** The blocks of a document that name a file. */
async function blocksOf(document: string): Promise<Block[]> {
  const blocks = (await readFile(document, 'utf8')).matchAll(/^```(\w+) (\S+)\n(.*?)^```$/gms);
  return [...blocks].map(([, language = '', file = '', text = '']) => ({ language, file, text }));
}

/**
 * Writes the file of a block, or changes it: a block of `diff` adds lines after one that is there.
 */
async function apply({ language, file, text }: Block): Promise<void> {
  const target = path.join(tree, file);
  if (language !== 'diff') {
    await mkdir(path.dirname(target), { recursive: true });
    await writeFile(target, text);
    return;
  }
  const lines = text.split(/(?<=\n)/);
  const before = lines.filter((line) => !line.startsWith('+')).map((line) => line.slice(1));
  const after = lines.map((line) => line.slice(1));
  const source = await readFile(target, 'utf8');
  expect(source.split(before.join('')), `${file} has the lines once`).toHaveLength(2);
  await writeFile(
    target,
    source.replace(before.join(''), () => after.join('')),
  );
}

/** Where a service is reached, once it has said so. */
function urlOf({ stdout }: ChildProcess): Promise<string> {
  return new Promise((resolve, reject) => {
    let printed = '';
    stdout?.on('data', (chunk: Buffer) => {
      printed += chunk.toString();
      const [url] = /http:\/\/127\.0\.0\.1:\d+/.exec(printed) ?? [];
      if (url !== undefined) resolve(url);
    });
    stdout?.once('end', () => reject(new Error(`the service ended: ${printed}`)));
  });
}
