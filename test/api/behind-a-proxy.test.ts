import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createTestDatabase } from '../database/test-database.ts';
import { problem, startTestService, type ApiClient, type TestService } from './api-client.ts';

const ORIGIN = 'https://console.example.com';
const FAILURES = 2;
const database = createTestDatabase();
let service: TestService;
let owner: ApiClient;

beforeAll(async () => {
  service = await startTestService(database.url, {
    corsOrigins: [ORIGIN],
    trustedProxies: ['loopback'],
    rateLimits: { perKey: 1_000_000, failuresPerAddress: FAILURES },
  });
  ({ owner } = await service.newProject());
});
afterAll(() => service.stop());

const below = { 'X-Forwarded-Prefix': '/fleet/ledger' };

describe('below a path of a proxy', () => {
  test('Location, Link and links in bodies begin with that path', async () => {
    const made = await owner.post('/devices', { json: { device_id: 'd1' }, headers: below });
    await owner.post('/devices', { json: { device_id: 'd2' } });
    const page = await owner.get('/devices?limit=1', { headers: below });

    expect(made.headers.get('Location')).toBe('/fleet/ledger/api/v1/devices/d1');
    expect(page.headers.get('Link')).toMatch(
      /^<\/fleet\/ledger\/api\/v1\/devices\?limit=1&cursor=\S+>; rel="next"$/,
    );
  });

  test('a repeated request is answered for the path that it came by', async () => {
    const request = { json: { device_id: 'd3' }, headers: { 'Idempotency-Key': 'once' } };
    const first = await owner.post('/devices', request);
    const again = await owner.post('/devices', {
      ...request,
      headers: { ...request.headers, ...below },
    });

    expect(first.headers.get('Location')).toBe('/api/v1/devices/d3');
    expect(again.headers.get('Idempotency-Replayed')).toBe('true');
    expect(again.headers.get('Location')).toBe('/fleet/ledger/api/v1/devices/d3');
  });

  test('a problem links to the page that explains it', async () => {
    const { body } = await owner.get('/devices/none', { headers: below });
    expect(body).toMatchObject({
      type: '/fleet/ledger/problems/not-found',
      instance: '/fleet/ledger/api/v1/devices/none',
    });
    for (const path of ['/problems', '/problems/not-found']) {
      const page = await (await fetch(service.url + path, { headers: below })).text();
      expect(page).toContain('"type":"/fleet/ledger/problems/not-found"');
    }
  });

  test('the documents link to each other, and the root leads to them', async () => {
    const read = async (path: string): Promise<string> => {
      const answer = await fetch(service.url + path, { headers: below, redirect: 'manual' });
      return answer.headers.get('Location') ?? (await answer.text());
    };

    expect(JSON.parse(await read('/openapi.json'))).toMatchObject({
      servers: [{ url: '/fleet/ledger/api/v1' }],
    });
    const page = await read('/docs');
    expect(page).toContain('src="/fleet/ledger/docs/swagger-ui-bundle.js"');
    expect(page).not.toMatch(/(src|href)="\/docs/);
    expect(await read('/docs/start.js')).toContain("url: '/fleet/ledger/openapi.json'");
    expect(await read('/')).toMatch(/^\/fleet\/ledger\//);
  });

  test.each([
    ['//evil.example.com', ''],
    ['https://evil.example.com', ''],
    ['/a/../b', ''],
    ['/a"onload="x', ''],
    ['/', ''],
    [`/${'a'.repeat(300)}`, ''],
    ['/a/', '/a'],
    ['/outer, /inner', '/outer/inner'],
  ])('%j counts as the prefix %j', async (sent, prefix) => {
    const answer = await fetch(`${service.url}/openapi.json`, {
      headers: { 'X-Forwarded-Prefix': sent },
    });
    expect(await answer.json()).toMatchObject({ servers: [{ url: `${prefix}/api/v1` }] });
  });
});

describe('a page of another origin', () => {
  const preflight = (origin: string): Promise<Response> =>
    fetch(`${service.url}/api/v1/devices`, {
      method: 'OPTIONS',
      headers: {
        Origin: origin,
        'Access-Control-Request-Method': 'POST',
        'Access-Control-Request-Headers': 'authorization,idempotency-key,content-type',
      },
    });

  test('may send the requests of the API and read its headers, if the origin is allowed', async () => {
    const { status, headers } = await preflight(ORIGIN);
    expect(status).toBe(204);
    expect(headers.get('Access-Control-Allow-Origin')).toBe(ORIGIN);
    expect(headers.get('Access-Control-Allow-Methods')).toContain('PATCH');
    expect(headers.get('Access-Control-Allow-Headers')).toContain('idempotency-key');
    expect(headers.get('Vary')).toContain('Origin');

    const answer = await owner.get('/devices', { headers: { Origin: ORIGIN } });
    expect(answer.headers.get('Access-Control-Allow-Origin')).toBe(ORIGIN);
    expect(answer.headers.get('Access-Control-Expose-Headers')).toContain('Fleetledger-Position');
  });

  test('may read a refusal, too', async () => {
    const answer = await owner.get('/devices/none', { headers: { Origin: ORIGIN } });
    expect(answer).toMatchObject(problem(404, 'not-found'));
    expect(answer.headers.get('Access-Control-Allow-Origin')).toBe(ORIGIN);
  });

  test('may not, if its origin is not allowed', async () => {
    const { headers } = await preflight('https://evil.example.com');
    expect(headers.get('Access-Control-Allow-Origin')).toBeNull();
  });
});

describe('requests without a valid key', () => {
  const strangerAt = (address: string): Promise<{ status: number }> =>
    service.client(undefined).get('/devices', { headers: { 'X-Forwarded-For': address } });

  test('are counted by the address that a trusted proxy names', async () => {
    for (let count = 0; count < FAILURES; count += 1) {
      expect((await strangerAt('203.0.113.7')).status).toBe(401);
    }
    expect((await strangerAt('203.0.113.7')).status).toBe(429);
    // What the client itself claims stands before what the proxy saw, and does not count.
    expect((await strangerAt('198.51.100.1, 203.0.113.7')).status).toBe(429);
    expect((await strangerAt('203.0.113.8')).status).toBe(401);
  });
});

test('without settings no page of another origin is allowed, and no proxy is believed', async () => {
  const plain = await startTestService(database.url, {
    rateLimits: { perKey: 1_000_000, failuresPerAddress: 1 },
  });
  try {
    const answer = await plain.admin.get('/projects', { headers: { Origin: ORIGIN } });
    expect(answer.headers.get('Access-Control-Allow-Origin')).toBeNull();
    const statuses: number[] = [];
    for (const address of ['203.0.113.1', '203.0.113.2']) {
      const headers = { 'X-Forwarded-For': address };
      statuses.push((await plain.client(undefined).get('/devices', { headers })).status);
    }
    expect(statuses).toEqual([401, 429]);
  } finally {
    await plain.stop();
  }
});
