import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
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

interface Sim {
  readonly sim_card_id: string;
  readonly org_id: string | null;
  readonly from: string | null;
}

interface Page {
  readonly items: Sim[];
  readonly total: number;
  readonly page: number;
  readonly size: number;
}

interface Result {
  readonly row: number;
  readonly sim_card_id: string | null;
  readonly from?: string | null;
  readonly status: number;
  readonly code?: string;
}

type Headers = Readonly<Record<string, string>>;
type Results = Answer<{ results: Result[] }>;
const CSV = { 'content-type': 'text/csv' };

let sims = 0;

/** The id of a SIM that no other test knows. */
function newSim(): string {
  sims += 1;
  return `sim${sims}`;
}

/** A project of the test's own, with nothing in its inventory. */
async function newOwner(): Promise<ApiClient> {
  return (await service.newProject()).owner;
}

function post(options: SendOptions, client = owner): Promise<Results> {
  return client.post('/inventory', options);
}

function postTable(body: SendOptions['body'], headers: Headers = {}): Promise<Results> {
  return post({ ...(body !== undefined && { body }), headers: { ...CSV, ...headers } });
}

function put(sim: string, json: object): Promise<Answer<Sim>> {
  return owner.put(`/inventory/${encodeURIComponent(sim)}`, { json });
}

async function holders(client = owner): Promise<Map<string, string | null>> {
  const found = new Map<string, string | null>();
  for (let page = 1; ; page += 1) {
    const { body } = await client.get<Page>(`/inventory?size=100&page=${page}`);
    for (const { sim_card_id: id, org_id: org } of body.items) found.set(id, org);
    if (body.items.length === 0) return found;
  }
}

async function holderOf(sim: string): Promise<string | null | undefined> {
  return (await holders()).get(sim);
}

/** How many assignments of a SIM the log holds. */
async function assignments(project: string, sim: string): Promise<number> {
  const path = `/admin/log?stream=${encodeURIComponent(`sim-${project}.${sim}`)}&limit=500`;
  return (await service.admin.walk(path)).length;
}

