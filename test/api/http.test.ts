import { once } from 'node:events';
import { connect } from 'node:net';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { faultOfConnection } from '../../src/api/http-faults.ts';
import { createTestDatabase } from '../database/test-database.ts';
import {
  BASE,
  problem,
  startTestService,
  type ApiClient,
  type Method,
  type TestService,
} from './api-client.ts';

const database = createTestDatabase();
let service: TestService;
let owner: ApiClient;
let anybody: ApiClient;
let deviceKey: string;

beforeAll(async () => {
  service = await startTestService(database.url, { lorawanApiUrl: 'http://127.0.0.1:1' });
  ({ owner } = await service.newProject());
  anybody = service.client();
  const device = { device_id: 'd1', sensor_id: 's1' };
  deviceKey = (await owner.post<{ key: string }>('/devices', { json: device })).body.key;
  await owner.patch('/sensors/s1', { json: { data: { a: 1 } } });
});
afterAll(() => service.stop());

interface RawAnswer {
  readonly status: number;
  readonly head: string;
  readonly body: Record<string, unknown> | undefined;
}

/** Sends bytes as they are, and reads until the server closes the connection. */
async function sendRaw(text: string): Promise<RawAnswer> {
  const { hostname, port } = new URL(service.url);
  const socket = connect(Number(port), hostname);
  const chunks: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => chunks.push(chunk));
  socket.on('error', () => undefined);
  socket.write(text);
  await once(socket, 'close');
  const [head = '', body = ''] = Buffer.concat(chunks).toString('utf8').split('\r\n\r\n');
  const isProblem = /application\/problem\+json/i.test(head);
  return {
    status: Number(head.split(' ')[1]),
    head,
    body: isProblem ? (JSON.parse(body) as Record<string, unknown>) : undefined,
  };
}

describe('a message that is not HTTP as it should be', () => {
  const auth = (): string => `Authorization: Bearer ${owner.key}\r\nConnection: close`;

  test.each([
    [
      'has two Host headers',
      400,
      'bad-request',
      'GET /docs HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n',
    ],
    ['has no Host header', 400, 'bad-request', 'GET /docs HTTP/1.1\r\n\r\n'],
    ['is of no known form', 400, 'bad-request', 'NONSENSE\r\n\r\n'],
    [
      'has a bad port in its target',
      400,
      'bad-request',
      `GET http://x:99999${BASE}/devices HTTP/1.1\r\nHost: x\r\n\r\n`,
    ],
    [
      'has headers without end',
      431,
      'headers-too-large',
      `GET / HTTP/1.1\r\nHost: x\r\nX: ${'x'.repeat(20_000)}\r\n\r\n`,
    ],
  ])('is answered with a problem where it %s', async (_what, status, code, text) => {
    const answer = await sendRaw(text);

    expect(answer.status).toBe(status);
    expect(answer.body).toMatchObject({ type: `/problems/${code}`, status, code });
    expect(answer.head).toMatch(/^connection: close$/im);
    expect(answer.head).toMatch(/^x-correlation-id: [-0-9a-f]{36}$/im);
    expect(answer.head).not.toMatch(/fleetledger-position/i);
  });

  test('is answered with 408 where it does not arrive in time', () => {
    const error = Object.assign(new Error('timeout'), { code: 'ERR_HTTP_REQUEST_TIMEOUT' });
    expect(faultOfConnection(error).code).toBe('request-timeout');
  });

  test.each([
    [
      'a whole URL, as proxies send it',
      () => `GET http://x:80${BASE}/devices/d1 HTTP/1.1\r\nHost: x\r\n${auth()}\r\n\r\n`,
    ],
    [
      'HTTP/1.0 without a Host header',
      () => `GET ${BASE}/devices/d1 HTTP/1.0\r\n${auth()}\r\n\r\n`,
    ],
  ])('is not %s', async (_what, text) => {
    expect((await sendRaw(text())).status).toBe(200);
  });

  test('with a URL that names no path asks for the root', async () => {
    expect(
      (await sendRaw('GET http://x?a=1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')).status,
    ).toBe(302);
  });
});

