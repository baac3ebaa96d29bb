import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import type { JsonObject } from '../../src/shared/json.ts';
import { mergePatch } from '../../src/shared/merge-patch.ts';
import { createTestDatabase } from '../database/test-database.ts';
import {
  nextLink,
  problem,
  startTestService,
  type Answer,
  type ApiClient,
  type TestService,
} from './api-client.ts';

const database = createTestDatabase();
let service: TestService;
let owner: ApiClient;
let projectId: string;

beforeAll(async () => {
  service = await startTestService(database.url);
  ({ owner, id: projectId } = await service.newProject());
});
afterAll(() => service.stop());

interface Sensor {
  readonly data: { readonly current: JsonObject };
  readonly revision: number;
  readonly updated_at: string;
}

interface HistoryEntry {
  readonly revision: number;
  readonly patch: JsonObject;
  readonly state: JsonObject;
  readonly occurred_at: string | null;
  readonly recorded_at: string;
  readonly actor: string;
}

let sensors = 0;

/** The path of a sensor that no other test knows. */
function newSensor(): string {
  sensors += 1;
  return `/sensors/s${sensors}`;
}

function patch(
  sensor: string,
  data: JsonObject,
  more: JsonObject = {},
): Promise<Answer<{ data: JsonObject }>> {
  return owner.patch(sensor, { json: { data, ...more } });
}

async function current(sensor: string): Promise<JsonObject> {
  return (await owner.get<Sensor>(sensor)).body.data.current;
}

function history(sensor: string): Promise<HistoryEntry[]> {
  return owner.walk<HistoryEntry>(`${sensor}/history`);
}

function position({ headers }: Answer<unknown>): bigint {
  return BigInt(headers.get('Fleetledger-Position')?.split('-')[1] ?? '');
}

/** The log's clock has moved on, so that the next event has a time of its own. */
async function nextMillisecond(): Promise<void> {
  const since = Date.now();
  await vi.waitUntil(() => Date.now() > since, { interval: 1 });
}

/** An object that nests so many levels. */
function nested(levels: number): JsonObject {
  return levels === 1 ? {} : { a: nested(levels - 1) };
}

/** An object that takes so many bytes. */
function sized(bytes: number): JsonObject {
  return { a: 'x'.repeat(bytes - '{"a":""}'.length) };
}

const MERGE_PATCH = { 'content-type': 'application/merge-patch+json' };
const JSON_TYPE = { 'content-type': 'application/json' };

