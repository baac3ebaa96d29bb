import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { createProject, type TestProject } from '../api/api-client.ts';
import { createTestDatabase } from '../database/test-database.ts';
import { runCli, startCli, startServiceProcess, type ServiceProcess } from './service-process.ts';

vi.setConfig({ testTimeout: 120_000, hookTimeout: 60_000 });

const ADMIN_KEY = 'the-admin-key-of-the-follow-command';
const EVENTUALLY = { timeout: 60_000, interval: 50 };
const database = createTestDatabase();
let service: ServiceProcess;
let url: string;
let project: TestProject;

function serve(port: string): ServiceProcess {
  return startServiceProcess({
    DATABASE_URL: database.url,
    PORT: port,
    ADMIN_API_KEY: ADMIN_KEY,
    ROLES: 'api,projections',
  });
}

beforeEach(async () => {
  service = serve('0');
  const api = await service.serving();
  url = api.url;
  project = await createProject(api, ADMIN_KEY);
});
afterEach(async () => {
  service.child.kill('SIGTERM');
  await service.ended();
});

const patch = (n: number, sensor = 'pump') =>
  project.owner.patch(`/sensors/${sensor}`, { json: { data: { n } } });

const settings = (key: string | undefined) => ({ FLEETLEDGER_KEY: key ?? '' });

test('follow prints events as they come, and resumes after its service was killed', async () => {
  await patch(1);
  const follower = startCli(
    ['follow', '--url', url, '--json', '--types', 'SensorPatched', '--after', '2000-01-01'],
    settings(project.owner.key),
  );
  const numbers = () =>
    follower
      .stdout()
      .split('\n')
      .filter((line) => line.endsWith('}'))
      .map((line) => (JSON.parse(line) as { data: { patch: { n: number } } }).data.patch.n);
  await vi.waitFor(() => expect(numbers()).toEqual([1]), EVENTUALLY);
  await patch(2);
  await vi.waitFor(() => expect(numbers()).toEqual([1, 2]), EVENTUALLY);

  service.child.kill('SIGKILL');
  await service.ended();
  service = serve(new URL(url).port);
  await service.serving();
  await patch(3);
  await vi.waitFor(() => expect(numbers()).toEqual([1, 2, 3]), EVENTUALLY);

  follower.child.kill('SIGINT');
  expect(await follower.ended()).toBe(0);
});

test('follow shows what one device does, a line for each event', async () => {
  await project.owner.post('/devices', { json: { device_id: 'd1', sensor_id: 'pump' } });
  const options = ['follow', '--url', url, '--device', 'd1', '--after', '2000-01-01'];
  const follower = startCli(options, settings(project.owner.key));
  await patch(1);
  await patch(2, 'another');
  await vi.waitFor(() => expect(follower.stdout()).toContain('{"n":1}'), EVENTUALLY);
  const lines = follower.stdout().trim().split('\n');
  expect(lines[0]).toMatch(/^\d{4}-\d\d-\d\dT\S+Z {2}DeviceRegistered {2}devices\/d1 {2}\{"/);
  expect(lines.at(-1)).toMatch(/Z {2}SensorPatched {5}sensors\/pump {2}\{"sensorId":"pump",/);
  expect(follower.stdout()).not.toContain('another');
});

test('follow says what is wrong with what it was given', async () => {
  const without = await runCli(['follow', '--url', url]);
  expect(without).toMatchObject({ code: 2, stdout: '' });
  expect(without.stderr).toContain('FLEETLEDGER_KEY');
  const unknown = await runCli(['follow', '--url', url], settings('fl_mem_x_yyyyyyyyyy'));
  expect(unknown).toMatchObject({ code: 1, stdout: '' });
  expect(unknown.stderr).toMatch(/answers 401: .*key/i);
  const types = ['follow', '--url', url, '--types', 'SensorPatch'];
  const mistyped = await runCli(types, settings(project.owner.key));
  expect(mistyped.stderr).toContain("did you mean 'SensorPatched'?");
});
