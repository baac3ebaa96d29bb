import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { networkOf } from '../../src/api/rate-limits.ts';
import { createTestDatabase } from '../database/test-database.ts';
import { problem, startTestService, type ApiClient, type TestService } from './api-client.ts';

const PER_KEY = 5;
const FAILURES = 3;
const database = createTestDatabase();
let service: TestService;
let owner: ApiClient;

beforeAll(async () => {
  service = await startTestService(database.url, {
    rateLimits: { perKey: PER_KEY, failuresPerAddress: FAILURES },
  });
  ({ owner } = await service.newProject());
});
afterAll(() => service.stop());

describe('the requests of a key', () => {
  test('say what is left to it', async () => {
    const { headers } = await owner.get('/devices');
    expect(headers.get('RateLimit-Policy')).toBe('"key";q=5;w=1');
    expect(headers.get('RateLimit')).toMatch(/^"key";r=\d;t=1$/);
  });

  test('are refused beyond its limit and change nothing; other keys and later requests are answered', async () => {
    const { owner: another } = await service.newProject();
    const answers = await Promise.all(
      Array.from({ length: 100 }, (_, n) => owner.patch(`/sensors/s${n}`, { json: { data: {} } })),
    );
    const refused = answers.filter(({ status }) => status !== 200);
    expect(refused.length).toBeGreaterThan(0);
    for (const answer of refused) {
      expect(answer).toMatchObject(problem(429, 'too-many-requests'));
      expect(answer.headers.get('Retry-After')).toBe('1');
      expect(answer.headers.get('RateLimit')).toBe('"key";r=0;t=1');
    }
    expect(await another.get('/devices')).toMatchObject({ status: 200 });
    const listed = await vi.waitFor(
      async () => {
        const answer = await owner.get<{ items: unknown[] }>('/sensors?limit=500');
        expect(answer.status).toBe(200);
        return answer;
      },
      { timeout: 20_000 },
    );
    expect(listed.body.items).toHaveLength(answers.length - refused.length);
  });
});

describe('an address that sends too many requests without a valid key', () => {
  test('is refused without a query, which keys that are in use do not notice', async () => {
    const { owner: inUse } = await service.newProject();
    const { body: member } = await inUse.post<{ key: string }>('/members', {
      json: { name: 'New', role: 'member' },
    });
    const strangers = [undefined, 'malformed', 'fl_mem_unknown_secretsecret'];
    for (const key of strangers) {
      expect(await service.client(key).get('/devices')).toMatchObject(
        problem(401, 'unauthenticated'),
      );
    }
    // A key that nobody has used yet would have to be looked up.
    for (const key of [...strangers, member.key]) {
      const answer = await service.client(key).get('/devices');
      expect(answer).toMatchObject(problem(429, 'too-many-requests'));
      expect(Number(answer.headers.get('Retry-After'))).toBeGreaterThan(0);
      expect(answer.headers.get('RateLimit-Policy')).toBe('"failed-authentication";q=3;w=60');
      expect(answer.headers.has('Fleetledger-Position')).toBe(false);
    }
    expect(await inUse.get('/devices')).toMatchObject({ status: 200 });
    expect(await service.admin.get('/projects')).toMatchObject({ status: 200 });
  });
});

test.each([
  ['192.0.2.7', '192.0.2.7'],
  ['::ffff:192.0.2.7', '192.0.2.7'],
  ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
  ['2001:db8:1:2::9', '2001:db8:1:2::/64'],
  ['2001:db8::9', '2001:db8:0:0::/64'],
  ['fe80::1%eth0', 'fe80:0:0:0::/64'],
  ['::1', '0:0:0:0::/64'],
  ['', ''],
])('%s counts as %s', (address, network) => {
  expect(networkOf(address)).toBe(network);
});