describe('PUT /inventory/{sim}', () => {
  test('assigns a SIM: first from the beginning, later from now', async () => {
    const sim = newSim();
    const first = await put(sim, { org_id: 'acme' });
    expect(first).toMatchObject({ status: 200 });
    expect(first.body).toEqual({ sim_card_id: sim, org_id: 'acme', from: null });
    expect(await holderOf(sim)).toBe('acme');

    const { body } = await put(sim, { org_id: 'beta' });
    expect(body).toEqual({
      sim_card_id: sim,
      org_id: 'beta',
      from: expect.stringMatching(/^20\d\d-.*Z$/),
    });
    expect(await holderOf(sim)).toBe('beta');
  });

  test('says since when it is so where nothing changes', async () => {
    const sim = newSim();
    await put(sim, { org_id: 'acme' });
    expect((await put(sim, { org_id: 'acme' })).body.from).toBe(null);
    const { from } = (await put(sim, { org_id: 'beta' })).body;
    expect((await put(sim, { org_id: 'beta' })).body.from).toBe(from);
  });

  test.each([
    ['2024-02-29', '2024-02-29T00:00:00.000Z'],
    ['2024-02-29T12:00:00+02:00', '2024-02-29T10:00:00.000Z'],
    [1_709_164_800, '2024-02-29T00:00:00.000Z'],
    [1_709_164_800.5, '2024-02-29T00:00:00.500Z'],
    ['1709164800', '2024-02-29T00:00:00.000Z'],
    ['0001-01-01', '0001-01-01T00:00:00.000Z'],
    ['9999-12-31T23:59:59Z', '9999-12-31T23:59:59.000Z'],
  ])('takes the time %j from which on it is so', async (from, time) => {
    const sim = newSim();
    expect((await put(sim, { org_id: 'acme', from })).body.from).toBe(time);
    expect((await put(sim, { org_id: 'acme', from })).body.from).toBe(time);
  });

  test('takes null for a time that is not given', async () => {
    const { status, body } = await put(newSim(), { org_id: 'acme', from: null });
    expect([status, body.from]).toEqual([200, null]);
  });

  test('assigns a SIM to none with null, from when on its usage belongs to no organization', async () => {
    const sim = newSim();
    const org = `org-${sim}`;
    await put(sim, { org_id: org });
    const { body } = await put(sim, { org_id: null, from: '2022-02-18T12:00:00Z' });
    expect(body).toEqual({ sim_card_id: sim, org_id: null, from: '2022-02-18T12:00:00.000Z' });
    expect(await holderOf(sim)).toBe(null);
    const used = (bytes: number, date: string) => ({
      'sim-card-id': sim,
      'bytes-used': bytes,
      date,
    });
    await owner.post('/usage', {
      json: [used(1, '2022-02-18T11:59:59Z'), used(10, '2022-02-18T12:00:00Z')],
    });
    const totals = await owner.get<{ items: object[] }>('/usage/simcards?size=100');
    expect(totals.body.items).toEqual(
      expect.arrayContaining([
        { sim_card_id: sim, org_id: org, 'bytes-used-total': 1 },
        { sim_card_id: sim, org_id: null, 'bytes-used-total': 10 },
      ]),
    );
  });

  test('knows a SIM without the blanks around its id', async () => {
    const sim = newSim();
    expect((await put(` ${sim} `, { org_id: 'acme' })).body.sim_card_id).toBe(sim);
    expect(await holderOf(sim)).toBe('acme');
  });

  test('assigns for a time that has not come without effect until then', async () => {
    const sim = newSim();
    await put(sim, { org_id: 'acme', from: '2999-01-01' });
    expect(await holderOf(sim)).toBe(undefined);
    await put(sim, { org_id: 'beta', from: '2020-01-01' });
    expect(await holderOf(sim)).toBe('beta');
  });

  test('corrects the past, up to the next assignment', async () => {
    const sim = newSim();
    await put(sim, { org_id: 'acme', from: '2020-01-01' });
    await put(sim, { org_id: 'beta', from: '2019-01-01' });
    expect(await holderOf(sim)).toBe('acme');
    await put(sim, { org_id: 'beta', from: '2020-01-01' });
    expect(await holderOf(sim)).toBe('beta');
  });

  test.each([
    {},
    { org_id: '' },
    { org_id: 'null' },
    { org_id: 1 },
    { org_id: 'x'.repeat(257) },
    { org_id: 'a', from: '' },
    { org_id: 'a', from: 'now' },
    { org_id: 'a', from: '2023-02-29' },
    { org_id: 'a', from: '0000-01-01' },
    { org_id: 'a', from: -1 },
    { org_id: 'a', from: '999999999999' },
    { org_id: 'a', from: '46053' },
    { org_id: 'a', from: 20_260_131 },
    { org_id: 'a', from: 10_000_000_000 },
  ])('refuses %j', async (json) => {
    const sim = newSim();
    expect(await put(sim, json)).toMatchObject(problem(422, 'validation-failed'));
    expect(await holderOf(sim)).toBe(undefined);
  });

  test.each(['a/b', '...', '%', '__proto__', '💡', 'x'.repeat(256)])(
    'takes %j as the id of a SIM',
    async (sim) => {
      expect((await put(sim, { org_id: 'constructor' })).body.sim_card_id).toBe(sim);
      expect(await holderOf(sim)).toBe('constructor');
    },
  );
});

