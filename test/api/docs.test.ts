import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { createTestDatabase } from '../database/test-database.ts';
import { testEventStoreUrl } from '../event-store/test-log.ts';
import { cuttableConnection, type CuttableConnection } from '../database/cuttable-connection.ts';
import { PROJECTION_NAMES, PROJECTION_PARTS } from '../projections/projection-versions.ts';
import { problem, startTestService, type ApiClient, type TestService } from './api-client.ts';
import { pointerTo, schemaCompiler, type Operation } from './openapi-answers.ts';

const database = createTestDatabase();
const isLogElsewhere = testEventStoreUrl(database.url) !== undefined;
let connection: CuttableConnection;
let service: TestService;
let owner: ApiClient;
let anybody: ApiClient;

beforeAll(async () => {
  connection = await cuttableConnection(database.url);
  service = await startTestService(connection.url);
  ({ owner } = await service.newProject());
  anybody = service.client();
});
afterAll(async () => {
  await service.stop();
  await connection.close();
});

interface Readiness {
  readonly status: 'ok' | 'failing';
  readonly parts: Readonly<Record<string, { readonly status: string; readonly detail?: string }>>;
}

describe('/docs', () => {
  test('is where the root leads to', async () => {
    const answer = await anybody.get('//');
    expect(answer.status).toBe(302);
    expect(answer.headers.get('Location')).toBe('/docs');
  });

  test('is a page whose every part comes from this service', async () => {
    const page = await anybody.get('//docs');
    expect(page.status).toBe(200);
    expect(page.headers.get('Content-Type')).toMatch(/^text\/html; charset=utf-8$/);
    const parts = Array.from(page.text.matchAll(/(?:src|href)="([^"]*)"/g), ([, url]) => url ?? '');
    expect(parts.length).toBeGreaterThanOrEqual(3);
    const types = { css: /^text\/css/, js: /^text\/javascript/, png: /^image\/png/ };
    for (const url of parts) {
      expect(url).toMatch(/^\/[^/]/);
      const part = await anybody.get(`/${url}`);
      expect(part, url).toMatchObject({ status: 200 });
      const extension = url.split('.').at(-1) as keyof typeof types;
      expect(part.headers.get('Content-Type')).toMatch(types[extension]);
      expect(part.text.length).toBeGreaterThan(0);
    }
    expect(page.text).not.toMatch(/https?:\/\//);
    // Scripts within the page would need a policy that lets any in.
    expect(page.text).not.toMatch(/<script>|<script [^>]*>[^<]|\son\w+=/);
  });

  test('is started with the document of this service, and validates it nowhere else', async () => {
    const start = await anybody.get('//docs/start.js');
    expect(start.text).toContain(`url: '/openapi.json'`);
    expect(start.text).toContain('validatorUrl: null');
    expect(start.text).not.toMatch(/https?:\/\//);
  });

  test('has a policy that lets the browser ask no other host', async () => {
    const { headers } = await anybody.get('//docs');
    const policy = new Map(
      (headers.get('Content-Security-Policy') ?? '').split(';').map((directive) => {
        const [name = '', ...sources] = directive.trim().split(/\s+/);
        return [name, sources];
      }),
    );
    expect(policy.get('default-src')).toEqual([`'self'`]);
    expect(policy.get('script-src') ?? [`'self'`]).toEqual([`'self'`]);
    const local = new Set([`'self'`, `'none'`, `'unsafe-inline'`, 'data:']);
    for (const [name, sources] of policy) {
      expect(
        sources.filter((source) => !local.has(source)),
        name,
      ).toEqual([]);
    }
  });

  test('is reached by its link with a slash behind it, too', async () => {
    expect(await anybody.get('//docs/')).toMatchObject({ status: 200 });
  });
});

describe('/openapi.json', () => {
  const operations = (): [string, string, Operation][] =>
    Object.entries(service.document.paths).flatMap(([path, methods]) =>
      Object.entries(methods).map(
        ([method, operation]) => [path, method, operation] as [string, string, Operation],
      ),
    );

  test('is an OpenAPI 3.1 document', async () => {
    const answer = await anybody.get('//openapi.json');
    expect(answer).toMatchObject({
      status: 200,
      body: {
        openapi: expect.stringMatching(/^3\.1\.\d+$/),
        info: { title: 'Fleetledger', version: expect.stringMatching(/./) },
        servers: [{ url: '/api/v1' }],
      },
    });
    expect(answer.headers.get('Content-Type')).toBe('application/json; charset=utf-8');
  });

  test('refers only to what it holds', () => {
    const { document } = service;
    const references: string[] = [];
    JSON.stringify(document, (key, value: unknown) => {
      if (key === '$ref') references.push(String(value));
      return value;
    });
    expect(references.length).toBeGreaterThan(0);
    for (const reference of new Set(references)) {
      const target = reference
        .replace(/^#\//, '')
        .split('/')
        .reduce<unknown>(
          (at, name) =>
            (at as Record<string, unknown> | undefined)?.[
              decodeURIComponent(name).replaceAll('~1', '/').replaceAll('~0', '~')
            ],
          document,
        );
      expect(target, reference).toBeTypeOf('object');
    }
  });

  test('holds schemas that compile', () => {
    const compile = schemaCompiler(service.document);
    const pointers = Object.keys(service.document.components.schemas).map((name) =>
      pointerTo('components', 'schemas', name),
    );
    for (const [path, method, operation] of operations()) {
      const at = pointerTo('paths', path, method);
      pointers.push(
        ...(operation.parameters ?? []).map((_parameter, n) => `${at}/parameters/${n}/schema`),
        ...Object.keys(operation.requestBody?.content ?? {}).map(
          (type) => `${at}/requestBody${pointerTo('content', type, 'schema')}`,
        ),
        ...Object.entries(operation.responses).flatMap(([status, { content }]) =>
          Object.keys(content ?? {}).map(
            (type) => `${at}${pointerTo('responses', status, 'content', type, 'schema')}`,
          ),
        ),
      );
    }
    expect(pointers.length).toBeGreaterThan(100);
    for (const pointer of pointers) expect(compile(pointer), pointer).toBeTypeOf('function');
  });

  test('says of each operation what it is, what it takes and what it answers', () => {
    const ids = operations().map(([, , { operationId }]) => operationId);
    expect(new Set(ids).size).toBe(ids.length);
    for (const [path, method, operation] of operations()) {
      const where = `${method} ${path}`;
      expect(operation.summary, where).toMatch(/\w{3}/);
      const named = Array.from(path.matchAll(/\{(\w+)\}/g), ([, name]) => name);
      const parameters = operation.parameters ?? [];
      const inPath = parameters.filter((parameter) => parameter.in === 'path');
      expect(
        inPath.map(({ name }) => name),
        where,
      ).toEqual(named);
      expect(
        inPath.every(({ required }) => required === true),
        where,
      ).toBe(true);
      const statuses = Object.keys(operation.responses);
      expect(statuses.filter((status) => status.startsWith('2')).length, where).toBeGreaterThan(0);
      for (const status of ['401', '403', '422', '503']) expect(statuses, where).toContain(status);
      for (const { description } of Object.values(operation.responses)) {
        expect(description, where).toMatch(/./);
      }
      const headers = parameters.filter((parameter) => parameter.in === 'header');
      const names = headers.map(({ name }) => name);
      if (method === 'post') expect(names, where).toContain('Idempotency-Key');
      if (statuses.includes('304')) expect(names, where).toContain('If-None-Match');
      if (statuses.includes('412')) expect(names, where).toContain('If-Match');
    }
  });

  test('names the create-only patch', () => {
    const patch = service.document.paths['/sensors/{id}']?.['patch'];
    expect(patch?.parameters?.map(({ name }) => name)).toContain('If-None-Match');
  });

  test('names the headers that clients go by', () => {
    const headersOf = (path: string, method: string, status: number): string[] =>
      Object.keys(service.document.paths[path]?.[method]?.responses[String(status)]?.headers ?? {});
    expect(headersOf('/sensors/{id}', 'patch', 200)).toEqual(
      expect.arrayContaining(['ETag', 'Fleetledger-Position', 'Fleetledger-Deduplicated']),
    );
    expect(headersOf('/sensors/{id}', 'get', 304)).toContain('ETag');
    expect(headersOf('/sensors', 'get', 200)).toContain('Link');
    expect(headersOf('/devices', 'post', 201)).toEqual(
      expect.arrayContaining(['Location', 'Idempotency-Replayed']),
    );
    expect(headersOf('/devices', 'get', 401)).toContain('WWW-Authenticate');
    expect(headersOf('/devices', 'get', 503)).toContain('Retry-After');
  });
});

describe('/metrics', () => {
  test('is text that Prometheus reads', async () => {
    await owner.patch('/sensors/an-id-of-mine', { json: { data: { a: 1 } } });
    await owner.get('/no/such/path');
    const { status, headers, text } = await anybody.get('//metrics');
    expect(status).toBe(200);
    expect(headers.get('Content-Type')).toBe('text/plain; version=0.0.4; charset=utf-8');
    const sample =
      /^[a-zA-Z_:][\w:]*(\{([a-zA-Z_]\w*="(?:[^"\\\n]|\\["\\n])*",?)*\})? (-?[\d.]+(e[+-]?\d+)?|[+-]Inf|NaN)$/;
    const comment = /^# (HELP|TYPE) [a-zA-Z_:][\w:]* .+$/;
    const lines = text
      .trimEnd()
      .split('\n')
      .filter((line) => line !== '');
    for (const line of lines) expect(line).toMatch(line.startsWith('#') ? comment : sample);
    expect(text).toMatch(
      /^fleetledger_http_request_duration_seconds_count\{method="PATCH",route="\/sensors\/\{id\}",status="200"\} 1$/m,
    );
    for (const projection of PROJECTION_NAMES) {
      for (const name of ['lag_events', 'lag_seconds', 'stopped']) {
        expect(text).toMatch(
          new RegExp(`^fleetledger_projection_${name}\\{projection="${projection}"\\} \\d`, 'm'),
        );
      }
    }
  });

  test('is made once for all who ask at about the same time', async () => {
    const answers = await Promise.all(Array.from({ length: 100 }, () => anybody.get('//metrics')));
    const texts = new Set(answers.map(({ text }) => text));
    // Made for each, no two would be the same: they hold the processor time of the process.
    expect(texts.size).toBeLessThan(answers.length / 2);
  });

  test('files requests under their route, so that ids make no metrics', async () => {
    await owner.get('/sensors/an-id-of-mine');
    const { text } = await anybody.get('//metrics');
    expect(text).not.toContain('an-id-of-mine');
    expect(text).not.toContain('/no/such/path');
  });
});

describe('/health', () => {
  test('needs no key, and says what is well', async () => {
    expect(await anybody.get('//health/live')).toMatchObject({
      status: 200,
      body: { status: 'ok' },
    });
    const stores = { database: { status: 'ok' }, log: { status: 'ok' } };
    expect(await anybody.get('//health/ready')).toMatchObject({
      status: 200,
      body: { status: 'ok', parts: stores },
    });
    const health = await anybody.get<Readiness>('//health');
    expect(health).toMatchObject({ status: 200, body: { status: 'ok' } });
    expect(health.body.parts).toEqual({
      ...stores,
      ...Object.fromEntries(PROJECTION_PARTS.map((part) => [part, { status: 'ok' }])),
    });
  });

  test(
    'while the database is unavailable names it; requests are told to come back, and may',
    { tags: ['slow'] },
    async () => {
      const sensor = '/sensors/through-it-all';
      await owner.patch(sensor, { json: { data: { n: 1 } } });
      await owner.get(sensor);
      connection.interrupt();
      // An answer may be a quarter of a second old.
      await vi.waitUntil(async () => (await anybody.get('//health')).status === 503);
      for (const path of ['//health', '//health/ready']) {
        expect(await anybody.get<Readiness>(path)).toMatchObject({
          status: 503,
          body: {
            status: 'failing',
            parts: { database: { status: 'failing', detail: expect.stringMatching(/\w/) } },
          },
        });
      }
      expect(await anybody.get('//health/live')).toMatchObject({ status: 200 });
      expect(await anybody.get('//metrics')).toMatchObject({ status: 200 });
      const away = problem(503, 'store-unavailable');
      const read = await owner.get(sensor);
      expect(read).toMatchObject(away);
      expect(read.headers.get('Retry-After')).toMatch(/^\d+$/);
      const written = await owner.patch(sensor, { json: { data: { n: 2 } } });
      // With the log elsewhere, commands are carried out without the database.
      expect(written).toMatchObject(isLogElsewhere ? { status: 200 } : away);
      expect(await service.client('fl_mem_unknown_secretsecret').get(sensor)).toMatchObject(away);

      connection.restore();
      await vi.waitUntil(async () => (await anybody.get('//health/ready')).status === 200, {
        timeout: 30_000,
      });
      expect(await owner.patch(sensor, { json: { data: { n: 3 } } })).toMatchObject({
        status: 200,
      });
      expect(await owner.get(sensor)).toMatchObject({ body: { data: { current: { n: 3 } } } });
    },
  );
});