describe('a patch', () => {
  test('is answered with what was sent, and the new revision as ETag', async () => {
    const sensor = newSensor();
    const first = await patch(sensor, { temperature: 21, gone: null });
    expect(first).toMatchObject({ status: 200, body: { data: { temperature: 21, gone: null } } });
    expect(first.headers.get('ETag')).toBe('"0"');
    expect(first.headers.get('Content-Type')).toBe('application/json; charset=utf-8');
    expect(first.headers.has('Fleetledger-Deduplicated')).toBe(false);
    const second = await patch(sensor, { temperature: 22 });
    expect(second.headers.get('ETag')).toBe('"1"');
    expect(position(second)).toBeGreaterThan(position(first));
  });

  test('is merged as RFC 7396 says', async () => {
    const sensor = newSensor();
    await patch(sensor, { title: 'a', author: { given: 'J', family: 'D' }, tags: ['x', 'y'] });
    await patch(sensor, { title: 'b', author: { family: null }, tags: ['z'], phone: '1' });
    expect(await current(sensor)).toEqual({
      title: 'b',
      author: { given: 'J' },
      tags: ['z'],
      phone: '1',
    });
  });

  test('may come bare, as application/merge-patch+json', async () => {
    const sensor = newSensor();
    const answer = await owner.patch(sensor, {
      json: { data: 1, message_id: 'm' },
      headers: { 'content-type': 'application/merge-patch+json; charset=utf-8' },
    });
    expect(answer).toMatchObject({ status: 200, body: { data: { data: 1, message_id: 'm' } } });
    expect(await current(sensor)).toEqual({ data: 1, message_id: 'm' });
  });

  test.each([
    ['epoch seconds', 1_645_142_400.5, '2022-02-18T00:00:00.500Z'],
    ['the epoch', 0, '1970-01-01T00:00:00.000Z'],
    ['RFC 3339', '2022-02-18T02:00:00+02:00', '2022-02-18T00:00:00.000Z'],
    ['the first of times', '0001-01-01T00:00:00Z', '0001-01-01T00:00:00.000Z'],
    ['the last of times', '9999-12-31T23:59:59Z', '9999-12-31T23:59:59.000Z'],
  ])('may say when it was measured: %s', async (_as, timestamp, occurredAt) => {
    const sensor = newSensor();
    await patch(sensor, { a: 1 }, { timestamp });
    expect(await history(sensor)).toMatchObject([{ occurred_at: occurredAt }]);
  });

  test.each([
    '0000-01-01T00:00:00Z',
    '0001-01-01T00:00:00+14:00',
    '9999-12-31T23:59:59-12:00',
    '2022-02-30T00:00:00Z',
    '2022-02-18',
    'yesterday',
    -1,
    1e15,
    true,
  ])('with the time %j is refused', async (timestamp) => {
    const sensor = newSensor();
    expect(await patch(sensor, { a: 1 }, { timestamp })).toMatchObject(
      problem(422, 'validation-failed'),
    );
    expect(await owner.get(sensor)).toMatchObject(problem(404, 'not-found'));
  });

  test.each([
    'application/json; charset=utf-8',
    'application/json;charset=UTF-8',
    'Application/JSON ; charset="utf-8"',
    'application/json; profile=x; charset=utf8',
  ])('may be sent as %s', async (type) => {
    const answer = await owner.patch(newSensor(), {
      json: { data: { a: 1 } },
      headers: { 'content-type': type },
    });
    expect(answer.status).toBe(200);
  });

  test.each([
    ['text/plain', '{"data":{}}'],
    ['application/x-www-form-urlencoded', 'data=1'],
    ['application/x-ndjson', '{"data":{}}'],
    ['application/json; charset=utf-16', '{"data":{}}'],
    ['', '{"data":{}}'],
    [undefined, '{"data":{}}'],
    [undefined, undefined],
  ])('sent as %s is refused', async (type, body) => {
    const answer = await owner.patch(newSensor(), {
      ...(body !== undefined && { body }),
      ...(type !== undefined && { headers: { 'content-type': type } }),
    });
    expect(answer).toMatchObject(problem(415, 'unsupported-media-type'));
  });

  test.each([
    ['nothing', ''],
    ['half an object', '{"data":'],
    ['two objects', '{"data":{}} {}'],
    ['no JSON', 'nope'],
    ['two byte order marks', '\ufeff\ufeff{"data":{}}'],
    ['no UTF-8', Buffer.from('{"data":{"a":"\xff"}}', 'latin1')],
    ['UTF-16', Buffer.from('{"data":{}}', 'utf16le')],
    ['half a character', Buffer.from('{"data":{"a":"💡"}}').subarray(0, 17)],
  ])('of %s is malformed', async (_what, body) => {
    expect(await owner.patch(newSensor(), { body, headers: JSON_TYPE })).toMatchObject(
      problem(400, 'malformed-json'),
    );
  });

  test.each([
    ['no data', {}, 'body.data'],
    ['data that is null', { data: null }, 'body.data'],
    ['data that is a list', { data: [] }, 'body.data'],
    ['data that is text', { data: 'x' }, 'body.data'],
    ['a number for a message id', { data: {}, message_id: 1 }, 'body.message_id'],
    ['an empty message id', { data: {}, message_id: '' }, 'body.message_id'],
    ['a broken sequence', { data: {}, sequence: 1.5 }, 'body.sequence'],
    ['a list instead of an object', [{ data: {} }], 'body'],
  ])('with %s breaks a rule, and is told which', async (_what, json, path) => {
    const answer = await owner.patch<{ errors: unknown }>(newSensor(), { json });
    expect(answer).toMatchObject(problem(422, 'validation-failed'));
    expect(answer.body.errors).toEqual([{ path, message: expect.stringMatching(/./) }]);
  });

  test.each(['{"data":{"a":1e999}}', '{"data":{"a":[{"b":-1e999}]}}'])(
    'with a number that no double holds is refused: %s',
    async (body) => {
      expect(await owner.patch(newSensor(), { body, headers: JSON_TYPE })).toMatchObject(
        problem(422, 'validation-failed'),
      );
    },
  );

  test('keeps the numbers that a double holds', async () => {
    const sensor = newSensor();
    const body = '{"data":{"a":1.5e-308,"b":-0.1,"c":9007199254740991,"d":5e-324}}';
    await owner.patch(sensor, { body, headers: JSON_TYPE });
    expect(await current(sensor)).toEqual({ a: 1.5e-308, b: -0.1, c: 9007199254740991, d: 5e-324 });
  });

  test.each(['{"data":{"a":"\\u0000"}}', '{"data":{"\\u0000":1}}', '{"data":{"a":["\\ud800"]}}'])(
    'with text that no store keeps is refused: %s',
    async (body) => {
      expect(await owner.patch(newSensor(), { body, headers: JSON_TYPE })).toMatchObject(
        problem(422, 'validation-failed'),
      );
    },
  );

  test('may have keys that mean something to JavaScript', async () => {
    const sensor = newSensor();
    const data = '{"__proto__":{"x":1},"constructor":2,"toString":3,"a":{"__proto__":4}}';
    const answer = await owner.patch(sensor, { body: `{"data":${data}}`, headers: JSON_TYPE });
    expect(answer.text).toBe(`{"data":${data}}`);
    expect((await owner.get(sensor)).text).toContain(`{"current":${data}}`);
    const again = await owner.patch(sensor, { body: `{"data":${data}}`, headers: JSON_TYPE });
    expect(again.headers.get('Fleetledger-Deduplicated')).toBe('unchanged');
    await owner.patch(sensor, { body: '{"__proto__":null}', headers: MERGE_PATCH });
    expect((await owner.get(sensor)).text).not.toContain('"__proto__":{"x":1}');
  });

  test('takes 64 KiB of data, counted in bytes, and no more', async () => {
    expect(await patch(newSensor(), sized(65_536))).toMatchObject({ status: 200 });
    expect(await patch(newSensor(), sized(65_537))).toMatchObject(
      problem(422, 'validation-failed'),
    );
    const wide = { a: 'ü'.repeat(32_765) };
    expect(await patch(newSensor(), wide)).toMatchObject(problem(422, 'validation-failed'));
  });

  test('takes 32 levels of data, and no more', async () => {
    const sensor = newSensor();
    expect(await patch(sensor, nested(32))).toMatchObject({ status: 200 });
    expect(await current(sensor)).toEqual(nested(32));
    expect(await patch(newSensor(), nested(33))).toMatchObject(problem(422, 'validation-failed'));
  });

  test.each([33, 40, 41, 1_000])(
    'of %i levels is refused with the limit of data, alone and among many',
    async (levels) => {
      const refused = {
        ...problem(422, 'validation-failed'),
        body: { detail: "Body member 'data' must not nest deeper than 32 levels." },
      };
      expect(await patch(newSensor(), nested(levels))).toMatchObject(refused);
      const line = JSON.stringify({ id: 'deep', data: nested(levels) });
      for (const [body, type] of [
        [`[${line}]`, 'application/json'],
        [`${line}\n`, 'application/x-ndjson'],
      ] as const) {
        const headers = { 'content-type': type };
        expect((await owner.post('/sensors/patches', { body, headers })).body).toMatchObject({
          results: [{ id: 'deep', status: 422, ...refused.body }],
        });
      }
    },
  );

  test('that nests without end is refused, not followed', async () => {
    const body = `{"data":{"a":${'['.repeat(100_000)}${']'.repeat(100_000)}}}`;
    expect(await owner.patch(newSensor(), { body, headers: JSON_TYPE })).toMatchObject(
      problem(422, 'validation-failed'),
    );
  });

  test('larger than any body may be is refused, whether its length is known or not', async () => {
    const body = JSON.stringify({ data: sized(1_000_000) });
    const tooLarge = problem(413, 'body-too-large');
    expect(await owner.patch(newSensor(), { body, headers: JSON_TYPE })).toMatchObject(tooLarge);
    const pieces = Array.from({ length: 10 }, (_, n) => body.slice(n * 100_000, (n + 1) * 100_000));
    expect(await owner.patch(newSensor(), { body: pieces, headers: JSON_TYPE })).toMatchObject(
      tooLarge,
    );
  });

  test('may be compressed, within the same limit', async () => {
    const sensor = newSensor();
    const headers = { ...JSON_TYPE, 'content-encoding': 'gzip' };
    const body = gzipSync('{"data":{"a":1}}');
    expect(await owner.patch(sensor, { body, headers })).toMatchObject({ status: 200 });
    expect(await current(sensor)).toEqual({ a: 1 });
    const bomb = gzipSync(JSON.stringify({ data: sized(50_000_000) }));
    expect(await owner.patch(sensor, { body: bomb, headers })).toMatchObject(
      problem(413, 'body-too-large'),
    );
    const unknown = { ...JSON_TYPE, 'content-encoding': 'zip' };
    expect(await owner.patch(sensor, { body, headers: unknown })).toMatchObject(
      problem(415, 'unsupported-media-type'),
    );
  });

  test('is refused when the state would grow beyond bounds, until something is removed', async () => {
    const sensor = newSensor();
    const part = 'x'.repeat(60_000);
    for (const key of ['a', 'b', 'c', 'd']) await patch(sensor, { [key]: part });
    expect(await patch(sensor, { e: part })).toMatchObject(problem(422, 'state-too-large'));
    await patch(sensor, { a: null });
    expect(await patch(sensor, { e: part })).toMatchObject({ status: 200 });
    expect(Object.keys(await current(sensor))).toEqual(['b', 'c', 'd', 'e']);
  });
});

