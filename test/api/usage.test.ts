import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { openDatabase } from '../../src/database/database.ts';
import { createLogger } from '../../src/shared/logger.ts';
import { createTestDatabase } from '../database/test-database.ts';
import { problem, startTestService, type ApiClient, type TestService } from './api-client.ts';

const database = createTestDatabase();
let service: TestService;
let owner: ApiClient;
let names = 0;

beforeAll(async () => {
  service = await startTestService(database.url);
  ({ owner } = await service.newProject());
});
afterAll(() => service.stop());

interface Ingested {
  readonly accepted: number;
  readonly duplicates: number;
  readonly rejected: { readonly index: number; readonly reason: string }[];
}

interface Page<Item> {
  readonly items: Item[];
  readonly total: number;
  readonly page: number;
  readonly size: number;
}

interface Bucket {
  readonly date: string;
  readonly start: string;
  readonly 'bytes-used-total': number;
}

interface Total {
  readonly sim_card_id?: string;
  readonly org_id: string | null;
  readonly 'bytes-used-total': number;
}

const NDJSON = { 'content-type': 'application/x-ndjson' };

/** A name that no other test has. */
function newName(kind: string): string {
  names += 1;
  return `${kind}-${names}`;
}

function record(sim: string, date: string, bytes: number | string, more: object = {}): object {
  return { 'sim-card-id': sim, 'bytes-used': bytes, date, ...more };
}

async function ingested(json: unknown, headers: Record<string, string> = {}, by = owner) {
  const { status, body } = await by.post<Ingested>('/usage', { json, headers });
  expect(status).toBe(202);
  return body;
}

async function totalOf(sim: string, by = owner): Promise<number> {
  const { body } = await by.get<Page<Bucket>>(
    `/simcard/${sim}/usage?start=2000-01-01&end=2029-12-01&every=1month`,
  );
  return body.items.reduce((sum, bucket) => sum + bucket['bytes-used-total'], 0);
}

async function buckets(path: string): Promise<[string, number][]> {
  const { status, body } = await owner.get<Page<Bucket>>(path);
  expect(status).toBe(200);
  return body.items.map((bucket) => [bucket.date, bucket['bytes-used-total']]);
}

