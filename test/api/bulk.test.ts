import { once } from 'node:events';
import { request as httpRequest } from 'node:http';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import type { JsonObject } from '../../src/shared/json.ts';
import { createTestDatabase } from '../database/test-database.ts';
import {
  problem,
  refusal,
  startTestService,
  type Answer,
  type ApiClient,
  type SendOptions,
  type TestService,
} from './api-client.ts';

const database = createTestDatabase();
let service: TestService;
let owner: ApiClient;

beforeAll(async () => {
  service = await startTestService(database.url);
  ({ owner } = await service.newProject());
});
afterAll(() => service.stop());

interface Result {
  readonly id: string | null;
  readonly status: number;
  readonly revision?: number;
  readonly deduplicated?: string;
  readonly code?: string;
}

interface HistoryEntry {
  readonly revision: number;
  readonly patch: JsonObject;
}

type Headers = Readonly<Record<string, string>>;
const NDJSON = { 'content-type': 'application/x-ndjson' };

let sensors = 0;

/** The id of a sensor that no other test knows. */
function newSensor(): string {
  sensors += 1;
  return `s${sensors}`;
}

/** A sensor that takes every patch as new, so that each effect shows. */
async function newCountingSensor(): Promise<string> {
  const id = newSensor();
  await owner.put(`/sensors/${id}/dedup`, { json: { strategy: 'none' } });
  return id;
}

function post(options: SendOptions): Promise<Answer<{ results: Result[] }>> {
  return owner.post('/sensors/patches', options);
}

function postLines(
  body: SendOptions['body'],
  headers: Headers = {},
): Promise<Answer<{ results: Result[] }>> {
  return post({
    ...(body !== undefined && { body }),
    headers: { ...NDJSON, ...headers },
  });
}

function lines(items: readonly unknown[]): string {
  return items.map((item) => `${JSON.stringify(item)}\n`).join('');
}

async function patches(id: string): Promise<JsonObject[]> {
  const entries = await owner.walk<HistoryEntry>(`/sensors/${id}/history?limit=500`);
  return entries.toReversed().map(({ patch }) => patch);
}

/** Both ways to send the same items. */
const WAYS = [
  [
    'an array',
    (items: readonly unknown[], headers: Headers = {}): SendOptions => ({ json: items, headers }),
  ],
  [
    'NDJSON',
    (items: readonly unknown[], headers: Headers = {}): SendOptions => ({
      body: lines(items),
      headers: { ...NDJSON, ...headers },
    }),
  ],
] as const;