describe('a key', () => {
  const asked = (headers: Record<string, string>) => anybody.get('/sensors/s1', { headers });

  test.each([
    ['X-Device-Api-Key', 'Basic dXNlcjpwYXNzd29yZA=='],
    ['X-Device-Api-Key', ''],
    ['X-Device-Api-Key', 'Bearer'],
    ['X-Project-Membership-Api-Key', 'Basic dXNlcjpwYXNzd29yZA=='],
    ['X-Project-Membership-Api-Key', ''],
    ['X-Project-Membership-Api-Key', 'Digest username="a"'],
  ])('in %s counts beside Authorization: %s', async (name, authorization) => {
    const key = name === 'X-Device-Api-Key' ? deviceKey : (owner.key ?? '');
    expect(await asked({ authorization, [name]: key })).toMatchObject({ status: 200 });
  });

  test('as Bearer counts before the others, also when it is not valid', async () => {
    const key = { 'x-device-api-key': deviceKey };
    expect(await asked({ authorization: 'Bearer x', ...key })).toMatchObject({ status: 401 });
    expect(await asked({ authorization: `Bearer ${deviceKey} x`, ...key })).toMatchObject({
      status: 401,
    });
  });

  test('is asked for where another scheme is all that is sent', async () => {
    const answer = await asked({ authorization: 'Basic dXNlcjpwYXNzd29yZA==' });
    expect(answer).toMatchObject(problem(401, 'unauthenticated'));
    expect(answer.headers.get('WWW-Authenticate')).toMatch(/^Bearer/);
  });

  test('that is sent as a correlation id is neither sent back nor recorded', async () => {
    const headers = { 'x-correlation-id': deviceKey };
    const answer = await owner.patch('/sensors/s1', { json: { data: { a: 2 } }, headers });

    expect(answer.headers.get('X-Correlation-Id')).toMatch(/^[-0-9a-f]{36}$/);
    expect((await service.admin.get('/admin/log?type=SensorPatched')).text).not.toContain(
      deviceKey,
    );
  });

  test('in a path is not recorded with the request', async () => {
    const path = `/members/${owner.key}/keys`;
    const answer = await owner.post(path, { headers: { 'idempotency-key': 'k' } });

    expect(answer).toMatchObject(problem(404, 'not-found'));
    expect(
      (await service.admin.get('/admin/log?type=RequestReserved,RequestAnswered')).text,
    ).not.toContain(owner.key);
  });
});

test('who has no valid key is not told the position of the log', async () => {
  const requests: [Method, string][] = [
    ['GET', '/sensors'],
    ['GET', '/no/such/path'],
    ['DELETE', '/sensors'],
    ['GET', '/sensors/%ff'],
  ];
  for (const [method, path] of requests) {
    const { status, headers } = await anybody.send(method, path);
    expect(status).toBeGreaterThanOrEqual(400);
    expect(headers.get('Fleetledger-Position'), path).toBe(null);
  }
  expect((await owner.get('/sensors/none')).headers.get('Fleetledger-Position')).not.toBe(null);
});

describe('conditions', () => {
  test('of HEAD are those of GET', async () => {
    const etag = (await owner.get('/sensors/s1')).headers.get('ETag') ?? '';
    const headers = { 'if-none-match': etag };

    expect(await owner.send('HEAD', '/sensors/s1', { headers })).toMatchObject({ status: 304 });
    expect(await owner.send('HEAD', '/sensors/s1')).toMatchObject({ status: 200, text: '' });
  });

  test.each([
    ['Range', 'bytes=99999999-', 416, 'range-not-satisfiable'],
    ['If-Match', '"other"', 412, 'precondition-failed'],
    ['If-Unmodified-Since', 'Thu, 01 Jan 1970 00:00:00 GMT', 412, 'precondition-failed'],
  ])('of a file are answered: %s: %s', async (name, value, status, code) => {
    const answer = await anybody.get('//docs/swagger-ui.css', { headers: { [name]: value } });

    expect(answer).toMatchObject(problem(status, code));
    if (status === 416) expect(answer.headers.get('Content-Range')).toMatch(/^bytes \*\/\d+$/);
  });
});