describe('records over HTTP', () => {
  test('are one, several, CloudEvents or lines', async () => {
    const sim = newName('sim');
    const one = record(sim, '2022-02-18T00:00:00Z', '1');
    const event = (id: string, data: object) => ({
      specversion: '1.0',
      id,
      source: sim,
      type: 'usage',
      data,
    });
    const cloud = { 'content-type': 'application/cloudevents+json' };
    const batch = { 'content-type': 'application/cloudevents-batch+json' };
    const accepted = (count: number) => ({ accepted: count, duplicates: 0, rejected: [] });

    expect(await ingested(one)).toEqual(accepted(1));
    expect(await ingested([one, one])).toEqual(accepted(2));
    expect(await ingested(event('1', one), cloud)).toEqual(accepted(1));
    expect(await ingested([event('1', one), event('2', one)], batch)).toEqual({
      ...accepted(1),
      duplicates: 1,
    });
    const lines = `${JSON.stringify(one)}\n\n${JSON.stringify(event('3', one))}\n`;
    const { status, body } = await owner.post('/usage', { body: lines, headers: NDJSON });
    expect([status, body]).toEqual([202, accepted(2)]);
    expect(await totalOf(sim)).toBe(7);
  });

  test('are CloudEvents in binary mode, each known by its source and id', async () => {
    const sim = newName('sim');
    const { date, ...undated } = record(sim, '2022-02-18T00:00:00Z', 1) as { date: string };
    const attributes = {
      'ce-specversion': '1.0',
      'ce-id': 'an%20id',
      'ce-source': sim,
      'ce-type': 'usage',
      'ce-time': date,
    };
    const send = (headers: object): Promise<Ingested> =>
      ingested(undated, { ...attributes, ...headers });
    expect(await send({})).toMatchObject({ accepted: 1, duplicates: 0 });
    for (const contentType of ['application/json', 'application/json; charset=utf-8']) {
      expect(await send({ 'content-type': contentType })).toMatchObject({ duplicates: 1 });
    }
    const structured = { specversion: '1.0', id: 'an id', source: sim, type: 'usage', time: date };
    const cloud = { 'content-type': 'application/cloudevents+json' };
    expect(await ingested({ ...structured, data: undated }, cloud)).toMatchObject({
      duplicates: 1,
    });
    expect(await send({ 'ce-id': 'another' })).toMatchObject({ accepted: 1 });
    expect(await send({ 'ce-id': '' })).toMatchObject({
      accepted: 0,
      rejected: [{ index: 0, reason: 'validation-failed' }],
    });
    const key = { 'idempotency-key': newName('key') };
    expect(await send({ 'ce-id': 'a third', ...key })).toMatchObject({ accepted: 1 });
    const other = { headers: { ...attributes, 'ce-id': 'a fourth', ...key }, json: undated };
    expect(await owner.post('/usage', other)).toMatchObject(problem(422, 'idempotency-key-reused'));
    const lines = { headers: { ...attributes, ...NDJSON }, body: JSON.stringify(undated) };
    expect(await owner.post('/usage', lines)).toMatchObject(problem(422, 'validation-failed'));
    expect(await totalOf(sim)).toBe(3);
  });

  test('that are bad are rejected by their place, and stop no other', async () => {
    const sim = newName('sim');
    const bad = record(sim, '2020-02-00T00:00:00Z', 1);
    const good = record(sim, '2022-02-18T00:00:00Z', 1);
    const reused = newName('id');
    const sent = [bad, good, 7, { ...good, id: reused }, { ...good, id: reused, 'bytes-used': 2 }];
    const expected = {
      accepted: 2,
      duplicates: 0,
      rejected: [
        {
          index: 0,
          reason: 'validation-failed',
          detail: expect.stringContaining('date') as string,
        },
        { index: 2, reason: 'validation-failed', detail: expect.any(String) as string },
        { index: 4, reason: 'id-reused', detail: expect.any(String) as string },
      ],
    };
    expect(await ingested(sent)).toEqual(expected);
    expect(await totalOf(sim)).toBe(2);

    const lines = [...sent.slice(0, 2).map((item) => JSON.stringify(item)), '{"sim-card-id"'];
    const { body } = await owner.post<Ingested>('/usage', {
      body: lines.join('\n'),
      headers: NDJSON,
    });
    expect(body).toMatchObject({
      accepted: 1,
      rejected: [{ index: 0 }, { index: 2, reason: 'malformed-json' }],
    });
  });

  test('whose id was used for another record are listed', async () => {
    const project = await service.newProject();
    const [sim, id] = [newName('sim'), newName('id')];
    await ingested(record(sim, '2022-02-18T00:00:00Z', 1, { id }), {}, project.owner);
    await ingested(record(sim, '2022-02-18T00:00:00Z', 2, { id }), {}, project.owner);
    await ingested(record(sim, '2022-02-00T00:00:00Z', 2, { id }), {}, project.owner);
    const listed = await project.owner.walk<object>('/usage/rejected?limit=1');
    expect(listed).toMatchObject([{ reason: 'id-reused', origin: { kind: 'http', index: 0 } }]);
  });

  test('with an Idempotency-Key are known by it and their place: sent again, they get the first answer', async () => {
    const sim = newName('sim');
    const key = { 'idempotency-key': newName('key') };
    const good = record(sim, '2022-02-18T00:00:00Z', 1);
    const sent = [good, good, record(sim, '2022-02-00T00:00:00Z', 1)];
    const first = await owner.post<Ingested>('/usage', { json: sent, headers: key });
    expect(first.body).toMatchObject({ accepted: 2, duplicates: 0, rejected: [{ index: 2 }] });
    const again = await owner.post<Ingested>('/usage', { json: sent, headers: key });
    expect(again.headers.get('idempotency-replayed')).toBe('true');
    expect(again.body).toEqual(first.body);
    expect(await totalOf(sim)).toBe(2);
    const other = await owner.post('/usage', { json: [good], headers: key });
    expect(other).toMatchObject(problem(422, 'idempotency-key-reused'));
  });

  test('in lines with an Idempotency-Key are known by it and their line', async () => {
    const sim = newName('sim');
    const headers = { ...NDJSON, 'idempotency-key': newName('key') };
    const lines = Array.from({ length: 1_200 }, (_, index) =>
      JSON.stringify(record(sim, '2022-02-18T00:00:00Z', index % 100 === 0 ? -1 : 1)),
    );
    const body = lines.join('\n');
    const first = await owner.post<Ingested>('/usage', { body, headers });
    expect(first.body).toMatchObject({ accepted: 1_188, duplicates: 0 });
    expect(first.body.rejected.map(({ index }) => index)).toEqual(
      Array.from({ length: 12 }, (_, n) => n * 100),
    );
    const again = await owner.post<Ingested>('/usage', { body, headers });
    expect(again.body).toEqual(first.body);
    // It broke off the first time: what was sent then is not recorded twice.
    const longer = `${body}\n${JSON.stringify(record(sim, '2022-02-18T00:00:00Z', 7))}\n`;
    const whole = await owner.post<Ingested>('/usage', { body: longer, headers });
    expect(whole.body).toMatchObject({ accepted: 1_189, duplicates: 0 });
    expect(await totalOf(sim)).toBe(1_195);
  });

  test('in other lines under the same Idempotency-Key are refused', async () => {
    const sim = newName('sim');
    const headers = { ...NDJSON, 'idempotency-key': newName('key') };
    const send = (...bytes: readonly number[]) =>
      owner.post<Ingested>('/usage', {
        body: bytes
          .map((used) => JSON.stringify(record(sim, '2022-02-18T00:00:00Z', used)))
          .join('\n'),
        headers,
      });
    expect((await send(1, 2)).body).toMatchObject({ accepted: 2, rejected: [] });
    const reused = problem(422, 'idempotency-key-reused');
    for (const other of [[1, 999], [1], [999, 2, 4]]) {
      expect(await send(...other)).toMatchObject(reused);
    }
    expect((await send(1, 2, 4)).body).toMatchObject({ accepted: 3, rejected: [] });
    expect(await totalOf(sim)).toBe(7);
  });

  test('that no number holds, or that nest by the thousand, stop no other', async () => {
    const sim = newName('sim');
    const good = JSON.stringify(record(sim, '2022-02-18T00:00:00Z', 1));
    const deep = '['.repeat(20_000) + ']'.repeat(20_000);
    const json = { 'content-type': 'application/json' };
    for (const bad of [good.replace(':1,', ':1e400,'), deep, `{"a":${deep}}`]) {
      const body = `[${good},${bad}]`;
      expect(await owner.post('/usage', { body, headers: json })).toMatchObject({
        status: 202,
        body: { accepted: 1, rejected: [{ index: 1, reason: 'validation-failed' }] },
      });
      const headers = { ...json, 'idempotency-key': newName('key') };
      expect((await owner.post('/usage', { body, headers })).status).toBeLessThan(500);
    }
  });

  test('that come at once under one id are recorded once', async () => {
    const sim = newName('sim');
    const one = record(sim, '2022-02-18T00:00:00Z', 1, { id: newName('id') });
    const answers = await Promise.all(Array.from({ length: 20 }, () => ingested(one)));
    expect(answers.filter(({ accepted }) => accepted === 1)).toHaveLength(1);
    expect(answers.filter(({ duplicates }) => duplicates === 1)).toHaveLength(19);
    expect(await totalOf(sim)).toBe(1);
  });

  test('may be 10,000 in an array, and no more', async () => {
    const sim = newName('sim');
    const many = Array.from({ length: 10_000 }, () => record(sim, '2022-02-18T00:00:00Z', 1));
    expect(await ingested(many)).toMatchObject({ accepted: 10_000 });
    const more = await owner.post('/usage', { json: [...many, many[0]] });
    expect(more).toMatchObject(problem(422, 'validation-failed'));
    expect(await totalOf(sim)).toBe(10_000);
  });

  test('are not a body that is no JSON, nor of another type', async () => {
    expect(
      await owner.post('/usage', { body: '{', headers: { 'content-type': 'application/json' } }),
    ).toMatchObject(problem(400, 'malformed-json'));
    expect(
      await owner.post('/usage', { body: 'a', headers: { 'content-type': 'text/plain' } }),
    ).toMatchObject(problem(415, 'unsupported-media-type'));
  });
});