describe('the sensor', () => {
  test('answers its state, its revision and when it last changed', async () => {
    const sensor = newSensor();
    await patch(sensor, { a: 1 });
    await patch(sensor, { b: 2 });
    const answer = await owner.get<Sensor>(sensor);
    const [newest] = await history(sensor);
    expect(answer.body).toEqual({
      data: { current: { a: 1, b: 2 } },
      revision: 1,
      updated_at: newest?.recorded_at,
    });
    expect(answer.headers.get('ETag')).toBe('"1"');
  });

  test('that never was patched is not found', async () => {
    expect(await owner.get(newSensor())).toMatchObject(problem(404, 'not-found'));
    expect(await owner.get(`${newSensor()}/history`)).toMatchObject(problem(404, 'not-found'));
  });

  test('of one project is not that of another', async () => {
    const sensor = newSensor();
    await patch(sensor, { a: 1 });
    const other = (await service.newProject()).owner;
    expect(await other.get(sensor)).toMatchObject(problem(404, 'not-found'));
    await other.patch(sensor, { json: { data: { b: 2 } } });
    expect(await current(sensor)).toEqual({ a: 1 });
  });
});

describe('preconditions', () => {
  test('If-Match lets a change through on the revision that was read, and on no other', async () => {
    const sensor = newSensor();
    const first = await patch(sensor, { a: 1 });
    const tag = first.headers.get('ETag') ?? '';
    const change = (ifMatch: string, data: JsonObject): Promise<Answer<unknown>> =>
      owner.patch(sensor, { json: { data }, headers: { 'if-match': ifMatch } });
    expect(await change(tag, { a: 2 })).toMatchObject({ status: 200 });
    const stale = await change(tag, { a: 3 });
    expect(stale).toMatchObject(problem(412, 'precondition-failed'));
    expect(await change(tag, { a: 2 })).toMatchObject(problem(412, 'precondition-failed'));
    expect(await change('"1", "7"', { a: 4 })).toMatchObject({ status: 200 });
    expect(await change('W/"2"', { a: 5 })).toMatchObject(problem(412, 'precondition-failed'));
    expect(await change('2', { a: 5 })).toMatchObject(problem(412, 'precondition-failed'));
    expect(await change('*', { a: 6 })).toMatchObject({ status: 200 });
    expect((await history(sensor)).map(({ state }) => state['a'])).toEqual([6, 4, 2, 1]);
  });

  test('If-Match: * needs a sensor that is there', async () => {
    const sensor = newSensor();
    expect(
      await owner.patch(sensor, { json: { data: { a: 1 } }, headers: { 'if-match': '*' } }),
    ).toMatchObject(problem(412, 'precondition-failed'));
    expect(await owner.get(sensor)).toMatchObject(problem(404, 'not-found'));
  });

  test('of changes that race with one ETag, one wins', async () => {
    const sensor = newSensor();
    const tag = (await patch(sensor, { a: 0 })).headers.get('ETag') ?? '';
    const answers = await Promise.all(
      Array.from({ length: 10 }, (_, n) =>
        owner.patch(sensor, { json: { data: { a: n + 1 } }, headers: { 'if-match': tag } }),
      ),
    );
    expect(answers.map(({ status }) => status).toSorted((a, b) => a - b)).toEqual([
      200,
      ...Array.from({ length: 9 }, () => 412),
    ]);
    expect(await history(sensor)).toHaveLength(2);
  });

  test('If-None-Match: * creates, and changes nothing that is there', async () => {
    const sensor = newSensor();
    const create = (a: number): Promise<Answer<unknown>> =>
      owner.patch(sensor, { json: { data: { a } }, headers: { 'if-none-match': '*' } });
    expect(await create(1)).toMatchObject({ status: 200 });
    expect(await create(2)).toMatchObject(problem(412, 'precondition-failed'));
    expect(await current(sensor)).toEqual({ a: 1 });
  });

  test('a sensor with a rule of its own and no state yet can still be created', async () => {
    const sensor = newSensor();
    await owner.put(`${sensor}/dedup`, { json: { strategy: 'none' } });
    expect(await owner.get(sensor)).toMatchObject(problem(404, 'not-found'));
    expect(
      await owner.patch(sensor, { json: { data: { a: 1 } }, headers: { 'if-none-match': '*' } }),
    ).toMatchObject({ status: 200 });
  });

  test('the ETag that a read gives is one that If-Match takes, also after a new rule', async () => {
    const sensor = newSensor();
    await patch(sensor, { a: 1 });
    await owner.put(`${sensor}/dedup`, { json: { strategy: 'none' } });
    const tag = (await owner.get(sensor)).headers.get('ETag') ?? '';
    expect(
      await owner.patch(sensor, { json: { data: { a: 2 } }, headers: { 'if-match': tag } }),
    ).toMatchObject({ status: 200 });
  });

  test('If-None-Match answers 304 while the revision is the same', async () => {
    const sensor = newSensor();
    await patch(sensor, { a: 1 });
    const read = (tags: string, query = ''): Promise<Answer<unknown>> =>
      owner.get(sensor + query, { headers: { 'if-none-match': tags } });
    for (const tags of ['"0"', 'W/"0"', '"7", "0"', '*']) {
      const answer = await read(tags);
      expect(answer).toMatchObject({ status: 304, text: '' });
      expect(answer.headers.get('ETag')).toBe('"0"');
    }
    expect(await read('"1"')).toMatchObject({ status: 200 });
    await patch(sensor, { a: 2 });
    expect(await read('"0"')).toMatchObject({ status: 200 });
    expect(await read('"0"', '?revision=0')).toMatchObject({ status: 304 });
  });
});