describe.each(WAYS)('many patches as %s', (_way, as) => {
  const send = (
    items: readonly unknown[],
    headers?: Headers,
  ): Promise<Answer<{ results: Result[] }>> => post(as(items, headers));

  test('are answered one by one, in the order in which they were sent', async () => {
    const [a, b, c] = [newSensor(), newSensor(), newSensor()];
    const answer = await send([
      { id: c, data: { n: 1 } },
      { id: a, data: { n: 1 } },
      { id: b, data: {} },
      { id: a, data: { n: 2 } },
      { id: a, data: { n: 2 } },
    ]);
    expect(answer.body.results).toEqual([
      { id: c, status: 200, revision: 0 },
      { id: a, status: 200, revision: 0 },
      { id: b, status: 200, revision: 0 },
      { id: a, status: 200, revision: 1 },
      { id: a, status: 200, revision: 1, deduplicated: 'unchanged' },
    ]);
    expect(await patches(a)).toEqual([{ n: 1 }, { n: 2 }]);
  });

  test('are read back at the position that the answer carries', async () => {
    const id = newSensor();
    const { headers } = await send([{ id, data: { n: 1 } }]);
    const minPosition = headers.get('Fleetledger-Position') ?? '';
    const read = await owner.get(`/sensors/${id}`, {
      headers: { 'fleetledger-min-position': minPosition },
    });
    expect(read).toMatchObject({ status: 200, body: { data: { current: { n: 1 } } } });
    const history = await owner.get(`/sensors/${id}?as_of=${minPosition}`);
    expect(history).toMatchObject({ status: 200, body: { data: { current: { n: 1 } } } });
  });

  test('stop for no bad one among them', async () => {
    const [first, last] = [newSensor(), newSensor()];
    const bad = [
      null,
      'x',
      [],
      {},
      { data: {} },
      { id: 1, data: {} },
      { id: '', data: {} },
      { id: 'x'.repeat(257), data: {} },
      { id: 'no-data' },
      { id: 'list', data: [] },
      { id: 'broken', data: {}, sequence: 'x' },
      { id: 'when', data: {}, timestamp: '0000-01-01T00:00:00Z' },
      { id: 'large', data: { a: 'x'.repeat(65_536) } },
    ];
    const answer = await send([{ id: first, data: {} }, ...bad, { id: last, data: {} }]);
    expect(answer.body.results).toEqual([
      { id: first, status: 200, revision: 0 },
      ...bad.map((item) => ({
        id: idIn(item),
        ...refusal(422, 'validation-failed'),
      })),
      { id: last, status: 200, revision: 0 },
    ]);
    for (const id of ['no-data', 'list', 'broken', 'when', 'large']) {
      expect(await owner.get(`/sensors/${id}`)).toMatchObject(problem(404, 'not-found'));
    }
  });

  test('carry what a single one may carry', async () => {
    const id = newSensor();
    await owner.put(`/sensors/${id}/dedup`, { json: { strategy: 'message-id' } });
    const item = { id, data: { n: 1 }, message_id: 'm', timestamp: '2022-02-18T00:00:00Z' };
    const { body } = await send([item, { ...item, data: { n: 2 } }]);
    expect(body.results).toMatchObject([{ status: 200 }, { deduplicated: 'message-id' }]);
    expect(await owner.walk(`/sensors/${id}/history`)).toMatchObject([
      { patch: { n: 1 }, occurred_at: '2022-02-18T00:00:00.000Z' },
    ]);
  });

  test('for one sensor are applied in the order in which they were sent', async () => {
    const rules = [{ strategy: 'none' }, { strategy: 'message-id' }, { strategy: 'sequence' }];
    for (const rule of rules) {
      const id = newSensor();
      await owner.put(`/sensors/${id}/dedup`, { json: rule });
      const numbers = Array.from({ length: 700 }, (_, n) => n);
      const { body } = await send(
        numbers.map((n) => ({ id, data: { n }, message_id: `m${n}`, sequence: n })),
      );
      expect(body.results.filter(({ deduplicated }) => deduplicated !== undefined)).toEqual([]);
      expect(await patches(id)).toEqual(numbers.map((n) => ({ n })));
    }
  });

  test('may be none', async () => {
    expect(await send([])).toMatchObject({ status: 200, body: { results: [] } });
  });

  test('may be 10,000', { tags: ['slow', 'size'] }, async () => {
    const { owner: member } = await service.newProject();
    const items = Array.from({ length: 10_000 }, (_, n) => ({ id: `s${n}`, data: { n } }));
    const answer = await member.post<{ results: Result[] }>('/sensors/patches', as(items));
    expect(answer.body.results).toEqual(items.map(({ id }) => ({ id, status: 200, revision: 0 })));
    const listed = await member.walk<{ id: string }>('/sensors?limit=500');
    expect(listed).toHaveLength(10_000);
  });

  test('of a device are taken for its own sensor alone', async () => {
    const [own, other] = [newSensor(), newSensor()];
    const { body } = await owner.post<{ key: string }>('/devices', {
      json: { device_id: own, sensor_id: own },
    });
    const items = [own, other, own].map((id, n) => ({ id, data: { n } }));
    const device = service.client(body.key);
    const answer = await device.post<{ results: Result[] }>('/sensors/patches', as(items));
    expect(answer.body.results).toEqual([
      { id: own, status: 200, revision: 0 },
      { id: other, ...refusal(403, 'forbidden') },
      { id: own, status: 200, revision: 1 },
    ]);
    expect(await owner.get(`/sensors/${other}`)).toMatchObject(problem(404, 'not-found'));
  });

  test('sent again with their Idempotency-Key change nothing', async () => {
    const [a, b] = [await newCountingSensor(), await newCountingSensor()];
    const items = [
      { id: a, data: { n: 1 } },
      { id: b, data: { n: 1 } },
      { id: a, data: { n: 1 } },
      { id: a },
    ];
    const key = { 'idempotency-key': `again-${a}` };
    const first = await send(items, key);
    expect(first.headers.has('Idempotency-Replayed')).toBe(false);
    const second = await send(items, key);
    expect(second.body).toEqual(first.body);
    expect(second.headers.get('Idempotency-Replayed')).toBe('true');
    expect(await patches(a)).toEqual([{ n: 1 }, { n: 1 }]);
    expect(await patches(b)).toEqual([{ n: 1 }]);
    await send(items);
    expect(await patches(a)).toHaveLength(4);
  });

  test('sent many times at once with one Idempotency-Key have one effect', async () => {
    const id = await newCountingSensor();
    const items = Array.from({ length: 50 }, (_, n) => ({ id, data: { n } }));
    const answers = await Promise.all(
      Array.from({ length: 8 }, () => send(items, { 'idempotency-key': `at-once-${id}` })),
    );
    expect(new Set(answers.map(({ text }) => text)).size).toBe(1);
    expect(await patches(id)).toEqual(items.map(({ data }) => data));
  });
});

