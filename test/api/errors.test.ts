import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { statusOf } from '../../src/api/problem.ts';
import { errorTable } from '../../src/shared/errors.ts';
import { createTestDatabase } from '../database/test-database.ts';
import {
  ADMIN_KEY,
  BASE,
  problem,
  startTestService,
  type ApiClient,
  type Method,
  type SendOptions,
  type TestProject,
  type TestService,
} from './api-client.ts';
import { anyRequest } from './any-request.ts';

const database = createTestDatabase();
let service: TestService;
let project: TestProject;
let owner: ApiClient;
let anybody: ApiClient;

beforeAll(async () => {
  service = await startTestService(database.url, {
    // Where nobody listens: batches are made, and nobody works on them.
    lorawanApiUrl: 'http://127.0.0.1:1',
  });
  project = await service.newProject();
  ({ owner } = project);
  anybody = service.client();
});
afterAll(() => service.stop());

interface Entry {
  readonly type: string;
  readonly code: string;
  readonly status: number;
  readonly title: string;
}

describe('the table of errors', () => {
  const entries = async (): Promise<Entry[]> =>
    (await anybody.get<{ items: Entry[] }>('//problems')).body.items;

  test('is the same in the source, in the statuses and in what the service shows', async () => {
    const expected = Object.entries(errorTable).map(([code, title]) => ({
      type: `/problems/${code}`,
      code,
      status: (statusOf as Readonly<Record<string, number>>)[code],
      title,
    }));
    expect(Object.keys(statusOf).toSorted()).toEqual(Object.keys(errorTable).toSorted());
    expect(await entries()).toEqual(expected);
  });

  test('has titles that a developer can search for', () => {
    expect(errorTable).toMatchObject({
      'not-found': 'Not found',
      'store-unavailable': 'Storage unavailable',
      overloaded: 'Service overloaded',
    });
  });

  test('holds codes of lower-case words, and statuses of errors', async () => {
    for (const { code, status, title } of await entries()) {
      expect(code).toMatch(/^[a-z]+(-[a-z]+)*$/);
      expect(status).toBeGreaterThanOrEqual(400);
      expect(status).toBeLessThan(600);
      expect(title).toMatch(/^[A-Z].*[^.]$/);
    }
  });

  test('is where the type of a problem leads', async () => {
    for (const entry of await entries()) {
      expect(await anybody.get(`/${entry.type}`)).toMatchObject({ status: 200, body: entry });
    }
    expect(await anybody.get('//problems/no-such-code')).toMatchObject(problem(404, 'not-found'));
  });

  test('is what the OpenAPI document lists, each code under its status', () => {
    const documented = Object.values(service.document.paths)
      .flatMap((methods) => Object.values(methods))
      .flatMap(({ responses }) => Object.entries(responses))
      .flatMap(([status, { content }]) =>
        Object.keys(content?.['application/problem+json']?.examples ?? {}).map((code) => ({
          code,
          status: Number(status),
        })),
      );
    for (const { code, status } of documented) {
      expect(statusOf).toHaveProperty(code, status);
    }
    // What is answered where no operation is.
    const elsewhere = ['method-not-allowed', 'range-not-satisfiable'];
    const listed = new Set([...documented.map(({ code }) => code), ...elsewhere]);
    expect([...listed].toSorted()).toEqual(Object.keys(errorTable).toSorted());
  });
});