describe('a repeated patch', () => {
  /** Sends `repeat` after `first`, and tells what it was taken for. */
  async function takenFor(
    rule: JsonObject | undefined,
    [first, repeat]: [JsonObject, JsonObject],
  ): Promise<string | null> {
    const sensor = newSensor();
    if (rule !== undefined) await owner.put(`${sensor}/dedup`, { json: rule });
    const before = await owner.patch<{ data: JsonObject }>(sensor, { json: first });
    const after = await owner.patch<{ data: JsonObject }>(sensor, { json: repeat });
    expect(before.status).toBe(200);
    expect(before.headers.has('Fleetledger-Deduplicated')).toBe(false);
    expect(after).toMatchObject({ status: 200, body: { data: repeat['data'] } });
    const by = after.headers.get('Fleetledger-Deduplicated');
    const events = (await history(sensor)).length;
    expect(events).toBe(by === null ? 2 : 1);
    const isSameTag = after.headers.get('ETag') === before.headers.get('ETag');
    expect(isSameTag).toBe(by !== null);
    return by;
  }

  const a = { data: { a: 1, b: { c: [2] } } };

  test.each([
    ['the same', [a, a], 'unchanged'],
    ['a part of the state', [a, { data: { b: {} } }], 'unchanged'],
    ['nothing at all', [a, { data: {} }], 'unchanged'],
    ['the removal of what is not there', [a, { data: { x: null } }], 'unchanged'],
    ['something new', [a, { data: { a: 2 } }], null],
    ['a number for the same text', [a, { data: { a: '1' } }], null],
  ] as [string, [JsonObject, JsonObject], string | null][])(
    'by default changes nothing: %s',
    async (_what, patches, by) => {
      expect(await takenFor(undefined, patches)).toBe(by);
    },
  );

  const one = { ...a, message_id: 'm1' };
  const byMessage = { strategy: 'message-id' };
  test.each([
    ['the same message', [one, one], 'message-id'],
    ['the same id with other data', [one, { data: { a: 2 }, message_id: 'm1' }], 'message-id'],
    ['another id with the same data', [one, { ...a, message_id: 'm2' }], null],
    ['no id', [one, a], null],
  ] as [string, [JsonObject, JsonObject], string | null][])(
    'goes by its message id: %s',
    async (_what, patches, by) => {
      expect(await takenFor(byMessage, patches)).toBe(by);
    },
  );

  const fifth = { ...a, sequence: 5 };
  const bySequence = { strategy: 'sequence' };
  test.each([
    ['the same number', [fifth, { data: { a: 9 }, sequence: 5 }], 'sequence'],
    ['a stale one', [fifth, { data: { a: 9 }, sequence: 4 }], 'sequence'],
    ['the next one, with the same data', [fifth, { ...a, sequence: 6 }], null],
    ['one after a gap', [fifth, { ...a, sequence: 100 }], null],
    ['none', [fifth, a], null],
  ] as [string, [JsonObject, JsonObject], string | null][])(
    'goes by its sequence number: %s',
    async (_what, patches, by) => {
      expect(await takenFor(bySequence, patches)).toBe(by);
    },
  );

  const within = { strategy: 'window', seconds: 3_600 };
  test.each([
    ['the same, whatever the order of its keys', [a, { data: { b: { c: [2] }, a: 1 } }], 'window'],
    ['another that changes nothing', [a, { data: { a: 1 } }], null],
  ] as [string, [JsonObject, JsonObject], string | null][])(
    'goes by the last seconds: %s',
    async (_what, patches, by) => {
      expect(await takenFor(within, patches)).toBe(by);
    },
  );

  test('counts again when the window has passed', async () => {
    const sensor = newSensor();
    await owner.put(`${sensor}/dedup`, { json: { strategy: 'window', seconds: 0.3 } });
    await patch(sensor, { a: 1 });
    await vi.waitUntil(
      async () => !(await patch(sensor, { a: 1 })).headers.has('Fleetledger-Deduplicated'),
      { timeout: 10_000 },
    );
    const [second, first] = await history(sensor);
    const apartMs = Date.parse(second?.recorded_at ?? '') - Date.parse(first?.recorded_at ?? '');
    expect(apartMs).toBeGreaterThanOrEqual(295);
  });

  test('is an event of its own where nothing is to be told apart', async () => {
    expect(await takenFor({ strategy: 'none' }, [a, a])).toBe(null);
  });

  test('of twenty that come at once is one event', async () => {
    const sensor = newSensor();
    await owner.put(`${sensor}/dedup`, { json: { strategy: 'message-id' } });
    const answers = await Promise.all(
      Array.from({ length: 20 }, () => patch(sensor, { a: 1 }, { message_id: 'm' })),
    );
    const fresh = answers.filter(({ headers }) => !headers.has('Fleetledger-Deduplicated'));
    expect(fresh).toHaveLength(1);
    expect(new Set(answers.map(({ headers }) => headers.get('ETag'))).size).toBe(1);
    expect(await history(sensor)).toHaveLength(1);
  });
});