describe('GET /inventory', () => {
  test('gives pages by number, and says how many SIMs there are', async () => {
    const client = await newOwner();
    const items = Array.from({ length: 7 }, (_, n) => ({
      sim_card_id: `s${n}`,
      org_id: 'acme',
      from: n === 3 ? '2020-01-01T00:00:00.000Z' : null,
    }));
    await post({ json: items.toReversed() }, client);
    const page = async (query: string): Promise<Page> =>
      (await client.get<Page>(`/inventory${query}`)).body;

    expect(await page('')).toEqual({ items, total: 7, page: 1, size: 50 });
    expect(await page('?size=3')).toEqual({ items: items.slice(0, 3), total: 7, page: 1, size: 3 });
    expect(await page('?page=3&size=3')).toEqual({
      items: items.slice(6),
      total: 7,
      page: 3,
      size: 3,
    });
    expect(await page('?page=4&size=3')).toEqual({ items: [], total: 7, page: 4, size: 3 });
    expect(await page(`?page=${Number.MAX_SAFE_INTEGER}&size=100`)).toMatchObject({ items: [] });
  });

  test.each(['page=0', 'page=-1', 'page=x', 'page=1.5', 'page=', 'size=0', 'size=101', 'size=a'])(
    'refuses %s',
    async (query) => {
      expect(await owner.get(`/inventory?${query}`)).toMatchObject({
        ...problem(422, 'validation-failed'),
        body: { errors: [{ path: `query.${query.split('=')[0]}` }] },
      });
    },
  );

  test('is empty where nothing was assigned, also when others have assigned', async () => {
    await put(newSim(), { org_id: 'acme' });
    expect((await (await newOwner()).get<Page>('/inventory')).body).toEqual({
      items: [],
      total: 0,
      page: 1,
      size: 50,
    });
  });

  test('shows viewers all, and lets them change nothing; devices and admins see none', async () => {
    const sim = newSim();
    await put(sim, { org_id: 'acme' });
    const key = async (path: string, json: object): Promise<ApiClient> =>
      service.client((await owner.post<{ key: string }>(path, { json })).body.key);
    const viewer = await key('/members', { name: 'V', role: 'viewer' });
    const member = await key('/members', { name: 'M', role: 'member' });
    const device = await key('/devices', { device_id: sim });

    expect((await holders(viewer)).get(sim)).toBe('acme');
    const json = { org_id: 'beta' };
    for (const client of [viewer, device, service.admin]) {
      expect(await client.put(`/inventory/${sim}`, { json })).toMatchObject(
        problem(403, 'forbidden'),
      );
      expect(await post({ json: [] }, client)).toMatchObject(problem(403, 'forbidden'));
    }
    for (const client of [device, service.admin]) {
      expect(await client.get('/inventory')).toMatchObject(problem(403, 'forbidden'));
    }
    expect(await member.put(`/inventory/${sim}`, { json })).toMatchObject({ status: 200 });
  });
});

type Row = Readonly<{ sim_card_id: string; org_id: string; from?: string }>;

/** Both ways to send the same rows. */
const WAYS = [
  [
    'an array',
    (rows: readonly Row[], headers: Headers = {}): SendOptions => ({ json: rows, headers }),
  ],
  [
    'a table',
    (rows: readonly Row[], headers: Headers = {}): SendOptions => ({
      body: [
        'sim_card_id,org_id,from',
        ...rows.map(({ sim_card_id: sim, org_id: org, from = '' }) => [sim, org, from].join(',')),
      ].join('\n'),
      headers: { ...CSV, ...headers },
    }),
  ],
] as const;

