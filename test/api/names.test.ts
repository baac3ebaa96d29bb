import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createTestDatabase } from '../database/test-database.ts';
import { problem, startTestService, type ApiClient, type TestService } from './api-client.ts';
import type { Operation } from './openapi-answers.ts';

const database = createTestDatabase();
let service: TestService;
let owner: ApiClient;
let device: ApiClient;

beforeAll(async () => {
  service = await startTestService(database.url, { lorawanApiUrl: 'http://127.0.0.1:1' });
  ({ owner } = await service.newProject());
  const { body } = await owner.post<{ key: string }>('/devices', {
    json: { device_id: 'd1', sensor_id: 's1' },
  });
  device = service.client(body.key);
});
afterAll(() => service.stop());

interface Shape {
  readonly type?: string;
  readonly additionalProperties?: unknown;
  readonly oneOf?: readonly Shape[];
}

interface Invalid {
  readonly detail: string;
  readonly errors: readonly { readonly path: string; readonly message: string }[];
}

describe('an unknown query parameter', () => {
  test.each([
    ['/usage/organizations?from=2026-01-01', 'from', undefined],
    ['/usage/simcards?timezone=Europe/Berlin', 'timezone', 'time_zone'],
    ['/key?as_of=2026-01-01T00:00:00Z', 'as_of', undefined],
    ['/devices?has_deveui=true', 'has_deveui', 'has_dev_eui'],
    ['/sensors?Limit=1', 'Limit', 'limit'],
  ])(
    'of %s is refused, and the answer names those that are allowed',
    async (path, name, closest) => {
      const answer = await owner.get<Invalid>(path);

      expect(answer).toMatchObject(problem(422, 'validation-failed'));
      expect(answer.body.errors.map((error) => error.path)).toEqual([`query.${name}`]);
      expect(answer.body.detail).toContain(`Query parameter '${name}' is unknown`);
      if (closest !== undefined) expect(answer.body.detail).toContain(`did you mean '${closest}'?`);
      const { parameters = [] } = operationAt(path.split('?')[0] ?? '', 'get');
      for (const parameter of parameters.filter((one) => one.in === 'query')) {
        expect(answer.body.detail).toContain(parameter.name);
      }
    },
  );

  test('is refused by every operation, also where none is allowed', async () => {
    for (const [path, methods] of Object.entries(service.document.paths)) {
      for (const method of Object.keys(methods)) {
        if (path.startsWith('/admin/') || path.endsWith('/transfer')) continue;
        const target = `${path.replace('{n}', '1').replace('{deveui}', '0'.repeat(16))}?no_such=1`;
        const client = path === '/firmware' && method === 'post' ? device : owner;
        const answer = await client.send<Invalid>(
          method.toUpperCase() as 'GET',
          target.replace(/\{\w+\}/g, 'some-id'),
        );
        if (method === 'post' && path === '/projects') continue;
        expect(answer.body, `${method} ${path}`).toMatchObject({
          code: path === '/firmware' ? 'bad-request' : 'validation-failed',
          detail: expect.stringContaining(`'no_such' is unknown`),
        });
      }
    }
  });

  test('keeps a batch from being registered with the default size', async () => {
    const refused = await owner.post('/batches?batch_size=2');

    expect(refused).toMatchObject(problem(422, 'validation-failed'));
    expect(await owner.get('/batches')).toMatchObject({ body: { items: [] } });
  });

  function operationAt(path: string, method: string): Operation {
    const operation = service.document.paths[path]?.[method];
    if (operation === undefined) throw new Error(`no ${method} ${path}`);
    return operation;
  }
});

describe('a query', () => {
  test.each([
    '/devices?version=%ff',
    '/devices?%c3%28=1',
    '/devices?limit=1%',
    '/sensors?%ed%a0%80',
  ])('that is not UTF-8 is refused: %s', async (path) => {
    expect(await owner.get(path)).toMatchObject(problem(422, 'validation-failed'));
  });

  test('names each parameter once', async () => {
    const answer = await owner.get<Invalid>('/sensors?limit=1&limit=2');

    expect(answer).toMatchObject(problem(422, 'validation-failed'));
    expect(answer.body.detail).toContain('limit');
  });
});

describe('an unknown member of a body', () => {
  test.each([
    ['POST', '/batches', { size: 2 }, 'body.size', 'batch_size'],
    ['POST', '/batches', { batch_sise: 2 }, 'body.batch_sise', 'batch_size'],
    ['POST', '/members', { name: 'M', roll: 'viewer' }, 'body.roll', 'role'],
    ['POST', '/devices', { device_id: 'd2', DevEUI: '0' }, 'body.DevEUI', 'dev_eui'],
    ['POST', '/devices', { 'device-id': 'd2' }, 'body.device-id', 'device_id'],
    ['PATCH', '/devices/d1', { sensorid: 's2' }, 'body.sensorid', 'sensor_id'],
    ['PUT', '/inventory/sim', { org_id: 'o', form: '2026-01-01' }, 'body.form', 'from'],
    ['PATCH', '/sensors/s1', { data: {}, messageId: 'm' }, 'body.messageId', 'message_id'],
    ['PUT', '/sensors/s1/dedup', { strategy: 'window', second: 5 }, 'body.second', 'seconds'],
    ['PUT', '/sensors/s1/dedup', { strategy: 'none', bits: 5 }, 'body.bits', null],
    ['POST', '/devices/d1/keys', { name: 'k' }, 'body.name', undefined],
  ] as const)('of %s %s %j is refused, with the closest known one', async (...given) => {
    const [method, path, json, wrong, closest] = given;

    const answer = await owner.send<Invalid>(method, path, { json });

    expect(answer).toMatchObject(problem(422, 'validation-failed'));
    expect(answer.body.errors[0]?.path).toBe(wrong);
    expect(answer.body.detail).toContain(
      closest === undefined
        ? 'none is allowed here'
        : closest === null
          ? 'is unknown: allowed are strategy.'
          : `did you mean '${closest}'?`,
    );
  });

  test('is refused wherever the document allows no others, which is everywhere but in usage and firmware', () => {
    for (const [path, methods] of Object.entries(service.document.paths)) {
      for (const [method, { requestBody }] of Object.entries(methods)) {
        const schema: Shape | undefined = requestBody?.content['application/json']?.schema;
        if (schema === undefined || ['/firmware', '/usage'].includes(path)) continue;
        for (const shape of schema.oneOf ?? [schema]) {
          if (shape.type !== 'object') continue;
          expect(shape.additionalProperties, `${method} ${path}`).toBe(false);
        }
      }
    }
  });

  test('is listed with all others, up to a bound', async () => {
    const json = Object.fromEntries(Array.from({ length: 5_000 }, (_, n) => [`x${n}`, n]));

    const { body } = await owner.post<Invalid>('/members', { json });

    expect(body.errors.length).toBeGreaterThan(2);
    expect(body.errors.length).toBeLessThan(100);
  });

  test('is taken in what devices report', async () => {
    const report = { version: '1.0.0', timestamp: 1_767_225_600, battery: 87 };
    expect(await device.post('/firmware', { json: report })).toMatchObject({ status: 202 });
    const usage = {
      'sim-card-id': '89440001',
      'bytes-used': 1,
      date: '2026-01-01T00:00:00Z',
      apn: 'iot',
    };
    expect(await owner.post('/usage', { json: usage })).toMatchObject({ body: { accepted: 1 } });
    expect(await device.patch('/sensors/s1', { json: { data: { anything: 1 } } })).toMatchObject({
      status: 200,
    });
  });
});