describe('the dedup rule', () => {
  test('of the project holds for all sensors but those with one of their own', async () => {
    const project = await service.newProject();
    const send = async (sensor: string): Promise<string | null> => {
      const answer = await project.owner.patch(sensor, { json: { data: { a: 1 }, sequence: 1 } });
      return answer.headers.get('Fleetledger-Deduplicated');
    };
    const rule = { strategy: 'sequence' };
    const answer = await project.owner.put(`/projects/${project.id}/dedup`, { json: rule });
    expect(answer).toMatchObject({ status: 200, body: rule });
    await project.owner.put('/sensors/own/dedup', { json: { strategy: 'none' } });
    expect([await send('/sensors/a'), await send('/sensors/a')]).toEqual([null, 'sequence']);
    expect([await send('/sensors/own'), await send('/sensors/own')]).toEqual([null, null]);
  });

  test('may be set again, and answers what was set', async () => {
    const sensor = newSensor();
    const rule = { strategy: 'window', seconds: 30 };
    for (const _time of [1, 2]) {
      expect(await owner.put(`${sensor}/dedup`, { json: rule })).toMatchObject({
        status: 200,
        body: rule,
      });
    }
  });

  test.each([
    {},
    { strategy: 'sometimes' },
    { strategy: 'window' },
    { strategy: 'window', seconds: 0 },
    { strategy: 'window', seconds: '30' },
    { strategy: 'window', seconds: 1e9 },
    { strategy: 'none', seconds: 1 },
    [],
    null,
  ])('%j is refused', async (json) => {
    const refusal = problem(422, 'validation-failed');
    expect(await owner.put(`${newSensor()}/dedup`, { json })).toMatchObject(refusal);
    expect(await owner.put(`/projects/${projectId}/dedup`, { json })).toMatchObject(refusal);
  });
});