describe.each(WAYS)('many assignments as %s', (_way, as) => {
  test('are answered row by row, and made', async () => {
    const [a, b] = [newSim(), newSim()];
    const answer = await post(
      as([
        { sim_card_id: b, org_id: 'acme' },
        { sim_card_id: a, org_id: 'beta', from: '2020-01-01' },
      ]),
    );
    expect(answer.body).toEqual({
      results: [
        { row: 1, sim_card_id: b, from: null, status: 200 },
        { row: 2, sim_card_id: a, from: '2020-01-01T00:00:00.000Z', status: 200 },
      ],
    });
    expect([await holderOf(a), await holderOf(b)]).toEqual(['beta', 'acme']);
  });

  test('are read back at the position that the answer carries', async () => {
    const sim = newSim();
    const { headers } = await post(as([{ sim_card_id: sim, org_id: 'acme' }]));
    const minPosition = headers.get('Fleetledger-Position') ?? '';
    const { body } = await owner.get<Page>('/inventory?size=100', {
      headers: { 'fleetledger-min-position': minPosition },
    });
    expect(body.items).toContainEqual({ sim_card_id: sim, org_id: 'acme', from: null });
  });

  test('stop for no bad one among them', async () => {
    const [first, last] = [newSim(), newSim()];
    const bad = [
      { sim_card_id: 'no-org', org_id: '' },
      { sim_card_id: 'x'.repeat(257), org_id: 'acme' },
      { sim_card_id: 'nul', org_id: 'a\u0000b' },
      { sim_card_id: 'when', org_id: 'acme', from: '2020-02-30' },
    ];
    const { body } = await post(
      as([{ sim_card_id: first, org_id: 'acme' }, ...bad, { sim_card_id: last, org_id: 'acme' }], {
        'idempotency-key': `bad-${first}`,
      }),
    );
    expect(body.results).toEqual([
      { row: 1, sim_card_id: first, from: null, status: 200 },
      ...bad.map(({ sim_card_id: sim }, index) => ({
        row: index + 2,
        sim_card_id: sim,
        ...refusal(422, 'validation-failed'),
      })),
      { row: 6, sim_card_id: last, from: null, status: 200 },
    ]);
    const held = await holders();
    expect([first, ...bad.map((row) => row.sim_card_id), last].map((sim) => held.get(sim))).toEqual(
      ['acme', ...bad.map(() => undefined), 'acme'],
    );
  });

  test('of one SIM are made in the order in which they were sent', async () => {
    const sim = newSim();
    const rows = Array.from({ length: 700 }, (_, n) => ({
      sim_card_id: sim,
      org_id: `org${n}`,
      from: '2020-01-01',
    }));
    await post(as(rows));
    expect(await holderOf(sim)).toBe('org699');
  });

  test('sent again change nothing', async () => {
    const { owner: client, id } = await service.newProject();
    const rows = [
      { sim_card_id: 'a', org_id: 'acme' },
      { sim_card_id: 'b', org_id: 'acme', from: '2020-01-01' },
      { sim_card_id: 'b', org_id: 'acme', from: '2022-01-01' },
      { sim_card_id: 'b', org_id: 'beta', from: '2021-01-01' },
    ];
    const first = await post(as(rows), client);
    const second = await post(as(rows), client);
    expect(second.body).toEqual(first.body);
    expect([await assignments(id, 'a'), await assignments(id, 'b')]).toEqual([1, 3]);
  });

  test('sent again with their Idempotency-Key are answered as they were', async () => {
    const { owner: client, id } = await service.newProject();
    const rows = [
      { sim_card_id: 'a', org_id: 'acme', from: '2020-01-01' },
      { sim_card_id: 'a', org_id: '' },
    ];
    const key = { 'idempotency-key': 'again' };
    const first = await post(as(rows, key), client);
    await client.put('/inventory/a', { json: { org_id: 'beta', from: '2020-01-01' } });
    const second = await post(as(rows, key), client);
    expect(second.headers.get('Idempotency-Replayed')).toBe('true');
    expect(second.body).toEqual(first.body);
    expect((await holders(client)).get('a')).toBe('beta');
    expect(await assignments(id, 'a')).toBe(2);
    expect(await post(as([...rows, ...rows], key), client)).toMatchObject(
      problem(422, 'idempotency-key-reused'),
    );
  });

  test('may be 10,000, and no more', { tags: ['slow'] }, async () => {
    const client = await newOwner();
    const rows = Array.from({ length: 10_000 }, (_, n) => ({
      sim_card_id: `s${n}`,
      org_id: 'acme',
    }));
    const answer = await post(as(rows), client);
    expect(answer.body.results.filter(({ status }) => status !== 200)).toEqual([]);
    expect(answer.body.results.at(-1)).toMatchObject({ row: 10_000, sim_card_id: 's9999' });
    expect((await client.get<Page>('/inventory')).body.total).toBe(10_000);
    const more = [...rows, { sim_card_id: 'one-more', org_id: 'acme' }];
    expect(await post(as(more), client)).toMatchObject(problem(422, 'validation-failed'));
    expect((await client.get<Page>('/inventory')).body.total).toBe(10_000);
  });

  test('may be none', async () => {
    expect(await post(as([]))).toMatchObject({ status: 200, body: { results: [] } });
  });
});

