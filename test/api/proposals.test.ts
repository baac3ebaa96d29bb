import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startSimulator, type Simulator } from '../../src/lorawan/simulator/simulator.ts';
import { createTestDatabase } from '../database/test-database.ts';
import {
  startTestService,
  type ApiClient,
  type Method,
  type TestProject,
  type TestService,
} from './api-client.ts';
import {
  pointerTo,
  schemaCompiler,
  type Content,
  type OpenApiDocument,
  type Operation,
  type Parameter,
} from './openapi-answers.ts';

/**
 * What Swagger UI fills in when somebody opens an operation at /docs, and sends on "Execute": for
 * each parameter its example, else its default; for the body the example of its content type. All
 * else is empty, and the reader adds the ids of a project of theirs.
 */

const database = createTestDatabase();
const idleDatabase = createTestDatabase();
let provider: Simulator;
let service: TestService;
/** No projection runs in it, so a rebuild that is requested stays there to be cancelled. */
let idle: TestService;
let project: TestProject;
let device: ApiClient;
let batch: { readonly id: string; readonly deveuis: readonly string[] };

beforeAll(async () => {
  provider = await startSimulator({});
  service = await startTestService(database.url, {
    lorawanApiUrl: provider.url,
    roles: ['api', 'projections', 'provisioning'],
  });
  idle = await startTestService(idleDatabase.url, { roles: ['api'] });
  project = await service.newProject();
  const { owner } = project;
  const links = { device_id: 'real', sensor_id: 'real-sensor' };
  device = service.client(
    (await owner.post<{ key: string }>('/devices', { json: links })).body.key,
  );
  await owner.patch('/sensors/real-sensor', { json: { data: { on: true } } });
  await owner.put('/inventory/89440001', { json: { org_id: 'x00g8' } });
  await owner.post('/usage', {
    json: { 'sim-card-id': '89440001', 'bytes-used': 7, date: '2026-01-15T00:00:00Z' },
  });
  // The body of the transfer names it.
  await service.admin.post('/projects', { json: { id: 'another-project', name: 'Another' } });
  batch = await newBatch();
});
afterAll(async () => {
  await idle.stop();
  await service.stop();
  await provider.close();
});

async function newBatch(): Promise<typeof batch> {
  const options = { json: { batch_size: 1 }, headers: { prefer: 'wait=30' } };
  return (await project.owner.post<typeof batch>('/batches', options)).body;
}

let names = 0;
async function newDevice(): Promise<{ readonly device_id: string; readonly key: string }> {
  names += 1;
  const json = { device_id: `device-${names}` };
  return (await project.owner.post<{ device_id: string; key: string }>('/devices', { json })).body;
}

async function newMember(): Promise<string> {
  const json = { name: 'M', role: 'viewer' };
  return (await project.owner.post<{ id: string }>('/members', { json })).body.id;
}

async function newWebhook(): Promise<string> {
  const json = { url: 'https://hooks.example/events' };
  return (await project.owner.post<{ id: string }>('/webhooks', { json })).body.id;
}

async function newReplay(projection: string, action: string): Promise<string> {
  const path = `/admin/projections/${projection}/${action}`;
  return (await idle.admin.post<{ id: string }>(path)).body.id;
}

/**
 * The ids of a project, by what the first parameter of a path names. What is used up is made anew.
 */
const REAL_IDS: Readonly<Record<string, (proposal: Proposal) => Promise<string> | string>> = {
  '/projects/{id}': () => project.id,
  '/members/{id}': newMember,
  '/keys/{id}': async () => (await newDevice()).key.split('_')[2] ?? '',
  '/devices/{id}': async ({ method, path }) =>
    method === 'DELETE' || path.endsWith('/transfer') ? (await newDevice()).device_id : 'real',
  '/organization/{id}': () => 'x00g8',
  '/simcard/{id}': () => '89440001',
  '/inventory/{sim}': () => '89440001',
  '/sensors/{id}': () => 'real-sensor',
  '/batches/{id}': async ({ method }) => (method === 'DELETE' ? await newBatch() : batch).id,
  '/batch/{id}': async ({ method }) => (method === 'DELETE' ? await newBatch() : batch).id,
  '/deveuis/{deveui}': () => batch.deveuis[0] ?? '',
  '/webhooks/{id}': newWebhook,
  '/admin/projections/{name}': ({ path }) => (path.endsWith('/verify') ? 'firmware' : 'state'),
  '/admin/rebuilds/{id}': ({ method }) =>
    newReplay(method === 'GET' ? 'usage' : 'state', 'rebuild'),
  '/admin/verifications/{id}': ({ method }) =>
    newReplay(method === 'GET' ? 'deveui' : 'firmware', 'verify'),
};

/** Ids in queries, which the reader has to fill in. */
const REAL_PARAMETERS: Readonly<Record<string, () => string>> = {
  device_id: () => 'real',
  project: () => project.id,
};

/** Nothing is stopped that could be retried or skipped. */
const CONFLICTS = new Set(['/admin/projections/{name}/retry', '/admin/projections/{name}/skip']);

interface Proposal {
  readonly method: Method;
  readonly path: string;
  readonly operation: Operation;
  readonly contentType: string | undefined;
}