describe('as it was', () => {
  test('is asked by position, by time and by revision', async () => {
    const sensor = newSensor();
    const seen = [];
    for (const n of [0, 1, 2]) {
      await nextMillisecond();
      const answer = await patch(sensor, { n, [`key${n}`]: true });
      seen.push(answer.headers.get('Fleetledger-Position') ?? '');
    }
    const entries = (await history(sensor)).toReversed();
    const read = (query: string): Promise<Answer<Sensor>> => owner.get(`${sensor}?${query}`);
    for (const [n, entry] of entries.entries()) {
      const recordedAt = new Date(entry.recorded_at);
      const withOffset = `${new Date(recordedAt.getTime() + 7_200_000).toISOString().slice(0, -1)}+02:00`;
      const queries = [
        `as_of=${seen[n]}`,
        `as_of=${entry.recorded_at}`,
        `as_of=${encodeURIComponent(withOffset)}`,
        // The plus is decoded to a blank.
        `as_of=${withOffset}`,
        `as_of=${entry.recorded_at.toLowerCase()}`,
        `revision=${n}`,
      ];
      for (const query of queries) {
        const answer = await read(query);
        expect(answer.body).toEqual({
          data: { current: entry.state },
          revision: n,
          updated_at: entry.recorded_at,
        });
        expect(answer.headers.get('ETag')).toBe(`"${n}"`);
      }
      const ofMoment = await read(`as_of=${seen[n]}`);
      expect(ofMoment.headers.get('Fleetledger-Position')).toBe(seen[n]);
    }
  });

  test('is not found before the sensor was', async () => {
    const before = await patch(newSensor(), { a: 1 });
    await nextMillisecond();
    const sensor = newSensor();
    await patch(sensor, { a: 1 });
    const [entry] = await history(sensor);
    const justBefore = new Date(Date.parse(entry?.recorded_at ?? '') - 1).toISOString();
    const missing = problem(404, 'not-found');
    for (const asOf of [
      before.headers.get('Fleetledger-Position') ?? '',
      justBefore,
      '1970-01-01T00:00:00Z',
      '0000-01-01T00:00:00Z',
    ]) {
      expect(await owner.get(`${sensor}?as_of=${asOf}`)).toMatchObject(missing);
    }
    expect(await owner.get(`${sensor}?revision=1`)).toMatchObject(missing);
    expect(await owner.get(`${sensor}?revision=9223372036854775807`)).toMatchObject(missing);
  });

  test('of a time to come is as it is now', async () => {
    const sensor = newSensor();
    await patch(sensor, { a: 1 });
    for (const asOf of ['2999-01-01T00:00:00Z', '9999-12-31T23:59:59-12:00']) {
      expect(await owner.get(`${sensor}?as_of=${asOf}`)).toMatchObject({
        status: 200,
        body: { revision: 0 },
      });
    }
  });

  test('of a date is as it was at the end of that day', async () => {
    const sensor = newSensor();
    await patch(sensor, { a: 1 });
    const { updated_at: updatedAt } = (await owner.get<{ updated_at: string }>(sensor)).body;
    const day = updatedAt.slice(0, 10);
    const dayBefore = new Date(Date.parse(day) - 1).toISOString().slice(0, 10);

    expect(await owner.get(`${sensor}?as_of=${day}`)).toMatchObject({
      status: 200,
      body: { revision: 0 },
    });
    expect(await owner.get(`${sensor}?as_of=${dayBefore}`)).toMatchObject(
      problem(404, 'not-found'),
    );
  });

  test.each(['tomorrow', '1e3', '2026-11-27T04:00Z', '2026-02-30', '2026-1-1'])(
    'of %s is refused with the forms that exist',
    async (asOf) => {
      expect(await owner.get(`/sensors/any?as_of=${asOf}`)).toMatchObject({
        ...problem(422, 'validation-failed'),
        body: {
          detail: expect.stringMatching(
            /2026-11-27T04:00:00Z, a date such as 2026-11-27, or a position .* Fleetledger-Position\.$/,
          ) as string,
        },
      });
    },
  );

  test.each([
    'as_of=yesterday',
    'as_of=',
    'as_of=2026-02-30T00:00:00Z',
    'as_of=2026-02-30',
    'as_of=2026-01-01T00:00:00',
    'as_of=2026-01-01T25:00:00Z',
    'as_of=2026-01-01T00:00:00Z&as_of=2026-01-01T00:00:00Z',
    'revision=-1',
    'revision=1.5',
    'revision=x',
    'revision=',
    'revision=9223372036854775808',
    'revision=0&as_of=2026-01-01T00:00:00Z',
  ])('%s cannot be asked', async (query) => {
    expect(await owner.get(`/sensors/any?${query}`)).toMatchObject(
      problem(422, 'validation-failed'),
    );
  });

  test('at a position of another log cannot be asked', async () => {
    expect(await owner.get('/sensors/any?as_of=00000000-1')).toMatchObject(
      problem(422, 'position-of-another-log'),
    );
  });
});

describe('Fleetledger-Min-Position', () => {
  const read = (sensor: string, minPosition: string): Promise<Answer<Sensor>> =>
    owner.get(sensor, { headers: { 'fleetledger-min-position': minPosition } });

  test('of the last write is met by the read, whose own position is not before it', async () => {
    const sensor = newSensor();
    const written = await patch(sensor, { a: 1 });
    const answer = await read(sensor, written.headers.get('Fleetledger-Position') ?? '');
    expect(answer).toMatchObject({ status: 200, body: { data: { current: { a: 1 } } } });
    expect(position(answer)).toBeGreaterThanOrEqual(position(written));
  });

  test('of another log is refused', async () => {
    expect(await read('/sensors/any', '00000000-1')).toMatchObject(
      problem(422, 'position-of-another-log'),
    );
  });

  test.each(['x', '1', 'abcdefgh-1', '00000000-x', '00000000--1', '00000000-01'])(
    '%s is no position, and stops a write too',
    async (minPosition) => {
      const refusal = problem(422, 'validation-failed');
      expect(await read('/sensors/any', minPosition)).toMatchObject(refusal);
      const sensor = newSensor();
      const headers = { 'fleetledger-min-position': minPosition };
      expect(await owner.patch(sensor, { json: { data: {} }, headers })).toMatchObject(refusal);
      expect(await owner.get(sensor)).toMatchObject(problem(404, 'not-found'));
    },
  );

  test('beyond the end of the log is refused, because nothing would ever reach it', async () => {
    const sensor = newSensor();
    const written = await patch(sensor, { a: 1 });
    const [log = ''] = (written.headers.get('Fleetledger-Position') ?? '').split('-');
    const answer = await read(sensor, `${log}-${position(written) + 1_000_000n}`);
    expect(answer).toMatchObject(problem(422, 'position-of-another-log'));
  });
});