describe('an array of assignments', () => {
  test('may hold anything: what is none is refused alone', async () => {
    const sim = newSim();
    const items = [null, 1, 'x', [], {}, { sim_card_id: 1, org_id: 'a' }, { org_id: 'a' }];
    const { body } = await post({ json: [...items, { sim_card_id: sim, org_id: 'acme' }] });
    expect(body.results).toEqual([
      ...items.map((_, index) => ({
        row: index + 1,
        sim_card_id: null,
        ...refusal(422, 'validation-failed'),
      })),
      { row: items.length + 1, sim_card_id: sim, from: null, status: 200 },
    ]);
  });

  test.each([{}, 'x', null])('is not %j', async (json) => {
    expect(await post({ json })).toMatchObject(problem(422, 'validation-failed'));
  });
});

describe('a table of assignments', () => {
  test('has its columns in any order, and commas, quotes and lines within quotes', async () => {
    const [a, b] = [newSim(), newSim()];
    const { body } = await postTable(
      `org_id,from,sim_card_id,\n"said ""yes"",\nthen no",,${a},\nbeta,2020-01-01,${b},\n`,
    );
    expect(body.results).toEqual([
      { row: 1, sim_card_id: a, from: null, status: 200 },
      { row: 2, sim_card_id: b, from: '2020-01-01T00:00:00.000Z', status: 200 },
    ]);
    expect([await holderOf(a), await holderOf(b)]).toEqual(['said "yes",\nthen no', 'beta']);
  });

  test('names its columns without regard to case, blanks and hyphens, and SIM cards as ICCID', async () => {
    for (const header of [
      'ICCID,Org ID,FROM',
      'Sim-Card-Id,OrgId,From',
      'sim_card_id,ORG_ID,from',
    ]) {
      const sim = newSim();
      const { body } = await postTable(`${header}\n${sim},acme,1709164800\n`);
      expect(body.results).toMatchObject([{ sim_card_id: sim, status: 200 }]);
      expect(await holderOf(sim)).toBe('acme');
    }
  });

  test('with a column that is unknown is refused, and says which there are', async () => {
    const answer = await postTable('sim_card_id,org_id,DevEUI\n1,acme,FFA45722AA738240\n');
    expect(answer).toMatchObject({
      ...problem(422, 'validation-failed'),
      body: {
        detail: expect.stringMatching(/^Column 'DevEUI' is unknown: .*sim_card_id, org_id, from/),
        errors: [{ path: 'body.DevEUI' }],
      },
    });
  });

  test('has blanks around its cells that are passed over, also within quotes', async () => {
    const sim = newSim();
    const { body } = await postTable(
      `sim_card_id,org_id,from\n ${sim} , " acme " ,\t2020-01-01 \n`,
    );
    expect(body.results).toMatchObject([{ sim_card_id: sim, status: 200 }]);
    expect(await holderOf(sim)).toBe('acme');
  });

  test('has no ids of which a spreadsheet has left out the digits, nor its days for times', async () => {
    const sim = newSim();
    const { body } = await postTable(
      `sim_card_id,org_id,from\n8.94E+19,acme,\n${sim},1.2e+05,\n${sim},acme,46053\n${sim},acme,20260131\n`,
    );
    expect(body.results.map(({ status }) => status)).toEqual([422, 422, 422, 422]);
    expect(await holderOf('8.94E+19')).toBe(undefined);
    expect(await holderOf(sim)).toBe(undefined);
  });

  test.each([46_053, 20_260_131, -1, 1e15, '46053', 'soon'])(
    'of a SIM card from %j is refused with what to send, as JSON',
    async (from) => {
      const answer = await owner.put(`/inventory/${newSim()}`, { json: { org_id: 'a', from } });
      expect(answer).toMatchObject({
        ...problem(422, 'validation-failed'),
        body: {
          detail:
            "Body member 'from' must be epoch seconds (9 or 10 digits), an RFC 3339 time or " +
            'a day (2026-01-31).',
        },
      });
    },
  );

  test('has no SIM card ids in scientific notation, however it is written, nor has JSON', async () => {
    const refused = ['8.9e19', '89E19', '12E5'];
    const table = await postTable(
      `sim_card_id,org_id\n${refused.map((id) => `${id},acme\n`).join('')}`,
    );
    expect(table.body.results.map(({ status }) => status)).toEqual([422, 422, 422]);

    const json = await owner.post<{ results: unknown[] }>('/inventory', {
      json: [...refused, '8.94E+19'].map((id) => ({ sim_card_id: id, org_id: 'acme' })),
    });
    expect(json.body.results).toEqual(
      Array.from({ length: 4 }, () =>
        expect.objectContaining({
          status: 422,
          detail: expect.stringContaining('scientific notation') as string,
        }),
      ),
    );
  });

  test.each(['text/csv', 'application/csv', 'application/vnd.ms-excel'])(
    'may be sent as %s, and by a spreadsheet that writes semicolons',
    async (type) => {
      const sim = newSim();
      const { body } = await postTable(
        `\ufeffSIM card ID;Org ID;From\r\n${sim};Acme, Inc.;\r\n;;\r\n 8,94E+19;acme;\r\n ; ;\r\n`,
        { 'content-type': type },
      );
      expect(body.results).toMatchObject([
        { row: 1, sim_card_id: sim, from: null, status: 200 },
        { row: 2, sim_card_id: '8,94E+19', status: 422 },
      ]);
      expect(await holderOf(sim)).toBe('Acme, Inc.');
    },
  );

  test('may end in thousands of blank rows', async () => {
    const sim = newSim();
    const { body } = await postTable(`sim_card_id,org_id\n${sim},acme\n${',\n'.repeat(20_000)}`);
    expect(body.results).toHaveLength(1);
    expect(await holderOf(sim)).toBe('acme');
  });

  test.each([
    ['with a byte order mark', (sim: string) => `\ufeffsim_card_id,org_id\n${sim},acme\n`],
    ['of quoted names', (sim: string) => `"sim_card_id","org_id"\n"${sim}","acme"`],
    ['with spaces around its names', (sim: string) => ` sim_card_id , org_id\n${sim},acme\n`],
    ['with CRLF', (sim: string) => `sim_card_id,org_id\r\n${sim},acme\r\n`],
    ['with CR', (sim: string) => `sim_card_id,org_id\r${sim},acme\r`],
    ['with blank lines', (sim: string) => `\n\nsim_card_id,org_id\n\n${sim},acme\n\r\n\n`],
    ['without a newline at its end', (sim: string) => `sim_card_id,org_id\n${sim},acme`],
  ])('may be one %s', async (_which, table) => {
    const sim = newSim();
    const { body } = await postTable(table(sim));
    expect(body.results).toEqual([{ row: 1, sim_card_id: sim, from: null, status: 200 }]);
    expect(await holderOf(sim)).toBe('acme');
  });

  test('may be declared with its charset, and cut anywhere on its way', async () => {
    const sim = `${newSim()} 💡 ü`;
    const bytes = Buffer.from(`sim_card_id,org_id\n${sim},acme\n`);
    const pieces = Array.from(bytes, (byte) => Buffer.from([byte]));
    const { body } = await postTable(pieces, { 'content-type': 'Text/CSV; charset=utf-8' });
    expect(body.results).toEqual([{ row: 1, sim_card_id: sim, from: null, status: 200 }]);
    const latin = { 'content-type': 'text/csv; charset=iso-8859-1' };
    expect(await postTable(bytes, latin)).toMatchObject(problem(415, 'unsupported-media-type'));
  });

  test('takes epoch seconds as text', async () => {
    const sim = newSim();
    await put(sim, { org_id: 'acme', from: '2024-02-29' });
    await postTable(`sim_card_id,org_id,from\n${sim},beta,1709164800\n`);
    expect(await holderOf(sim)).toBe('beta');
  });

  test('continues after a row with too few or too many cells', async () => {
    const [a, b] = [newSim(), newSim()];
    const { body } = await postTable(
      `sim_card_id,org_id\n${a}\n${a},acme,x\n,\n${b},acme,\n"x,y",acme\n`,
    );
    const refused = refusal(422, 'validation-failed');
    expect(body.results).toEqual([
      { row: 1, sim_card_id: a, ...refused },
      { row: 2, sim_card_id: null, ...refused },
      { row: 3, sim_card_id: b, from: null, status: 200 },
      { row: 4, sim_card_id: 'x,y', from: null, status: 200 },
    ]);
    expect(await holderOf(a)).toBe(undefined);
  });

  test.each([
    ['is empty', ''],
    ['has no header', '89440001,acme\n'],
    ['lacks a column', 'sim_card_id\n1\n'],
    ['has a column twice', 'sim_card_id,org_id,Org-Id\n1,a,b\n'],
    ['has a column under two names', 'sim_card_id,iccid,org_id\n1,1,a\n'],
  ])('that %s is refused whole', async (_what, body) => {
    const answer = await postTable(body);
    expect(answer).toMatchObject(problem(422, 'validation-failed'));
    const { errors } = answer.body as unknown as { errors: { path: string }[] };
    expect(errors.map(({ path }) => path)).toContainEqual(
      expect.stringMatching(/^body\.(sim_card_id|org_id)$/),
    );
  });

  test.each([
    ['ends within quotes', (sim: string) => `sim_card_id,org_id\n${sim},acme\n"x,acme\n`],
    ['has text behind a quote', (sim: string) => `sim_card_id,org_id\n${sim},acme\n"x"y,acme\n`],
    ['is no UTF-8', (sim: string) => Buffer.from(`sim_card_id,org_id\n${sim},\xff`, 'latin1')],
  ])('that %s is broken, and changes nothing', async (_what, body) => {
    const sim = newSim();
    expect(await postTable(body(sim))).toMatchObject(problem(400, 'malformed-csv'));
    expect(await holderOf(sim)).toBe(undefined);
  });

  test('may not be larger than 16 MiB', async () => {
    expect(await postTable(`sim_card_id,org_id\n${'x'.repeat(17_000_000)}`)).toMatchObject(
      problem(413, 'body-too-large'),
    );
  });
});