describe('usage by bucket', () => {
  let org: string;
  let sim: string;

  beforeAll(async () => {
    [org, sim] = [newName('org'), newName('sim')];
    await owner.put(`/inventory/${sim}`, { json: { org_id: org } });
    await ingested([
      record(sim, '2020-02-10T00:00:00Z', 1),
      record(sim, '2020-02-10T02:59:59Z', 2),
      record(sim, '2020-02-12T23:59:59.999Z', 4),
      record(sim, '2020-02-13T00:00:00Z', 8),
    ]);
  });

  test('from the 10th to the 12th by day has all of both', async () => {
    for (const path of [`/simcard/${sim}`, `/organization/${org}`]) {
      expect(await buckets(`${path}/usage?start=2020-02-10&end=2020-02-12&every=1day`)).toEqual([
        ['2020-02-10:00:00:00', 3],
        ['2020-02-12:00:00:00', 4],
      ]);
    }
  });

  test('without usage are shown when that is asked for, page by page', async () => {
    const path = `/organization/${org}/usage?start=2020-02-10&end=2020-02-12&every=1day&fill=zero`;
    expect(await buckets(path)).toEqual([
      ['2020-02-10:00:00:00', 3],
      ['2020-02-11:00:00:00', 0],
      ['2020-02-12:00:00:00', 4],
    ]);
    const { body } = await owner.get<Page<Bucket>>(`${path}&size=2&page=2`);
    expect(body).toEqual({
      items: [
        { date: '2020-02-12:00:00:00', start: '2020-02-12T00:00:00Z', 'bytes-used-total': 4 },
      ],
      total: 3,
      page: 2,
      size: 2,
    });
    expect((await owner.get<Page<Bucket>>(`${path}&size=2&page=9`)).body).toMatchObject({
      items: [],
      total: 3,
    });
  });

  test.each(['1hour', '1hours', 'PT1H', '60minutes'])('may be asked for as %s', async (every) => {
    const query = `start=2020-02-10T00:00:00Z&end=2020-02-10T02:00:00Z&every=${every}`;
    expect(await buckets(`/simcard/${sim}/usage?${query}`)).toEqual([
      ['2020-02-10:00:00:00', 1],
      ['2020-02-10:02:00:00', 2],
    ]);
  });

  test('begin where days begin in the zone', async () => {
    const query = 'start=2020-02-10&end=2020-02-13&every=1day&time_zone=Asia/Kolkata';
    expect(await buckets(`/simcard/${sim}/usage?${query}`)).toEqual([
      ['2020-02-10:00:00:00', 3],
      ['2020-02-13:00:00:00', 12],
    ]);
  });

  test('come as a table, whole unless a page is asked for', async () => {
    const path = `/simcard/${sim}/usage?start=2020-02-01&end=2020-04-30&every=1day&fill=zero`;
    const headers = { accept: 'text/csv' };
    const whole = await owner.get(path, { headers });
    expect(whole.headers.get('content-type')).toBe('text/csv; charset=utf-8');
    const lines = whole.text.split('\r\n');
    expect(lines).toHaveLength(1 + 90 + 1);
    expect(lines.slice(0, 2)).toEqual([
      'date,start,bytes-used-total',
      '2020-02-01:00:00:00,2020-02-01T00:00:00Z,0',
    ]);
    expect((await owner.get(`${path}&size=10`, { headers })).text.split('\r\n')).toHaveLength(12);
  });

  test('of a night in which an hour comes twice have one label, and two starts', async () => {
    const night = newName('sim');
    await ingested([
      record(night, '2022-10-30T00:30:00Z', 10),
      record(night, '2022-10-30T01:00:00Z', 100),
    ]);
    const path = `/simcard/${night}/usage?every=1hour&time_zone=Europe/Berlin&fill=zero`;
    const rows = async (query: string) => (await owner.get<Page<Bucket>>(path + query)).body.items;
    expect(await rows('&start=2022-10-30T00:00:00Z&end=2022-10-30T01:00:00Z')).toEqual([
      { date: '2022-10-30:02:00:00', start: '2022-10-30T00:00:00Z', 'bytes-used-total': 10 },
      { date: '2022-10-30:02:00:00', start: '2022-10-30T01:00:00Z', 'bytes-used-total': 100 },
    ]);
    expect(await rows('&start=2022-10-30T00:30:00Z&end=2022-10-30T01:30:00Z')).toEqual([
      { date: '2022-10-30:02:00:00', start: '2022-10-30T01:00:00Z', 'bytes-used-total': 100 },
    ]);
  });

  test.each([
    '2020-02-10t02:00:00z',
    '2020-02-10 02:00:00Z',
    '2020-02-10T04:00:00+02:00',
    '2020-02-10 04:00:00+02:00',
    '2020-02-10T01:59:60Z',
  ])('are found up to the time %s, also when its plus was not encoded', async (time) => {
    const total = async (end: string) => {
      const found = await buckets(
        `/simcard/${sim}/usage?start=2020-02-10&every=1minute&fill=zero&size=1&end=${end}`,
      );
      return found.length;
    };
    expect(await total(time.replaceAll(' ', '%20'))).toBe(1);
    expect(await total(encodeURIComponent(time))).toBe(1);
  });

  test('as of then are what was known then', async () => {
    const [late, holder] = [newName('sim'), newName('org')];
    await owner.put(`/inventory/${late}`, { json: { org_id: holder } });
    const { headers } = await owner.post('/usage', {
      json: record(late, '2020-02-10T00:00:00Z', 1),
    });
    const then = headers.get('fleetledger-position') ?? '';
    await ingested(record(late, '2020-02-10T01:00:00Z', 10));
    await owner.put(`/inventory/${late}`, { json: { org_id: newName('org'), from: '2020-01-01' } });
    const query = 'start=2020-02-10&end=2020-02-10&every=1day';
    expect(await buckets(`/simcard/${late}/usage?${query}`)).toEqual([['2020-02-10:00:00:00', 11]]);
    expect(await buckets(`/simcard/${late}/usage?${query}&as_of=${then}`)).toEqual([
      ['2020-02-10:00:00:00', 1],
    ]);
    expect(await buckets(`/organization/${holder}/usage?${query}`)).toEqual([]);
    expect(await buckets(`/organization/${holder}/usage?${query}&as_of=${then}`)).toEqual([
      ['2020-02-10:00:00:00', 1],
    ]);
  });

  test.each<[string, string]>([
    ['every=', "Query parameter 'every' cannot be empty. (ex: 1day / 1hour)"],
    ['every=hello', "Query parameter 'every' cannot be hello. (ex: 1day / 1hour)"],
    ['every=0day', "Query parameter 'every' cannot be 0day. (ex: 1day / 1hour)"],
    ['every=P1DT12H', "Query parameter 'every' cannot be P1DT12H. (ex: 1day / 1hour)"],
    [
      'start=hello',
      "Query parameter 'start' cannot be hello. (ex: 2020-02-01 / 2020-02-01T00:00:00Z)",
    ],
    [
      'start=2020-02-30',
      "Query parameter 'start' cannot be 2020-02-30. (ex: 2020-02-01 / 2020-02-01T00:00:00Z)",
    ],
    [
      'end=2020-02-00',
      "Query parameter 'end' cannot be 2020-02-00. (ex: 2020-02-29 / 2020-02-29T23:00:00Z)",
    ],
    ['end=2020-01-01', "Query parameter 'end' cannot be 2020-01-01, before 'start'."],
    ['end=2020-02-09', "Query parameter 'end' cannot be 2020-02-09, before 'start'."],
    ['time_zone=Mars', "Query parameter 'time_zone' cannot be Mars. (ex: Europe/Berlin / UTC)"],
  ])('with %s are refused in a sentence, also of what is not there', async (given, detail) => {
    const query = new URLSearchParams({ start: '2020-02-10', end: '2020-02-12', every: '1day' });
    for (const [name, value] of new URLSearchParams(given)) query.set(name, value);
    const answer = await owner.get<{ detail: string }>(
      `/simcard/nowhere/usage?${query.toString()}`,
    );
    expect(answer).toMatchObject(problem(422, 'validation-failed'));
    expect(answer.body.detail).toBe(detail);
  });

  test.each(['start', 'end', 'every'])('need %s', async (name) => {
    const query = new URLSearchParams({ start: '2020-02-10', end: '2020-02-12', every: '1day' });
    query.delete(name);
    const answer = await owner.get<{ detail: string }>(`/simcard/${sim}/usage?${query.toString()}`);
    expect(answer).toMatchObject(problem(422, 'validation-failed'));
    expect(answer.body.detail).toContain(`Query parameter '${name}' is missing.`);
  });

  test.each(['', '&fill=zero'])('of what nobody knows are not there%s', async (fill) => {
    const query = `start=2020-02-10&end=2020-02-12&every=1day${fill}`;
    const noSim = await owner.get<{ detail: string }>(`/simcard/89440000/usage?${query}`);
    expect(noSim).toMatchObject(problem(404, 'not-found'));
    expect(noSim.body.detail).toBe('No simcard 89440000 found!');
    const noOrg = await owner.get<{ detail: string }>(`/organization/x30g5/usage?${query}`);
    expect(noOrg).toMatchObject(problem(404, 'not-found'));
    expect(noOrg.body.detail).toBe('No organization x30g5 found!');
  });

  test('of a SIM card that the inventory knows, and that used nothing, are none', async () => {
    const unused = newName('sim');
    await owner.put(`/inventory/${unused}`, { json: { org_id: org } });
    const query = 'start=2020-02-10&end=2020-02-12&every=1day';
    expect(await buckets(`/simcard/${unused}/usage?${query}`)).toEqual([]);
  });
});

