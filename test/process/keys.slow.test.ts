// @module-tag slow
import { describe, expect, test, vi } from 'vitest';
import { createProject, type Api, type TestProject } from '../api/api-client.ts';
import { dataDir, processesIn, until } from '../database/embedded-server-fixture.ts';
import {
  printedAdminKey,
  runCli,
  startServiceProcess,
  terminate,
  type Outcome,
  type ServiceProcess,
} from './service-process.ts';

// Each starts many processes.
vi.setConfig({ testTimeout: 180_000 });

async function serve(): Promise<{ service: ServiceProcess; api: Api; project: TestProject }> {
  const service = startServiceProcess();
  const api = await service.serving();
  await until(() => service.stdout().includes('curl'));
  return { service, api, project: await createProject(api, printedAdminKey(service)) };
}

/** The key that was issued, and nothing else, on stdout. */
function issued({ code, stdout, stderr }: Outcome, kind: string): { key: string; id: string } {
  expect(stderr).toBe('');
  expect(code).toBe(0);
  expect(stdout).toMatch(new RegExp(`^fl_${kind}_[^_]+_[^_]{20,}\n$`));
  const key = stdout.trim();
  return { key, id: key.split('_')[2] ?? '' };
}

function expectRefused({ code, stdout, stderr }: Outcome, words: RegExp): void {
  expect(code).toBeGreaterThan(0);
  expect(stdout).toBe('');
  expect(stderr).toMatch(words);
  expect(stderr).not.toMatch(/^\s+at /m);
}

describe('beside a running service', () => {
  test(
    'keys are issued to all kinds of holders, and revoked again',
    { tags: ['slow'] },
    async () => {
      const { service, api, project } = await serve();
      const device = 'a device/1';
      await project.owner.post('/devices', { json: { device_id: device, sensor_id: 's' } });
      const ofProject = ['--project', project.id];
      const holders = [
        { kind: 'adm', issue: ['--admin'], revoke: ['--admin'], path: '/projects' },
        {
          kind: 'mem',
          issue: [...ofProject, '--member', project.ownerId],
          revoke: ofProject,
          path: '/keys',
        },
        {
          kind: 'dev',
          issue: [...ofProject, '--device', device],
          revoke: [...ofProject, '--device', device],
          path: '/sensors/s',
        },
      ];
      await project.owner.patch('/sensors/s', { json: { data: {} } });
      for (const { kind, issue, revoke, path } of holders) {
        const { key, id } = issued(await runCli(['keys', 'issue', ...issue]), kind);
        const client = api.client(key);
        expect(await client.get(path)).toMatchObject({ status: 200 });
        const { code, stdout, stderr } = await runCli(['keys', 'revoke', id, ...revoke]);
        expect({ code, stdout }).toEqual({ code: 0, stdout: '' });
        expect(stderr).toContain(id);
        await until(async () => (await client.get(path)).status === 401);
        expect(await client.get(path)).toMatchObject({ status: 401 });
        expect(service.stderr()).not.toContain(key.split('_')[3]);
      }
      expect(await project.owner.get('/devices')).toMatchObject({ status: 200 });
      expect(await terminate(service)).toBe(0);
      expect(processesIn(dataDir)).toEqual([]);
    },
  );

  test('what does not exist, or was not said, is refused in a line', async () => {
    const { service, project } = await serve();
    const ofProject = ['--project', project.id];
    const nothing = /Nothing with this id was found/;
    const refusals: [readonly string[], RegExp][] = [
      [['issue', ...ofProject, '--member', 'missing'], nothing],
      [['issue', ...ofProject, '--device', 'missing'], nothing],
      [['issue', '--project', 'missing', '--member', project.ownerId], nothing],
      [['issue', '--project', 'no Project', '--member', project.ownerId], /project/i],
      [['issue'], /--admin/],
      [['issue', ...ofProject], /--member/],
      [['issue', '--admin', '--member', project.ownerId], /cannot be used with/],
      [['issue', ...ofProject, '--member', 'x', '--device', 'y'], /cannot be used with/],
      [['revoke', 'missing', '--admin'], nothing],
      [['revoke', 'missing', ...ofProject], nothing],
      [['revoke', 'missing', ...ofProject, '--device', 'missing'], nothing],
      [['revoke', 'missing'], /--admin/],
      [['revoke'], /key-id/],
    ];
    for (const [args, words] of refusals) expectRefused(await runCli(['keys', ...args]), words);
    expect(await project.owner.get('/keys')).toMatchObject({ body: { items: [{}] } });
    expect(await terminate(service)).toBe(0);
  });
});

describe('without a service', () => {
  test(
    'an admin key is issued over an empty directory, and is the one that the service knows',
    { tags: ['slow'] },
    async () => {
      const { key } = issued(await runCli(['keys', 'issue', '--admin']), 'adm');
      expect(processesIn(dataDir)).toEqual([]);
      const service = startServiceProcess();
      const api = await service.serving();
      const project = await createProject(api, key);
      expect(await terminate(service)).toBe(0);
      expect(service.stdout()).not.toContain('fl_adm_');

      const ofProject = ['--project', project.id];
      const issue = ['keys', 'issue', ...ofProject, '--member', project.ownerId];
      const member = issued(await runCli(issue), 'mem');
      const first = project.owner.key?.split('_')[2] ?? '';
      expect(await runCli(['keys', 'revoke', first, ...ofProject])).toMatchObject({ code: 0 });
      expect(processesIn(dataDir)).toEqual([]);

      const again = await startServiceProcess().serving();
      expect(await again.client(member.key).get('/keys')).toMatchObject({ status: 200 });
      expect(await again.client(project.owner.key).get('/keys')).toMatchObject({ status: 401 });
    },
  );
});