function proposalsOf(document: OpenApiDocument): Proposal[] {
  return Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).flatMap(([method, operation]) =>
      Object.keys(operation.requestBody?.content ?? { none: {} }).map((type) => ({
        method: method.toUpperCase() as Method,
        path,
        operation,
        contentType: type === 'none' ? undefined : type,
      })),
    ),
  );
}

interface Proposing {
  readonly example?: unknown;
  readonly default?: unknown;
  readonly enum?: readonly unknown[];
}

function proposedValue(parameter: Parameter): unknown {
  const { example, required, schema } = parameter as Parameter & Proposing;
  const { enum: values, ...proposing }: Proposing = schema;
  const proposed = example ?? proposing.example ?? proposing.default;
  return proposed ?? (required === true ? values?.[0] : undefined);
}

function clientFor({ path, operation }: Proposal): ApiClient {
  const keys =
    /Allowed keys: ([\w, ]+)\./.exec(operation.description ?? '')?.[1]?.split(', ') ?? [];
  if (/^\/admin\/(rebuilds|verifications)\/\{id\}/.test(path)) return idle.admin;
  if (keys.includes('owner')) return project.owner;
  return keys.includes('admin') ? service.admin : device;
}

async function sendProposal(proposal: Proposal) {
  const { method, path, operation, contentType } = proposal;
  let target = path;
  const query = new URLSearchParams();
  const headers: Record<string, string> = {};
  for (const parameter of operation.parameters ?? []) {
    const { name, required } = parameter;
    const proposed = proposedValue(parameter);
    if (parameter.in === 'path') {
      const template = /^[^{]*\{\w+\}/.exec(path)?.[0] ?? '';
      const isFirst = template.endsWith(`{${name}}`);
      const value = isFirst ? await REAL_IDS[template]?.(proposal) : '1';
      if (value === undefined) throw new Error(`say in REAL_IDS what ${template} names`);
      target = target.replace(`{${name}}`, encodeURIComponent(value));
    } else {
      const value = proposed ?? (required === true ? REAL_PARAMETERS[name]?.() : undefined);
      if (value === undefined) continue;
      const text = typeof value === 'string' ? value : JSON.stringify(value);
      if (parameter.in === 'query') query.set(name, text);
      else headers[name] = text;
    }
  }
  const example: unknown = contentOf(proposal)?.example;
  const body = typeof example === 'string' ? example : JSON.stringify(example);
  return clientFor(proposal).send<Body>(
    method,
    query.size > 0 ? `${target}?${query.toString()}` : target,
    {
      ...(contentType !== undefined && { body }),
      headers: { ...headers, ...(contentType !== undefined && { 'content-type': contentType }) },
    },
  );
}

interface Body {
  readonly results?: readonly { readonly status: number }[];
  readonly rejected?: readonly unknown[];
  readonly items?: readonly unknown[];
}

function contentOf({ operation, contentType }: Proposal): Content[string] | undefined {
  return operation.requestBody?.content[contentType ?? ''];
}

describe('what the documentation proposes', () => {
  test('for a parameter that may be left out is its default, or nothing', () => {
    for (const { method, path, operation } of proposalsOf(service.document)) {
      for (const parameter of operation.parameters ?? []) {
        if (parameter.required === true) continue;
        const { default: byDefault }: Proposing = parameter.schema;
        expect(proposedValue(parameter), `${method} ${path} ${parameter.name}`).toBe(byDefault);
      }
    }
  });

  test('as a body is one that the schema takes', () => {
    const compile = schemaCompiler(service.document);
    for (const proposal of proposalsOf(service.document)) {
      const { method, path, contentType } = proposal;
      if (contentType === undefined) continue;
      const where = `${method} ${path} ${contentType}`;
      expect(contentOf(proposal)?.example, where).toBeDefined();
      const pointer = pointerTo('paths', path, method.toLowerCase(), 'requestBody', 'content');
      const isTaken = compile(`${pointer}${pointerTo(contentType, 'schema')}`);
      expect(isTaken(contentOf(proposal)?.example), where).toBe(true);
    }
  });

  test('works in every operation, with the ids of a project', async () => {
    const sent = new Set<unknown>();
    for (const proposal of proposalsOf(service.document)) {
      const { method, path, contentType } = proposal;
      const where = `${method} ${path} ${contentType ?? ''}`;
      // A table has several content types, and a device can be registered once.
      const table =
        contentType?.includes('json') === true ? undefined : contentOf(proposal)?.example;
      if (table !== undefined && sent.has(table)) continue;
      sent.add(table);
      const { status, text, body } = await sendProposal(proposal);
      if (CONFLICTS.has(path)) {
        expect(status, where).toBe(409);
        continue;
      }
      expect(status, `${where}: ${text}`).toBeLessThan(300);
      for (const result of body?.results ?? []) expect(result.status, text).toBeLessThan(300);
      expect(body?.rejected ?? [], where).toEqual([]);
    }
  });

  test('shows usage where there is some', async () => {
    const usages = proposalsOf(service.document).filter(({ path }) => path.endsWith('}/usage'));
    expect(usages.length).toBe(2);
    for (const usage of usages) {
      expect((await sendProposal(usage)).body.items?.length).toBeGreaterThan(0);
    }
  });
});