describe('totals', () => {
  test('are of each organization and SIM card, within a time or ever, and of nobody', async () => {
    const { owner: other } = await service.newProject();
    await other.put('/inventory/1', { json: { org_id: 'acme' } });
    await ingested(
      [
        record('1', '2020-02-09T23:59:59.999Z', 1),
        record('1', '2020-02-10T00:00:00Z', 2),
        record('1', '2020-02-12T23:59:59.999Z', 4),
        record('1', '2020-02-13T00:00:00Z', 8),
        record('2', '2020-02-11T12:34:56Z', 16),
      ],
      {},
      other,
    );
    const totals = async (path: string) => (await other.get<Page<Total>>(path)).body.items;
    expect(await totals('/usage/organizations')).toEqual([
      { org_id: null, 'bytes-used-total': 16 },
      { org_id: 'acme', 'bytes-used-total': 15 },
    ]);
    expect(await totals('/usage/organizations?start=2020-02-10&end=2020-02-12')).toEqual([
      { org_id: null, 'bytes-used-total': 16 },
      { org_id: 'acme', 'bytes-used-total': 6 },
    ]);
    expect(await totals('/usage/organizations?end=2020-02-10T00:00:00Z')).toEqual([
      { org_id: 'acme', 'bytes-used-total': 1 },
    ]);
    expect(await totals('/usage/simcards?start=2020-02-12')).toEqual([
      { sim_card_id: '1', org_id: 'acme', 'bytes-used-total': 12 },
    ]);
    const { body } = await other.get<Page<Total>>('/usage/simcards?size=1&page=2');
    expect(body).toEqual({
      items: [{ sim_card_id: '2', org_id: null, 'bytes-used-total': 16 }],
      total: 2,
      page: 2,
      size: 1,
    });
    const { text } = await other.get('/usage/organizations', { headers: { accept: 'text/csv' } });
    expect(text).toBe('org_id,bytes-used-total\r\n,16\r\nacme,15\r\n');
  });

  test('of adjacent periods add up: the time at which one ends is the first of the next', async () => {
    const { owner: other } = await service.newProject();
    await ingested(
      [
        record('1', '2020-02-29T23:59:59.999Z', 1),
        record('1', '2020-03-01T00:00:00Z', 2),
        record('1', '2020-03-31T23:59:59.999Z', 4),
        record('1', '2020-04-01T00:00:00Z', 8),
      ],
      {},
      other,
    );
    const total = async (query: string) => {
      const { body } = await other.get<Page<Total>>(`/usage/simcards?${query}`);
      return body.items.map((item) => item['bytes-used-total']);
    };
    const [march, april, may] = [1, 2, 3].map((n) => `2020-0${n + 2}-01T00:00:00`);
    for (const offset of ['Z', '+00:00', '%2000:00', '%2B00:00']) {
      expect(await total(`end=${march}${offset}`)).toEqual([1]);
      expect(await total(`start=${march}${offset}&end=${april}${offset}`)).toEqual([6]);
      expect(await total(`start=${april}${offset}&end=${may}${offset}`)).toEqual([8]);
    }
    expect(await total('end=2020-02-29')).toEqual([1]);
    expect(await total('start=2020-03-01&end=2020-03-31')).toEqual([6]);
    expect(await total(`start=${march}Z&end=${march}Z`)).toEqual([]);
    expect(await other.get('/usage/simcards?start=2020-03-02&end=2020-03-01')).toMatchObject(
      problem(422, 'validation-failed'),
    );
  });

  test('beyond 2^53 are strings, and exact', async () => {
    const { owner: other } = await service.newProject();
    await other.post('/devices', { json: { device_id: 'd', sim_card_id: '1' } });
    const most = Number.MAX_SAFE_INTEGER;
    const now = new Date().toISOString();
    await ingested([record('1', now, most), record('1', now, most)], {}, other);
    const sum = '18014398509481982';
    const row = { 'bytes-used-total': sum };
    const day = now.slice(0, 10);
    for (const path of [
      '/usage/organizations',
      `/usage/simcards?start=${day}`,
      `/simcard/1/usage?start=${day}&end=${day}&every=1day`,
      `/simcard/1/usage?start=${day}&end=${day}&every=1day&fill=zero`,
      `/organization/null/usage?start=${day}&end=${day}&every=1day`,
    ]) {
      expect((await other.get<Page<object>>(path)).body.items).toMatchObject([row]);
    }
    const { text } = await other.get('/usage/simcards', { headers: { accept: 'text/csv' } });
    expect(text).toContain(`,${sum}\r\n`);
    expect((await other.get('/devices/d')).body).toMatchObject({ usage_this_month: sum });
    const [entry] = await other.walk('/devices/d/timeline');
    expect(entry).toMatchObject({ data: { bytesUsed: sum } });
  });

  test('as a table hold what organizations are called, and no more rows or formulas', async () => {
    const { owner: other } = await service.newProject();
    const orgs = ['x\nbigcorp', 'x\rbigcorp', '=1+1', '@x', '-1', 'a,"b"'];
    for (const [index, org] of orgs.entries()) {
      await other.put(`/inventory/${index}`, { json: { org_id: org } });
      await ingested(record(String(index), '2022-02-18T00:00:00Z', 1), {}, other);
    }
    const { text } = await other.get('/usage/organizations', { headers: { accept: 'text/csv' } });
    expect(text.split('\r\n').slice(1, -1).toSorted()).toEqual(
      ['"x\nbigcorp",1', '"x\rbigcorp",1', "'=1+1,1", "'@x,1", "'-1,1", '"a,""b""",1'].toSorted(),
    );
  });
});

