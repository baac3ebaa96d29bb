import { Agent, request as httpRequest, type IncomingMessage } from 'node:http';
import { expect } from 'vitest';
import { parseConfig, type Config } from '../../src/config.ts';
import { startService } from '../../src/service/service.ts';
import { testEventStoreUrl } from '../event-store/test-log.ts';
import { DocumentedAnswers, type OpenApiDocument, type WireAnswer } from './openapi-answers.ts';

export const BASE = '/api/v1';
export const ADMIN_KEY = 'the-admin-key-of-the-tests';

export type Method = 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE' | 'HEAD' | 'OPTIONS';

export interface SendOptions {
  /** Sent as JSON, unless `headers` name another content type. */
  readonly json?: unknown;
  /** Sent as it is. Pieces are sent one by one, without a length ahead of them. */
  readonly body?: string | Buffer | readonly (string | Buffer)[];
  readonly headers?: Readonly<Record<string, string>>;
}

export interface Answer<Body> extends WireAnswer {
  /** Parsed; undefined when there is none, or when it is not JSON. */
  readonly body: Body;
}

/** A running service, wherever it runs. */
export interface Api {
  readonly url: string;
  readonly document: OpenApiDocument;
  /** A client with a key, or with none. */
  client(key?: string): ApiClient;
  /** Gives up the connections. */
  leave(): void;
}

export async function connectTo(url: string): Promise<Api> {
  const agent = new Agent({ keepAlive: true, maxSockets: 64 });
  const document = await readDocument(url, agent);
  const answers = new DocumentedAnswers(document);
  return {
    url,
    document,
    client: (key) => new ApiClient({ url, agent, answers, key }),
    leave: () => agent.destroy(),
  };
}

export interface TestProject {
  readonly id: string;
  readonly ownerId: string;
  readonly owner: ApiClient;
}

export async function createProject(api: Api, adminKey: string): Promise<TestProject> {
  const { body } = await api
    .client(adminKey)
    .post<{ id: string; owner: { id: string; key: string } }>('/projects', {
      json: { name: 'Fleet' },
    });
  return { id: body.id, ownerId: body.owner.id, owner: api.client(body.owner.key) };
}

/** A service in this process, over a database of the test's own. */
export interface TestService extends Api {
  readonly admin: ApiClient;
  newProject(): Promise<TestProject>;
  stop(): Promise<void>;
}

export async function startTestService(
  databaseUrl: string,
  settings: Partial<Config> = {},
): Promise<TestService> {
  const running = await startService({
    ...parseConfig({}),
    port: 0,
    databaseUrl,
    eventStoreUrl: testEventStoreUrl(databaseUrl),
    dataDir: '/nowhere',
    adminApiKey: ADMIN_KEY,
    roles: ['api', 'projections'],
    logLevel: 'silent',
    // The requests of a file of tests come from one address, and as fast as they can.
    rateLimits: { perKey: 1_000_000, failuresPerAddress: 1_000_000 },
    ...settings,
  });
  if (running.server === undefined) throw new Error('the service serves no API');
  const api = await connectTo(`http://127.0.0.1:${running.server.address.port}`);
  return {
    ...api,
    admin: api.client(ADMIN_KEY),
    newProject: () => createProject(api, ADMIN_KEY),
    async stop() {
      api.leave();
      await running.stop();
    },
  };
}

async function readDocument(url: string, agent: Agent): Promise<OpenApiDocument> {
  const answer = await exchange(url, agent, 'GET', '/openapi.json', {});
  return JSON.parse(answer.text) as OpenApiDocument;
}

interface ClientParts {
  readonly url: string;
  readonly agent: Agent;
  readonly answers: DocumentedAnswers;
  readonly key: string | undefined;
}

/** Sends requests, and holds every answer against the service's own OpenAPI document. */
export class ApiClient {
  readonly key: string | undefined;
  readonly #parts: ClientParts;

  constructor(parts: ClientParts) {
    this.key = parts.key;
    this.#parts = parts;
  }

  /** `path`: below the base path, or from the root when it begins with two slashes. */
  async send<Body>(method: Method, path: string, options: SendOptions = {}): Promise<Answer<Body>> {
    const { url, agent, answers, key } = this.#parts;
    const target = path.startsWith('//') ? path.slice(1) : BASE + path;
    const headers = {
      ...(key !== undefined && { authorization: `Bearer ${key}` }),
      ...options.headers,
    };
    const answer = await exchange(url, agent, method, target, { ...options, headers });
    if (method !== 'HEAD') answers.check(method, target, answer);
    return { ...answer, body: parsed(answer) as Body };
  }