describe('the inventory', () => {
  test('is the same when it is replayed', async () => {
    const sim = newSim();
    await put(sim, { org_id: 'acme' });
    await put(sim, { org_id: 'beta', from: '2020-01-01' });
    const started = await service.admin.post<{ id: string }>('/admin/projections/tenancy/verify');
    expect(started.status).toBe(202);
    const read = () =>
      service.admin.get<{ status: string; differing: object[] }>(
        `/admin/verifications/${started.body.id}`,
      );
    await vi.waitUntil(async () => (await read()).body.status !== 'running', 30_000);
    expect((await read()).body).toMatchObject({ status: 'completed', differing: [] });
  });
});

test('the list of devices is filtered by who holds the SIM card now', async () => {
  const project = await service.newProject();
  for (const [device, sim] of [
    ['d1', '894-1'],
    ['d2', '894-2'],
    ['d3', null],
  ]) {
    await project.owner.post('/devices', { json: { device_id: device, sim_card_id: sim } });
  }
  await project.owner.put('/inventory/894-1', { json: { org_id: 'acme' } });
  await project.owner.put('/inventory/894-2', { json: { org_id: 'acme' } });
  await project.owner.put('/inventory/894-2', { json: { org_id: 'other' } });
  const heldBy = async (org: string): Promise<string[]> => {
    const devices = await project.owner.walk<{ device_id: string }>(`/devices?org_id=${org}`);
    return devices.map(({ device_id: id }) => id);
  };

  expect(await heldBy('acme')).toEqual(['d1']);
  expect(await heldBy('other')).toEqual(['d2']);
  expect(await heldBy('nobody')).toEqual([]);
});