describe('the read model', () => {
  test('holds what the log says, and a verification names the record that differs, with both', async () => {
    const verified = async () => {
      const { headers } = await service.admin.post('/admin/projections/usage/verify');
      const path = (headers.get('location') ?? '').slice('/api/v1'.length);
      return vi.waitFor(
        async () => {
          const { body } = await service.admin.get<{ status: string; differing: object[] }>(path);
          expect(body.status).toBe('completed');
          return body.differing;
        },
        { timeout: 50_000, interval: 50 },
      );
    };
    expect(await verified()).toEqual([]);
    const tampering = openDatabase({ url: database.url, logger: createLogger('silent') });
    const sim = newName('sim');
    await ingested(record(sim, '2022-02-18T00:00:00Z', 7));
    expect(await totalOf(sim)).toBe(7);
    const [{ schema } = { schema: '' }] = await tampering.query<{ schema: string }>({
      text: `select schemaname as schema from pg_tables where tablename = 'sim_quarter_hours'`,
    });
    await tampering.query({
      text: `update ${schema}.records set bytes = 8 where sim_card_id = $1 /* SIM card */`,
      values: [sim],
    });
    await tampering.close();
    expect(await verified()).toMatchObject([
      { table: 'records', live: { bytes: 8 }, replayed: { bytes: 7 } },
    ]);
  });
});

