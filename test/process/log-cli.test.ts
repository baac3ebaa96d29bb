import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { startTestService, type TestProject, type TestService } from '../api/api-client.ts';
import { createTestDatabase } from '../database/test-database.ts';
import { runCli, startCli, type Outcome } from './service-process.ts';

vi.setConfig({ testTimeout: 120_000 });

interface Item {
  readonly position: string;
  readonly stream: string;
  readonly revision: number;
  readonly type: string;
  readonly recorded_at: string;
  readonly metadata: { readonly correlationId: string };
}

const PATCHES = 400;
const database = createTestDatabase();
let service: TestService;
let project: TestProject;
let stream: string;

beforeAll(async () => {
  service = await startTestService(database.url);
  project = await service.newProject();
  stream = `sensor-${project.id}.s-1`;
  const text = 'x'.repeat(1_000);
  const items = Array.from({ length: PATCHES }, (_, n) => ({
    id: `s-${n % 2}`,
    data: { n, text },
  }));
  const answer = await project.owner.post('/sensors/patches', { json: items });
  expect(answer.status, answer.text).toBe(200);
});
afterAll(() => service.stop());

function log(...args: readonly string[]): Promise<Outcome> {
  return runCli(['log', ...args], { DATABASE_URL: database.url });
}

async function items(...args: readonly string[]): Promise<Item[]> {
  const { code, stdout, stderr } = await log('--json', ...args);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  return stdout
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line) as Item);
}

function byHttp(query = ''): Promise<Item[]> {
  return service.admin.walk<Item>(`/admin/log?limit=500&${query}`);
}

describe('the log', () => {
  test('is what the API gives, whole and oldest first', async () => {
    const all = await byHttp();
    expect(all.length).toBeGreaterThan(PATCHES);
    expect(await items()).toEqual(all);
  });

  test('has a line for each event, without --json', async () => {
    const all = await byHttp();
    const { code, stdout, stderr } = await log();
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const lines = stdout.trimEnd().split('\n');
    expect(lines).toHaveLength(all.length);
    for (const [index, item] of all.entries()) {
      const place = `${item.position} ${item.recorded_at} ${item.stream}@${item.revision}`;
      expect(lines[index]).toMatch(/^\S+ \S+ \S+ \S+ \{.{1,99}$/);
      expect(lines[index]?.startsWith(`${place} ${item.type} {`)).toBe(true);
    }
  });

  test('is filtered by stream, types and correlation', async () => {
    const all = await byHttp();
    expect(await items('--stream', stream)).toEqual(all.filter((item) => item.stream === stream));
    expect(await items('--stream', 'no-such.stream')).toEqual([]);
    const types = ['ProjectCreated', 'MemberAdded'];
    expect(await items('--type', types.join(','))).toEqual(
      all.filter(({ type }) => types.includes(type)),
    );
    const { correlationId } = (all.at(-1) as Item).metadata;
    expect(await items('--correlation', correlationId, '--stream', stream)).toEqual(
      all.filter((item) => item.stream === stream && item.metadata.correlationId === correlationId),
    );
  });

  test('begins and ends where it is told to, itself included', async () => {
    const all = await byHttp();
    const [first, last] = [all[10] as Item, all[20] as Item];
    const between = all.slice(10, 21);
    expect(await items('--from', first.position, '--to', last.position)).toEqual(between);
    expect(await items('--from', first.position, '--limit', '11')).toEqual(between);
    const times = ['--from', first.recorded_at, '--to', last.recorded_at];
    expect(await items(...times)).toEqual(
      all.filter(({ recorded_at: at }) => at >= first.recorded_at && at <= last.recorded_at),
    );
  });

  test('ends quietly when nobody reads any more', async () => {
    const reading = startCli(['log', '--json'], { DATABASE_URL: database.url });
    reading.child.stdout?.once('data', () => reading.child.stdout?.destroy());
    expect(await reading.ended()).toBe(0);
    expect(reading.stderr()).toBe('');
  });

  test.each([
    [['--limit', '0'], /--limit/],
    [['--limit', 'x'], /--limit/],
    [['--type', 'A,,B'], /--type/],
    [['--from', 'yesterday'], /^--from: 'yesterday' .*\n$/],
    [['--to', '2026-02-30T00:00:00Z'], /^--to: '2026-02-30T00:00:00Z' .*\n$/],
    [['something'], /too many arguments/],
  ])('is refused as it cannot be meant: %j', async (args, words) => {
    const { code, stdout, stderr } = await log(...args);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toMatch(words);
  });
});