describe('pages outside the API', () => {
  test.each([
    '/health/live',
    '/health/ready',
    '/metrics',
    '/docs',
    '/docs/swagger-ui.css',
    '/openapi.json',
    '/problems',
    '/problems/not-found',
  ])('%s answers GET and HEAD, and says so to other methods', async (path) => {
    expect(await anybody.get(`/${path}`)).toMatchObject({ status: 200 });
    expect(await anybody.send('HEAD', `/${path}`)).toMatchObject({ status: 200, text: '' });
    for (const method of ['POST', 'PUT', 'DELETE'] as const) {
      const answer = await anybody.send(method, `/${path}`);
      expect(answer).toMatchObject(problem(405, 'method-not-allowed'));
      expect(answer.headers.get('Allow')).toBe('GET, HEAD');
    }
  });

  test.each([
    '/docs/index.html',
    '/docs/swagger-initializer.js',
    '/docs/swagger-ui.css.map',
    '/docs/package.json',
    '/docs/swagger-ui-bundle.js.map',
  ])('%s of the package of Swagger UI is not served', async (path) => {
    expect(await anybody.get(`/${path}`)).toMatchObject(problem(404, 'not-found'));
  });

  test('the documentation does not store the keys that are pasted into it', async () => {
    expect((await anybody.get('//docs/start.js')).text).toContain('persistAuthorization: false');
  });
});

describe('a whole number in a query', () => {
  test.each([
    '1e2',
    '0x10',
    '%2B5',
    '5.0',
    '%205',
    '05x',
    '',
    '-1',
    '0',
    '501',
    '99999999999999999999',
  ])('is not limit=%s', async (text) => {
    expect(await owner.get(`/sensors?limit=${text}`)).toMatchObject(
      problem(422, 'validation-failed'),
    );
    expect(await owner.get(`/inventory?size=${text}`)).toMatchObject(
      problem(422, 'validation-failed'),
    );
  });

  test('is digits', async () => {
    expect(await owner.get('/sensors?limit=1')).toMatchObject({ status: 200 });
    expect(await owner.get('/inventory?page=007&size=100')).toMatchObject({
      status: 200,
      body: { page: 7, size: 100 },
    });
    expect(await owner.get('/usage/simcards')).toMatchObject({ body: { page: 1, size: 50 } });
  });
});

describe('the ids . and ..', () => {
  test.each(['.', '..'])('%s are refused in a path and in a body', async (id) => {
    const encoded = id.replaceAll('.', '%2E');
    const refused = problem(422, 'validation-failed');
    expect(await owner.patch(`/sensors/${encoded}`, { json: { data: {} } })).toMatchObject(refused);
    expect(await owner.put(`/inventory/${encoded}`, { json: { org_id: 'o' } })).toMatchObject(
      refused,
    );
    expect(await owner.put('/inventory/sim', { json: { org_id: id } })).toMatchObject(refused);
    expect(await owner.post('/devices', { json: { device_id: id } })).toMatchObject(refused);
    const usage = { 'sim-card-id': id, 'bytes-used': 1, date: '2026-01-01T00:00:00Z' };
    expect(await owner.post('/usage', { json: usage })).toMatchObject({ body: { accepted: 0 } });
  });
});

describe('the version of a device', () => {
  test('may have a build, whose + a query decodes to a blank', async () => {
    const report = { version: '1.0.0+build.7', timestamp: 1_767_225_600 };
    await service.client(deviceKey).post('/firmware', { json: report });
    for (const version of ['1.0.0+build.7', '1.0.0%2Bbuild.7']) {
      expect(await owner.get(`/devices?version=${version}`)).toMatchObject({
        body: { items: [{ device_id: 'd1' }] },
      });
    }
  });
});