function idIn(item: unknown): string | null {
  const id = typeof item === 'object' && item !== null && 'id' in item ? item.id : null;
  return typeof id === 'string' ? id : null;
}

describe('an array of patches', () => {
  test('may hold no more than 10,000', async () => {
    const items = Array.from({ length: 10_001 }, (_, n) => ({ id: `never${n}`, data: {} }));
    expect(await post({ json: items })).toMatchObject(problem(422, 'validation-failed'));
    expect(await owner.get('/sensors/never0')).toMatchObject(problem(404, 'not-found'));
  });

  test.each([{}, { id: 'a', data: {} }, 'x', null, 1])('is not %j', async (json) => {
    expect(await post({ json })).toMatchObject(problem(422, 'validation-failed'));
  });

  test('is refused whole when it is not JSON, or too large', async () => {
    const headers = { 'content-type': 'application/json' };
    expect(await post({ body: '[{"id":"a"', headers })).toMatchObject(
      problem(400, 'malformed-json'),
    );
    const large = `["${'x'.repeat(17_000_000)}"]`;
    expect(await post({ body: large, headers })).toMatchObject(problem(413, 'body-too-large'));
  });

  test('is not sent under the Idempotency-Key of another', async () => {
    const id = await newCountingSensor();
    const headers = { 'idempotency-key': `other-${id}` };
    await post({ json: [{ id, data: { n: 1 } }], headers });
    expect(await post({ json: [{ id, data: { n: 2 } }], headers })).toMatchObject(
      problem(422, 'idempotency-key-reused'),
    );
    expect(await patches(id)).toEqual([{ n: 1 }]);
  });

  test('may hold one that nests by the thousand: it is refused alone', async () => {
    const id = newSensor();
    const deep = `${'{"a":'.repeat(20_000)}1${'}'.repeat(20_000)}`;
    const body = `[{"id":"${id}","data":{}},{"id":"deep","data":${deep}},{"id":"${id}","data":{"n":1}}]`;
    for (const key of [{}, { 'idempotency-key': `deep-${id}` }]) {
      const answer = await post({ body, headers: { 'content-type': 'application/json', ...key } });
      expect(answer.body.results).toMatchObject([
        { id, status: 200 },
        { id: 'deep', ...refusal(422, 'validation-failed') },
        { id, status: 200 },
      ]);
    }
  });

  test('with the longest ids is repeated too', { tags: ['slow', 'size'] }, async () => {
    const prefix = newSensor();
    const items = Array.from({ length: 10_000 }, (_, n) => ({
      id: `${prefix}-${n}`.padStart(256, 'ü'),
      data: { n },
    }));
    const headers = { 'idempotency-key': prefix };
    const first = await post({ json: items, headers });
    expect(first.status).toBe(200);
    const second = await post({ json: items, headers });
    expect(second.headers.get('Idempotency-Replayed')).toBe('true');
    expect(second.text).toBe(first.text);
  });
});