describe('history', () => {
  test('is every patch, newest first, with the state that it made', async () => {
    const sensor = newSensor();
    const patches = Array.from({ length: 40 }, (_, n) => ({ n, [`k${n % 7}`]: n % 3 ? n : null }));
    for (const data of patches) await patch(sensor, data);
    const keys = await owner.get<{ items: { id: string }[] }>('/keys?limit=1');
    const actor = keys.body.items[0]?.id;
    let state: JsonObject | undefined;
    const expected = patches.map((data, revision) => {
      state = mergePatch(state, data);
      return {
        revision,
        patch: data,
        state,
        occurred_at: null,
        recorded_at: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/),
        actor,
      };
    });
    for (const limit of [500, 50, 16, 7, 1]) {
      expect(await owner.walk(`${sensor}/history?limit=${limit}`)).toEqual(expected.toReversed());
    }
  });

  test('is walked as it stood when the walk began, whatever is written meanwhile', async () => {
    const sensor = newSensor();
    for (const n of [1, 2, 3, 4, 5]) await patch(sensor, { n });
    const before = await history(sensor);
    let written = 100;
    const walked = await owner.walk<HistoryEntry>(`${sensor}/history?limit=2`, async () => {
      written += 1;
      await patch(sensor, { n: written });
    });
    expect(walked).toEqual(before);
  });
});

describe('the list of sensors', () => {
  test('gives each with its state, by id, and follows the links', async () => {
    const { owner: member } = await service.newProject();
    const ids = ['B', 'a', 'b', 'ä', 'a/b', '10', '9', '💡', '日本'];
    for (const id of ids) {
      await member.patch(`/sensors/${encodeURIComponent(id)}`, { json: { data: { id } } });
    }
    const all = await member.get<{ items: ({ id: string } & Sensor)[]; next: null }>('/sensors');
    const listed = all.body.items.map(({ id }) => id);
    expect(listed).toEqual(ids.toSorted((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b))));
    expect(all.body.next).toBe(null);
    for (const { id, data, revision, updated_at } of all.body.items) {
      expect(data).toEqual({ current: { id } });
      const single = await member.get(`/sensors/${encodeURIComponent(id)}`);
      expect(single.body).toEqual({ data, revision, updated_at });
    }
    expect(await member.walk('/sensors?limit=2')).toEqual(all.body.items);
  });

  test('links to the next page, with the limit that was asked for', async () => {
    const { owner: member } = await service.newProject();
    for (const id of ['a', 'b', 'c']) {
      await member.patch(`/sensors/${id}`, { json: { data: { id } } });
    }
    const { headers, body } = await member.get<{ next: string }>('/sensors?limit=1');
    const link = new URL(nextLink(headers) ?? '', 'http://localhost');
    expect(link.searchParams.get('limit')).toBe('1');
    expect(link.searchParams.get('cursor')).toBe(body.next);
  });

  test('is walked so that each that was there is seen once, whatever is written meanwhile', async () => {
    const { owner: member } = await service.newProject();
    const ids = Array.from({ length: 12 }, (_, n) => `m${String(n).padStart(2, '0')}`);
    for (const id of ids) await member.patch(`/sensors/${id}`, { json: { data: { id } } });
    let turn = 0;
    const walked = await member.walk<{ id: string }>('/sensors?limit=5', async () => {
      turn += 1;
      const touched = [`a${turn}`, 'm00', 'm05', 'm11', `z${turn}`];
      for (const id of touched) await member.patch(`/sensors/${id}`, { json: { data: { turn } } });
    });
    const seen = walked.map(({ id }) => id);
    expect(new Set(seen).size).toBe(seen.length);
    expect(seen.filter((id) => id.startsWith('m'))).toEqual(ids);
  });

  test('gives 50 unless asked for more or less, and 500 at most', async () => {
    const { owner: member } = await service.newProject();
    const items = Array.from({ length: 501 }, (_, n) => ({ id: `s${n}`, data: { n } }));
    await member.post('/sensors/patches', { json: items });
    const count = async (query: string): Promise<number> =>
      (await member.get<{ items: unknown[] }>(`/sensors${query}`)).body.items.length;
    expect(await count('')).toBe(50);
    expect(await count('?limit=1')).toBe(1);
    expect(await count('?limit=500')).toBe(500);
  });

  const lists = ['/sensors', '/sensors/any/history', '/devices', '/keys', '/members', '/projects'];

  test.each(lists)('%s refuses limits that are none', async (list) => {
    for (const limit of ['0', '501', '-1', '1.5', 'x', '', 'Infinity', '1&limit=2']) {
      expect(await owner.get(`${list}?limit=${limit}`)).toMatchObject(
        problem(422, 'validation-failed'),
      );
    }
  });

  test.each(lists)('%s refuses cursors that it did not give', async (list) => {
    const encode = (value: unknown): string =>
      Buffer.from(JSON.stringify(value)).toString('base64url');
    const walk = /\w+$/.exec(list)?.[0];
    const cursors = [
      'x',
      '',
      'x&cursor=y',
      encode(1),
      encode({}),
      encode({ walk: 'other', after: 'a' }),
      encode({ walk, after: '\u0000' }),
      encode({ walk, after: 1 }),
      encode({ walk, after: ['1'], before: ['1'] }),
      encode({ walk: 'history:any', before: '\u0000' }),
      encode({ walk: 'history:any', before: '-1' }),
      encode({ walk: 'history:other', before: '1' }),
    ];
    for (const cursor of cursors) {
      expect(await owner.get(`${list}?cursor=${cursor}`), cursor).toMatchObject(
        problem(422, 'validation-failed'),
      );
    }
  });
});