describe('a position beyond the end of the log', () => {
  const beyond = (digits: string): string => {
    return `${position.split('-')[0]}-${digits}`;
  };
  let position: string;
  beforeAll(async () => {
    position = (await owner.get('/sensors/s1')).headers.get('Fleetledger-Position') ?? '';
  });

  test.each(['100000000000000000', '9999999999999999999'])(
    'is refused wherever one is taken: %s',
    async (digits) => {
      const refused = problem(422, 'position-of-another-log');
      const headers = { 'fleetledger-min-position': beyond(digits) };
      expect(await owner.get('/sensors', { headers })).toMatchObject(refused);
      expect(await owner.patch('/sensors/s1', { json: { data: {} }, headers })).toMatchObject(
        refused,
      );
      for (const path of [
        '/sensors/s1',
        '/devices/d1',
        '/devices/d1/timeline',
        '/firmware/versions',
        '/usage/organizations',
      ]) {
        expect(await owner.get(`${path}?as_of=${beyond(digits)}`), path).toMatchObject(refused);
      }
      for (const name of ['from', 'to']) {
        expect(await service.admin.get(`/admin/log?${name}=${beyond(digits)}`)).toMatchObject(
          refused,
        );
      }
    },
  );

  test('is refused in a cursor, and so is a cursor of another log', async () => {
    await owner.post('/devices', { json: { device_id: 'd2' } });
    const { body } = await owner.get<{ next: string }>('/devices?limit=1');
    const cursor = JSON.parse(Buffer.from(body.next, 'base64url').toString()) as object;
    const page = (changes: object) => {
      const changed = Buffer.from(JSON.stringify({ ...cursor, ...changes })).toString('base64url');
      return owner.get(`/devices?limit=1&cursor=${changed}`);
    };

    expect(await page({})).toMatchObject({ status: 200 });
    expect(await page({ asOf: '100000000000000000' })).toMatchObject(
      problem(422, 'position-of-another-log'),
    );
    for (const changes of [
      { asOf: '9'.repeat(19) },
      { asOf: '9'.repeat(40) },
      { log: '00000000' },
    ]) {
      expect(await page(changes)).toMatchObject(problem(422, 'validation-failed'));
    }
  });

  test('is none that an answer has given', async () => {
    const headers = { 'fleetledger-min-position': position };
    expect(await owner.get('/sensors', { headers })).toMatchObject({ status: 200 });
    const other = await startTestService(database.url, { roles: ['api'] });
    try {
      const patched = await owner.patch('/sensors/s1', { json: { data: { a: 3 } } });
      const seen = patched.headers.get('Fleetledger-Position') ?? '';
      const asked = { headers: { 'fleetledger-min-position': seen } };
      const answer = await other.client(owner.key).get('/sensors/s1', asked);
      expect(answer).toMatchObject({ status: 200, body: { data: { current: { a: 3 } } } });
    } finally {
      await other.stop();
    }
  });
});

describe('a body', () => {
  test('in chunks may be empty where it may be left out', async () => {
    for (const headers of [{}, { 'content-type': 'application/json' }]) {
      // Pieces are sent without a length ahead of them.
      const batch = await owner.post('/batches', {
        body: [''],
        headers: { 'transfer-encoding': 'chunked', ...headers },
      });
      expect(batch).toMatchObject({ status: 201, body: { counts: { requested: 100 } } });
    }
  });

  test('that is not empty needs its content type there, too', async () => {
    expect(await owner.post('/batches', { body: '{"batch_size":1}' })).toMatchObject(
      problem(415, 'unsupported-media-type'),
    );
  });

  test.each(['gzip', 'x-gzip', 'X-GZIP', 'identity, gzip'])('may be sent as %s', async (coding) => {
    const body = gzipSync('{"data":{"coded":true}}');
    const headers = { 'content-type': 'application/json', 'content-encoding': coding };
    expect(await owner.patch('/sensors/s2', { body, headers })).toMatchObject({ status: 200 });
  });

  test.each(['', 'identity', ' '])('is plain with Content-Encoding: "%s"', async (coding) => {
    const headers = { 'content-encoding': coding };
    const json = { data: { plain: true } };
    expect(await owner.patch('/sensors/s2', { json, headers })).toMatchObject({ status: 200 });
  });

  test.each(['zstd', 'gzip, gzip', 'x'])(
    'is not taken with Content-Encoding: %s',
    async (coding) => {
      const headers = { 'content-encoding': coding };
      const answer = await owner.patch('/sensors/s2', { json: { data: {} }, headers });
      expect(answer).toMatchObject(problem(415, 'unsupported-media-type'));
    },
  );
});
