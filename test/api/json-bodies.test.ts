import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createTestDatabase } from '../database/test-database.ts';
import { problem, startTestService, type ApiClient, type TestService } from './api-client.ts';

const database = createTestDatabase();
const JSON_TYPE = { 'content-type': 'application/json' };
const NDJSON = { 'content-type': 'application/x-ndjson' };
const UNSAFE = '9007199254740993';
let service: TestService;
let owner: ApiClient;

beforeAll(async () => {
  service = await startTestService(database.url);
  ({ owner } = await service.newProject());
});
afterAll(() => service.stop());

describe('an integer beyond 2^53', () => {
  test('in a state is refused with its path, and changes nothing', async () => {
    const body = `{"data":{"meter":{"total":[1,${UNSAFE}]}}}`;
    expect(await owner.send('PATCH', '/sensors/s1', { body, headers: JSON_TYPE })).toMatchObject({
      ...problem(422, 'validation-failed'),
      body: { errors: [{ path: 'body.data.meter.total.1' }] },
    });
    const bare = { 'content-type': 'application/merge-patch+json' };
    expect(
      await owner.send('PATCH', '/sensors/s1', { body: `{"total":-${UNSAFE}}`, headers: bare }),
    ).toMatchObject({
      ...problem(422, 'validation-failed'),
      body: { errors: [{ path: 'body.total' }] },
    });
    expect(await owner.get('/sensors/s1')).toMatchObject(problem(404, 'not-found'));
  });

  test.each(['9007199254740993.0', '9.007199254740993e15', '1e20'])(
    'written as %s is refused with its path',
    async (number) => {
      const body = `{"data":{"a":${number}}}`;
      expect(await owner.send('PATCH', '/sensors/s1', { body, headers: JSON_TYPE })).toMatchObject({
        ...problem(422, 'validation-failed'),
        body: { errors: [{ path: 'body.data.a' }] },
      });
    },
  );

  test('as text, and the greatest that is exact, are kept as they were sent', async () => {
    const data = { exact: Number.MAX_SAFE_INTEGER, text: UNSAFE, float: 1.5 };
    await owner.patch('/sensors/s2', { json: { data } });
    const { body } = await owner.get('/sensors/s2');
    expect(body).toMatchObject({ data: { current: data } });
  });

  test('in one of many patches refuses that one alone, in an array and in lines', async () => {
    const good = '{"id":"s3","data":{"n":1}}';
    const bad = `{"id":"s4","data":{"n":${UNSAFE}}}`;
    for (const [body, headers] of [
      [`[${bad},${good}]`, JSON_TYPE],
      [`${bad}\n${good}\n`, NDJSON],
    ] as const) {
      const answer = await owner.post('/sensors/patches', { body, headers });
      expect(answer.body).toMatchObject({
        results: [
          { id: 's4', status: 422, errors: [{ path: 'body.data.n' }] },
          { id: 's3', status: 200 },
        ],
      });
    }
    expect(await owner.get('/sensors/s4')).toMatchObject(problem(404, 'not-found'));
  });

  test('in one of many records rejects that one alone, with its path', async () => {
    const record = (more: string): string =>
      `{"sim-card-id":"1","bytes-used":1,"date":"2022-02-18T00:00:00Z"${more}}`;
    const bad = record(`,"cell":{"id":${UNSAFE}}`);
    for (const [body, headers] of [
      [`[${bad},${record('')}]`, JSON_TYPE],
      [`${bad}\n${record('')}\n`, NDJSON],
    ] as const) {
      expect((await owner.post('/usage', { body, headers })).body).toMatchObject({
        accepted: 1,
        rejected: [{ index: 0, detail: expect.stringMatching(/^cell\.id must be/) as string }],
      });
    }
  });
});

describe('a body', () => {
  test('may begin with a byte order mark, as JSON and in lines', async () => {
    const patched = await owner.send('PATCH', '/sensors/s5', {
      body: '\ufeff{"data":{"a":1}}',
      headers: JSON_TYPE,
    });
    expect(patched.status).toBe(200);
    const { body } = await owner.post('/sensors/patches', {
      body: '\ufeff{"id":"s5","data":{"a":2}}\n',
      headers: NDJSON,
    });
    expect(body).toMatchObject({ results: [{ id: 's5', status: 200 }] });
  });

  test('has null for what it leaves out, whether alone or among others', async () => {
    const data = { a: 1 };
    const absent = { message_id: null, sequence: null, timestamp: null };
    const patched = await owner.patch('/sensors/s6', { json: { data, ...absent } });
    expect(patched.status).toBe(200);
    const { body } = await owner.post('/sensors/patches', {
      json: [{ id: 's6', data: { a: 2 }, ...absent }],
    });
    expect(body).toMatchObject({ results: [{ id: 's6', status: 200 }] });
    const record = { 'sim-card-id': '1', 'bytes-used': 1, date: '2022-02-18T00:00:00Z', id: null };
    expect((await owner.post('/usage', { json: [record, record] })).body).toMatchObject({
      accepted: 2,
      duplicates: 0,
    });
  });

  test('with null for what is needed lacks it', async () => {
    expect(await owner.patch('/sensors/s7', { json: { data: null } })).toMatchObject({
      ...problem(422, 'validation-failed'),
      body: { errors: [{ path: 'body.data' }] },
    });
    expect(await owner.post('/members', { json: { name: null, role: 'owner' } })).toMatchObject({
      ...problem(422, 'validation-failed'),
      body: { errors: [{ path: 'body.name' }] },
    });
  });

  test('has null in a patch for what is to be removed', async () => {
    await owner.patch('/sensors/s8', { json: { data: { a: 1, b: 2 } } });
    await owner.patch('/sensors/s8', { json: { data: { a: null } } });
    const { body } = await owner.get('/sensors/s8');
    expect(body).toMatchObject({ data: { current: { b: 2 } } });
  });
});