describe('a problem', () => {
  test.each([
    ['unauthenticated', 401, 'GET', '/devices', { headers: { authorization: 'x' } }],
    ['forbidden', 403, 'POST', '/projects', { json: { name: 'x' } }],
    ['not-found', 404, 'GET', '/devices/missing', {}],
    ['method-not-allowed', 405, 'DELETE', '/devices', {}],
    ['unsupported-media-type', 415, 'POST', '/devices', { body: 'x' }],
    ['validation-failed', 422, 'POST', '/devices', { json: { dev_eui: 1, sensor_id: 2 } }],
    ['validation-failed', 422, 'GET', '/devices?limit=0&retired=x', {}],
    ['position-of-another-log', 422, 'GET', '/devices/missing?as_of=00000000-1', {}],
  ] as [string, number, Method, string, SendOptions][])(
    '%s says what it is, where it was and what to do',
    async (code, status, method, path, options) => {
      const answer = await owner.send<Record<string, unknown>>(method, path, {
        ...options,
        headers: { 'x-correlation-id': `of-${code}`, ...options.headers },
      });
      expect(answer.headers.get('Content-Type')).toBe('application/problem+json');
      const { errors, ...rest } = answer.body;
      expect(rest).toEqual({
        type: `/problems/${code}`,
        title: errorTable[code as keyof typeof errorTable],
        status,
        detail: expect.stringMatching(/^[A-Z'].*\.$/),
        code,
        instance: BASE + path.split('?')[0],
        correlation_id: `of-${code}`,
      });
      expect(answer.status).toBe(status);
      expect(answer.headers.get('X-Correlation-Id')).toBe(`of-${code}`);
      if (code !== 'validation-failed') expect(errors).toBe(undefined);
    },
  );

  test('of validation names each mistake', async () => {
    const body = await owner.post<{ errors: { path: string; message: string }[] }>('/devices', {
      json: { dev_eui: 1, sensor_id: 2 },
    });
    expect(body.body.errors.map(({ path }) => path).toSorted()).toEqual([
      'body.dev_eui',
      'body.device_id',
      'body.sensor_id',
    ]);
    const query = await owner.get<{ errors: { path: string; message: string }[] }>(
      '/devices?limit=0&retired=x',
    );
    expect(query.body.errors.map(({ path }) => path).toSorted()).toEqual([
      'query.limit',
      'query.retired',
    ]);
    for (const { message } of [...body.body.errors, ...query.body.errors]) {
      expect(message).toMatch(/\w/);
    }
  });

  test.each(['/nothing', '/api', '/api/v1', '/api/v1/nothing', '/api/v2/devices', '/docs/x.js'])(
    'is the answer at %s, where nothing is',
    async (path) => {
      for (const method of ['GET', 'POST', 'DELETE'] as const) {
        const answer = await anybody.send(method, `/${path}`);
        expect(answer).toMatchObject(problem(404, 'not-found'));
        expect(answer.headers.get('Content-Type')).toBe('application/problem+json');
      }
    },
  );

  test('of a method that is not there lists those that are', async () => {
    for (const [path, methods] of Object.entries(service.document.paths)) {
      const there = Object.keys(methods).map((method) => method.toUpperCase());
      const expected = there.includes('GET') ? [...there, 'HEAD'] : there;
      const concrete = path.replace(/\{\w+\}/g, 'some-id');
      for (const method of ['GET', 'POST', 'PUT', 'PATCH', 'DELETE'] as const) {
        // A sensor can have this name, so its path has these methods.
        if (there.includes(method) || path === '/sensors/patches') continue;
        const answer = await anybody.send(method, concrete);
        expect(answer, `${method} ${path}`).toMatchObject(problem(405, 'method-not-allowed'));
        const allowed = (answer.headers.get('Allow') ?? '').split(', ');
        expect(allowed.toSorted(), path).toEqual(expected.toSorted());
      }
    }
  });
});

describe('whatever is sent', () => {
  test('the answer is a documented one, and never that something is wrong on our side', async () => {
    const post = async (path: string, json: object): Promise<string> =>
      (await owner.post<{ key: string }>(path, { json })).body.key;
    const keys = [
      ...Array.from({ length: 12 }, () => owner.key),
      ADMIN_KEY,
      ADMIN_KEY,
      undefined,
      'fl_mem_x_y',
      await post('/members', { name: 'M', role: 'member' }),
      await post('/members', { name: 'V', role: 'viewer' }),
      await post('/devices', { device_id: 'd1', sensor_id: 's1' }),
    ];
    await owner.patch('/sensors/s1', { json: { data: { a: 1 } } });
    const request = fc.record({
      key: fc.constantFrom(...keys),
      sent: anyRequest(service.document),
    });
    const statuses = new Set<number>();
    await fc.assert(
      fc.asyncProperty(request, async ({ key, sent: { method, path, options } }) => {
        const answer = await service.client(key).send(method, path, options);
        statuses.add(answer.status);
        expect(answer.status, answer.text).toBeLessThan(500);
      }),
      { numRuns: 600 },
    );
    // So that it is known to reach behind the first checks.
    expect([...statuses]).toEqual(expect.arrayContaining([200, 404, 422]));
    expect([201, 202, 204].some((status) => statuses.has(status))).toBe(true);
  });

  test('nothing of it stops a projection', async () => {
    const minPosition = (await owner.get('/keys')).headers.get('Fleetledger-Position') ?? '';
    const headers = { 'fleetledger-min-position': minPosition };
    expect(await owner.get('/sensors', { headers })).toMatchObject({ status: 200 });
    expect(await owner.get('/devices', { headers })).toMatchObject({ status: 200 });
    expect(await anybody.get('//health/ready')).toMatchObject({ status: 200 });
    expect((await owner.walk('/sensors?limit=500')).length).toBeGreaterThan(0);
  });
});