describe('a device', () => {
  test('shows what its SIM card used this month, and each day in its timeline', async () => {
    const [deviceId, sim] = [newName('device'), newName('sim')];
    await owner.post('/devices', { json: { device_id: deviceId, sim_card_id: sim } });
    const now = new Date();
    const lastMonth = new Date(Date.UTC(now.getUTCFullYear(), now.getUTCMonth(), 0, 12));
    const { headers } = await owner.post('/usage', {
      json: record(sim, now.toISOString(), 5),
    });
    const then = headers.get('fleetledger-position') ?? '';
    await ingested([record(sim, now.toISOString(), 3), record(sim, lastMonth.toISOString(), 100)]);

    const twin = async (query: string) =>
      (await owner.get<{ usage_this_month: number }>(`/devices/${deviceId}${query}`)).body
        .usage_this_month;
    expect(await twin('')).toBe(8);
    expect(await twin(`?as_of=${then}`)).toBe(5);
    expect(await twin('?as_of=2999-01-01')).toBe(8);
    const entries = await owner.walk<{ type: string; domain: string; data: object }>(
      `/devices/${deviceId}/timeline`,
    );
    const past = await owner.walk<{ domain: string; data: object }>(
      `/devices/${deviceId}/timeline?as_of=${then}&limit=1`,
    );
    const day = (time: Date) => time.toISOString().slice(0, 10);
    expect(past.map(({ domain }) => domain)).toEqual(['usage', 'tenancy', 'tenancy']);
    expect(past[0]?.data).toMatchObject({ day: day(now), bytesUsed: 5, records: 1 });
    expect(entries.filter(({ domain }) => domain === 'usage')).toMatchObject([
      {
        type: 'UsageRecorded',
        data: { simCardId: sim, day: day(lastMonth), bytesUsed: 100, records: 1 },
      },
      { type: 'UsageRecorded', data: { simCardId: sim, day: day(now), bytesUsed: 8, records: 2 } },
    ]);
  });

  test('is shown with its timeline while usage of other SIM cards is not added up yet', async () => {
    const [deviceId, sim] = [newName('device'), newName('sim')];
    await owner.post('/devices', { json: { device_id: deviceId, sim_card_id: sim } });
    await ingested([record(sim, new Date().toISOString(), 5)]);
    const usage = async () =>
      (await owner.get<{ usage_this_month: number | null }>(`/devices/${deviceId}`)).body
        .usage_this_month;
    const domains = async () => {
      const answer = await owner.get<{ items: { domain: string }[] }>(
        `/devices/${deviceId}/timeline`,
      );
      expect(answer.status).toBe(200);
      return answer.body.items.map(({ domain }) => domain);
    };
    expect(await usage()).toBe(5);

    await service.admin.post('/admin/projections/usage/pause');
    try {
      await ingested([record(newName('sim'), new Date().toISOString(), 7)]);
      await ingested([{ nothing: 'of use' }]);
      expect(await usage()).toBe(5);
      await owner.patch(`/devices/${deviceId}`, { json: { sensor_id: newName('sensor') } });
      expect(await domains()).toEqual(['tenancy', 'usage', 'tenancy', 'tenancy']);

      await ingested([record(sim, new Date().toISOString(), 1)]);
      expect(await usage()).toBeNull();
    } finally {
      await service.admin.post('/admin/projections/usage/resume');
    }
    await vi.waitFor(async () => expect(await usage()).toBe(6), { timeout: 20_000 });
  });

  test('is read in a project without waiting for what another project sent', async () => {
    const sim = newName('sim');
    const { owner: other } = await service.newProject();
    await ingested([record(sim, '2022-02-18T00:00:00Z', 5)]);
    expect(await totalOf(sim)).toBe(5);

    await service.admin.post('/admin/projections/usage/pause');
    try {
      await ingested([record(newName('sim'), '2022-02-18T00:00:00Z', 7), { no: 'use' }], {}, other);
      await ingested(
        [record(newName('sim'), '2022-02-18T00:00:00Z', 7)],
        { 'idempotency-key': newName('key') },
        other,
      );
      for (const path of [
        '/usage/simcards?start=2022-02-01&end=2022-03-01',
        '/usage/organizations?start=2022-02-01&end=2022-03-01',
        `/simcard/${sim}/usage?start=2022-02-01&end=2022-03-01&every=1day`,
        '/usage/rejected',
      ]) {
        expect(await owner.get(path)).toMatchObject({ status: 200 });
      }
    } finally {
      await service.admin.post('/admin/projections/usage/resume');
    }
  });
});