describe('a stream of lines', () => {
  test.each(['application/x-ndjson', 'application/ndjson', 'application/jsonl; charset=utf-8'])(
    'may be sent as %s',
    async (type) => {
      const id = newSensor();
      const answer = await postLines(lines([{ id, data: {} }]), { 'content-type': type });
      expect(answer.body.results).toEqual([{ id, status: 200, revision: 0 }]);
      expect(answer.headers.get('Content-Type')).toBe('application/json; charset=utf-8');
    },
  );

  test('may hold blank lines, carriage returns, and end without a newline', async () => {
    const id = newSensor();
    const { body } = await postLines(
      `\n\r\n{"id":"${id}","data":{"n":1}}\r\n  \n{"id":"${id}","data":{"n":2}}`,
    );
    expect(body.results).toMatchObject([{ revision: 0 }, { revision: 1 }]);
  });

  test('may be cut anywhere on its way', async () => {
    const id = newSensor();
    const bytes = Buffer.from(lines([{ id, data: { text: '💡 ü' } }]));
    const answer = await postLines(Array.from(bytes, (byte) => Buffer.from([byte])));
    expect(answer.body.results).toEqual([{ id, status: 200, revision: 0 }]);
    expect(await patches(id)).toEqual([{ text: '💡 ü' }]);
  });

  test('continues after a line that is no JSON', async () => {
    const id = newSensor();
    const good = `{"id":"${id}","data":{}}`;
    const malformed = { id: null, ...refusal(400, 'malformed-json') };
    const { body } = await postLines(
      Buffer.concat([
        Buffer.from(`nope\n${good}\n{"id":\n`),
        Buffer.from(`{"id":"${id}","data":{"a":"\xff"}}\n`, 'latin1'),
        Buffer.from(`${good}\n{"id":"${id}","data":{"a":1e999}}\n`),
      ]),
    );
    expect(body.results).toEqual([
      malformed,
      { id, status: 200, revision: 0 },
      malformed,
      malformed,
      { id, status: 200, revision: 0, deduplicated: 'unchanged' },
      { id, ...refusal(422, 'validation-failed') },
    ]);
    expect(await patches(id)).toEqual([{}]);
  });

  test('may be compressed', async () => {
    const id = newSensor();
    const zipped = gzipSync(lines([{ id, data: { n: 1 } }]));
    const { body } = await postLines(zipped, { 'content-encoding': 'gzip' });
    expect(body.results).toEqual([{ id, status: 200, revision: 0 }]);
    expect(await postLines(zipped, { 'content-encoding': 'zip' })).toMatchObject(
      problem(415, 'unsupported-media-type'),
    );
  });

  test('may be longer than any array', { tags: ['slow', 'size'] }, async () => {
    const id = await newCountingSensor();
    const numbers = Array.from({ length: 25_000 }, (_, n) => n);
    const { body } = await postLines(numbers.map((n) => `{"id":"${id}","data":{"n":${n}}}\n`));
    expect(body.results.map(({ revision }) => revision)).toEqual(numbers.map((n) => n + 1));
  });

  test('continues after a line that is larger than any may be', async () => {
    const id = newSensor();
    const good = `{"id":"${id}","data":{}}`;
    const { body } = await postLines(`${good}\n"${'x'.repeat(1_000_000)}"\n${good}\n`);
    expect(body.results).toEqual([
      { id, status: 200, revision: 0 },
      { id: null, ...refusal(400, 'malformed-json') },
      { id, status: 200, revision: 0, deduplicated: 'unchanged' },
    ]);
  });

  test('whose encoding breaks off keeps what could be read', async () => {
    const id = newSensor();
    const zipped = gzipSync(
      lines([
        { id, data: { n: 1 } },
        { id, data: { n: 2 } },
      ]),
      { level: 0 },
    );
    const broken = { id: null, ...refusal(400, 'malformed-json') };
    const cut = await postLines(zipped.subarray(0, -12), { 'content-encoding': 'gzip' });
    expect(cut.body.results).toEqual([{ id, status: 200, revision: 0 }, broken]);
    const garbage = await postLines('garbage', { 'content-encoding': 'br' });
    expect(garbage.body.results).toEqual([broken]);
  });

  test('that was cut off is sent again under its key: the lines that were taken stay', async () => {
    const id = await newCountingSensor();
    const all = Array.from({ length: 1_200 }, (_, n) => ({ id, data: { n } }));
    const key = { 'idempotency-key': `cut-${id}` };
    const cut = httpRequest(`${service.url}/api/v1/sensors/patches`, {
      method: 'POST',
      headers: { ...NDJSON, ...key, authorization: `Bearer ${owner.key}` },
    });
    const lost = once(cut, 'error');
    cut.write(lines(all.slice(0, 700)));
    await vi.waitUntil(async () => (await owner.get(`/sensors/${id}`)).status === 200, 20_000);
    cut.destroy(new Error('cut off'));
    await lost;
    const { body } = await postLines(lines(all), key);
    expect(body.results.map(({ revision }) => revision)).toEqual(all.map((_, n) => n + 1));
    expect(await patches(id)).toEqual(all.map(({ data }) => data));
  });

  test('that comes again with more lines takes those that are new', async () => {
    const id = await newCountingSensor();
    const all = Array.from({ length: 6 }, (_, n) => ({ id, data: { n } }));
    const key = { 'idempotency-key': `more-${id}` };
    await postLines(lines(all.slice(0, 3)), key);
    const { body } = await postLines(lines(all), key);
    expect(body.results.map(({ revision }) => revision)).toEqual([1, 2, 3, 4, 5, 6]);
    expect(await patches(id)).toEqual(all.map(({ data }) => data));
  });

  test('that comes again with other lines is refused', async () => {
    const id = await newCountingSensor();
    const [one, two, other] = [1, 2, 3].map((n) => `{"id":"${id}","data":{"n":${n}}}\n`);
    const key = { 'idempotency-key': `other-lines-${id}` };
    await postLines(`${one}${two}`, key);
    for (const body of [`${one}${other}`, `${one}`, `\n${one}${two}`, `${other}${two}${one}`]) {
      expect(await postLines(body, key)).toMatchObject(problem(422, 'idempotency-key-reused'));
    }
    expect(await patches(id)).toEqual([{ n: 1 }, { n: 2 }]);
  });

  test('that comes again changes nothing, also where it had changed nothing', async () => {
    const id = newSensor();
    const body = lines([
      { id, data: { n: 1 } },
      { id, data: { n: 1 } },
    ]);
    const key = { 'idempotency-key': `nothing-${id}` };
    const first = await postLines(body, key);
    await owner.patch(`/sensors/${id}`, { json: { data: { n: 2 } } });
    const again = await postLines(body, key);
    expect(again.headers.get('Idempotency-Replayed')).toBe('true');
    expect(again.body.results.map(({ status }) => status)).toEqual(
      first.body.results.map(({ status }) => status),
    );
    expect(await patches(id)).toEqual([{ n: 1 }, { n: 2 }]);
  });

  test('is known by key and line: the same line under another key counts again', async () => {
    const id = await newCountingSensor();
    const body = lines([{ id, data: { n: 1 } }]);
    await postLines(body, { 'idempotency-key': `one-${id}` });
    await postLines(body, { 'idempotency-key': `two-${id}` });
    expect(await patches(id)).toEqual([{ n: 1 }, { n: 1 }]);
  });
});