  get<Body>(path: string, options?: SendOptions): Promise<Answer<Body>> {
    return this.send('GET', path, options);
  }

  post<Body>(path: string, options?: SendOptions): Promise<Answer<Body>> {
    return this.send('POST', path, options);
  }

  put<Body>(path: string, options?: SendOptions): Promise<Answer<Body>> {
    return this.send('PUT', path, options);
  }

  patch<Body>(path: string, options?: SendOptions): Promise<Answer<Body>> {
    return this.send('PATCH', path, options);
  }

  delete<Body>(path: string, options?: SendOptions): Promise<Answer<Body>> {
    return this.send('DELETE', path, options);
  }

  /** Every item of a list, page by page along the `Link` header. */
  async walk<Item>(path: string, onPage?: (items: Item[]) => Promise<void>): Promise<Item[]> {
    const all: Item[] = [];
    let next: string | undefined = path;
    while (next !== undefined) {
      const { body, headers } = await this.get<{ items: Item[]; next: string | null }>(next);
      all.push(...body.items);
      next = nextLink(headers);
      if ((next === undefined) !== (body.next === null)) {
        throw new Error(`Link says ${next} where next says ${body.next}`);
      }
      await onPage?.(body.items);
    }
    return all;
  }
}

/** The path below the base path that `Link: <…>; rel="next"` gives. */
export function nextLink(headers: Headers): string | undefined {
  const link = headers.get('link');
  if (link === null) return undefined;
  const target = /^<([^>]+)>; rel="next"$/.exec(link)?.[1];
  if (target?.startsWith(`${BASE}/`) !== true) throw new Error(`not a link to follow: ${link}`);
  return target.slice(BASE.length);
}

/** What a problem of this status and code looks like, for `toMatchObject`. */
export function problem(status: number, code: string): object {
  return {
    status,
    body: { type: `/problems/${code}`, status, code },
  };
}

/** What a refused item of many has in its result. */
export function refusal(status: number, code: string): object {
  return {
    status,
    code,
    detail: expect.stringMatching(/./),
    ...(code === 'validation-failed' && {
      errors: expect.arrayContaining([
        { path: expect.stringMatching(/./), message: expect.stringMatching(/./) },
      ]),
    }),
  };
}

function exchange(
  url: string,
  agent: Agent,
  method: Method,
  path: string,
  { json, body = json === undefined ? undefined : JSON.stringify(json), headers }: SendOptions,
): Promise<WireAnswer> {
  const { hostname, port } = new URL(url);
  return new Promise((resolve, reject) => {
    const request = httpRequest({
      hostname,
      port,
      agent,
      method,
      path,
      headers: {
        ...(json !== undefined && { 'content-type': 'application/json' }),
        ...(isWhole(body) && { 'content-length': String(Buffer.byteLength(body)) }),
        ...lowerCased(headers),
      },
    });
    request.once('error', reject);
    request.once('response', (response) => {
      readAnswer(response).then(resolve, reject);
    });
    if (!isWhole(body)) for (const piece of body ?? []) request.write(piece);
    request.end(isWhole(body) ? body : undefined);
  });
}

function isWhole(body: SendOptions['body']): body is string | Buffer {
  return typeof body === 'string' || Buffer.isBuffer(body);
}

function lowerCased(headers: SendOptions['headers'] = {}): Record<string, string> {
  return Object.fromEntries(
    Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]),
  );
}

async function readAnswer(response: IncomingMessage): Promise<WireAnswer> {
  const chunks: Buffer[] = [];
  for await (const chunk of response as AsyncIterable<Buffer>) chunks.push(chunk);
  const headers = new Headers();
  for (let index = 0; index < response.rawHeaders.length; index += 2) {
    headers.append(response.rawHeaders[index] ?? '', response.rawHeaders[index + 1] ?? '');
  }
  return {
    status: response.statusCode ?? 0,
    headers,
    text: Buffer.concat(chunks).toString('utf8'),
  };
}

function parsed({ headers, text }: WireAnswer): unknown {
  const isJson = /[/+]json\b/.test(headers.get('content-type') ?? '');
  return isJson && text !== '' ? JSON.parse(text) : undefined;
}