describe('an id', () => {
  const awkward = [
    'a/b',
    'a b',
    ' ',
    '💡',
    '%',
    '%2F',
    '..x',
    '...',
    'history',
    'patches',
    'a/history',
    '?q=1&r=2',
    '#f',
    `'"\\`,
    '-1.x:y*',
    '__proto__',
    'e\u0301',
    '\u00e9',
    '\u007f',
    '\n',
    'x'.repeat(256),
    '💡'.repeat(256),
  ];

  test('is any text up to 256 characters but . and .., and two that differ name two sensors', async () => {
    const { owner: member } = await service.newProject();
    const paths = new Map(
      awkward.map((id) => [id, `/sensors/${encodeURIComponent(id).replaceAll('.', '%2E')}`]),
    );
    for (const [id, path] of paths) {
      const answer = await member.patch(path, { json: { data: { id } } });
      expect(answer, id).toMatchObject({ status: 200 });
      expect(await member.put(`${path}/dedup`, { json: { strategy: 'none' } })).toMatchObject({
        status: 200,
      });
    }
    for (const [id, path] of paths) {
      const { body } = await member.get<Sensor>(path);
      expect(body.data.current).toEqual({ id });
      expect(await member.walk(`${path}/history?limit=1`)).toMatchObject([{ patch: { id } }]);
    }
    const listed = await member.walk<{ id: string }>('/sensors?limit=3');
    expect(listed.map(({ id }) => id).toSorted()).toEqual(awkward.toSorted());
  });

  test.each([
    ['of 257 characters', 'x'.repeat(257)],
    ['of 257 characters that take two units each', encodeURIComponent('💡'.repeat(257))],
    ['with U+0000', 'a%00b'],
    ['that is no UTF-8', '%ff'],
    ['with half a character', '%f0%9f%92'],
    ['with a lone surrogate', '%ed%a0%80'],
    ['with a broken escape', '%zz'],
  ])('%s is refused', async (_what, id) => {
    const refusal = problem(422, 'validation-failed');
    expect(await owner.patch(`/sensors/${id}`, { json: { data: {} } })).toMatchObject(refusal);
    expect(await owner.get(`/sensors/${id}`)).toMatchObject(refusal);
    expect(await owner.get(`/sensors/${id}/history`)).toMatchObject(refusal);
  });
});

describe('who may', () => {
  test('a viewer reads, and does not write', async () => {
    const sensor = newSensor();
    await patch(sensor, { a: 1 });
    const { body } = await owner.post<{ key: string }>('/members', {
      json: { name: 'V', role: 'viewer' },
    });
    const viewer = service.client(body.key);
    for (const path of [sensor, `${sensor}/history`, '/sensors']) {
      expect(await viewer.get(path)).toMatchObject({ status: 200 });
    }
    const forbidden = problem(403, 'forbidden');
    const rule = { strategy: 'none' };
    expect(await viewer.patch(sensor, { json: { data: {} } })).toMatchObject(forbidden);
    expect(await viewer.post('/sensors/patches', { json: [] })).toMatchObject(forbidden);
    expect(await viewer.put(`${sensor}/dedup`, { json: rule })).toMatchObject(forbidden);
    expect(await viewer.put(`/projects/${projectId}/dedup`, { json: rule })).toMatchObject(
      forbidden,
    );
  });

  test('a device speaks for its own sensor, and for no other', async () => {
    const { body } = await owner.post<{ key: string }>('/devices', {
      json: { device_id: 'speaker', sensor_id: 'mine' },
    });
    const device = service.client(body.key);
    expect(await device.patch('/sensors/mine', { json: { data: { a: 1 } } })).toMatchObject({
      status: 200,
    });
    expect(await device.get('/sensors/mine')).toMatchObject({ status: 200 });
    expect(await device.walk('/sensors/mine/history')).toHaveLength(1);
    const forbidden = problem(403, 'forbidden');
    expect(await device.patch('/sensors/theirs', { json: { data: {} } })).toMatchObject(forbidden);
    expect(await device.get('/sensors/theirs')).toMatchObject(forbidden);
    expect(await device.get('/sensors/theirs/history')).toMatchObject(forbidden);
    expect(await device.get('/sensors')).toMatchObject(forbidden);
    expect(await device.put('/sensors/mine/dedup', { json: { strategy: 'none' } })).toMatchObject(
      forbidden,
    );
  });

  test('a device that gets another sensor speaks for that one from then on', async () => {
    const { body } = await owner.post<{ key: string }>('/devices', {
      json: { device_id: 'moved', sensor_id: 'before' },
    });
    const device = service.client(body.key);
    expect(await device.patch('/sensors/before', { json: { data: {} } })).toMatchObject({
      status: 200,
    });
    await owner.patch('/devices/moved', { json: { sensor_id: 'after' } });
    expect(await device.patch('/sensors/before', { json: { data: {} } })).toMatchObject(
      problem(403, 'forbidden'),
    );
    expect(await device.patch('/sensors/after', { json: { data: {} } })).toMatchObject({
      status: 200,
    });
    await owner.patch('/devices/moved', { json: { sensor_id: null } });
    expect(await device.patch('/sensors/after', { json: { data: {} } })).toMatchObject(
      problem(403, 'forbidden'),
    );
  });

  test('the admin has no sensors', async () => {
    expect(await service.admin.get('/sensors')).toMatchObject(problem(403, 'forbidden'));
    expect(await service.admin.put(`/projects/${projectId}/dedup`, { json: {} })).toMatchObject(
      problem(403, 'forbidden'),
    );
  });
});
