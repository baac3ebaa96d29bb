import { Webhook } from 'standardwebhooks';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { createTestDatabase } from '../database/test-database.ts';
import { startReceiver, status, type Receiver } from '../followers/webhooks/receiver.ts';
import {
  problem,
  startTestService,
  type ApiClient,
  type TestProject,
  type TestService,
} from './api-client.ts';

const database = createTestDatabase();
let service: TestService;
let project: TestProject;
let owner: ApiClient;
let receiver: Receiver;

beforeAll(async () => {
  service = await startTestService(database.url, {
    roles: ['api', 'projections', 'webhooks'],
    arePrivateWebhooksAllowed: true,
  });
});
afterAll(() => service.stop());
beforeEach(async () => {
  project = await service.newProject();
  ({ owner } = project);
  receiver = await startReceiver();
});
afterEach(() => receiver.stop());

interface CreatedWebhook {
  readonly id: string;
  readonly url: string;
  readonly types: readonly string[] | null;
  readonly domains: readonly string[] | null;
  readonly status: string;
  readonly reason: string | null;
  readonly secret: string;
}

interface WebhookWithDelivery extends Omit<CreatedWebhook, 'secret'> {
  readonly delivery: {
    readonly position: string;
    readonly failures: number;
    readonly failing_since: string | null;
    readonly next_attempt_at: string | null;
    readonly last_error: string | null;
  } | null;
}

interface Attempt {
  readonly id: string;
  readonly attempt: number;
  readonly status: string;
  readonly response_status: number | null;
  readonly events: number;
}

interface CloudEvent {
  readonly id: string;
  readonly type: string;
  readonly subject: string;
  readonly position: string;
  readonly data: Readonly<Record<string, unknown>>;
}

async function create(json: object = {}, client = owner): Promise<CreatedWebhook> {
  const body = { url: `${receiver.url}/hook`, domains: ['state'], ...json };
  const answer = await client.post<CreatedWebhook>('/webhooks', { json: body });
  expect(answer.status).toBe(201);
  return answer.body;
}

/** Patches a sensor with each of the numbers, in their order. */
async function patch(numbers: readonly number[], sensor = 's', client = owner): Promise<void> {
  for (const n of numbers) await client.patch(`/sensors/${sensor}`, { json: { data: { n } } });
}

function delivered(): CloudEvent[] {
  return receiver.requests.flatMap(({ body }) => JSON.parse(body) as CloudEvent[]);
}

function numbersOf(events: readonly CloudEvent[]): unknown[] {
  return events.map(({ data }) => (data['patch'] as { n?: number }).n);
}

async function receivedNumbers(numbers: readonly number[]): Promise<void> {
  await vi.waitFor(() => expect(numbersOf(delivered())).toEqual(numbers), { timeout: 15_000 });
}

async function webhook(id: string): Promise<WebhookWithDelivery> {
  return (await owner.get<WebhookWithDelivery>(`/webhooks/${id}`)).body;
}

describe('what is delivered', () => {
  test('events come in order, signed, as a batch of CloudEvents', async () => {
    const { secret } = await create();
    await patch([1, 2, 3]);
    await receivedNumbers([1, 2, 3]);
    const verifier = new Webhook(secret);
    for (const { body, headers, path } of receiver.requests) {
      expect(path).toBe('/hook');
      expect(headers['content-type']).toBe('application/cloudevents-batch+json; charset=utf-8');
      // Throws for a signature that is not good.
      verifier.verify(body, headers as Record<string, string>);
    }
    expect(delivered()[0]).toMatchObject({
      specversion: '1.0',
      type: 'SensorPatched',
      source: `/api/v1/projects/${project.id}`,
      subject: 'sensors/s',
      domain: 'state',
      datacontenttype: 'application/json',
      data: { sensorId: 's', patch: { n: 1 } },
    });
  });

  test('by default it begins with what comes after its creation', async () => {
    await patch([1, 2]);
    await create();
    await patch([3]);
    await receivedNumbers([3]);
  });

  test('from no moment that cannot be meant, and of no unknown type', async () => {
    for (const [json, path] of [
      [{ from: 'hello' }, 'body.from'],
      [{ types: ['Earthquake'] }, 'body.types.0'],
    ] as const) {
      const answer = await owner.post('/webhooks', {
        json: { url: 'https://example.com', ...json },
      });
      expect(answer).toMatchObject({ status: 422, body: { errors: [{ path }] } });
    }
    const list = await owner.post('/webhooks', { json: [] });
    expect(list.body).toMatchObject({ detail: 'The body must be an object.' });
  });

  test('from the start, from a position and from a time, itself included', async () => {
    const first = await owner.patch('/sensors/s', { json: { data: { n: 1 } } });
    const second = await owner.patch('/sensors/s', { json: { data: { n: 2 } } });
    await create({ from: 'start' });
    await receivedNumbers([1, 2]);
    receiver.requests.length = 0;
    await create({ from: second.headers.get('fleetledger-position') });
    await receivedNumbers([2]);
    receiver.requests.length = 0;
    await create({ from: '2020-01-01' });
    await receivedNumbers([1, 2]);
    expect(first.status).toBe(200);
  });

  test('filters by type and domain', async () => {
    const { id } = await create({ types: ['DeviceRegistered'], domains: [] });
    await patch([1]);
    await owner.post('/devices', { json: { device_id: 'd1' } });
    await vi.waitFor(() => expect(delivered()).toHaveLength(1), { timeout: 20_000 });
    expect(delivered()[0]).toMatchObject({ type: 'DeviceRegistered', subject: 'devices/d1' });
    await owner.patch(`/webhooks/${id}`, { json: { types: [], domains: ['state'] } });
    await patch([2]);
    await vi.waitFor(() => expect(delivered()).toHaveLength(2), { timeout: 20_000 });
    expect(delivered()[1]).toMatchObject({ type: 'SensorPatched' });
  });

  test('no secret, hash or salt is delivered, and nothing of another project', async () => {
    const other = await service.newProject();
    await create({ domains: [] });
    await patch([1], 'theirs', other.owner);
    await owner.post('/members', { json: { name: 'M', role: 'viewer' } });
    await patch([2]);
    await vi.waitFor(() => expect(delivered().at(-1)?.type).toBe('SensorPatched'), {
      timeout: 20_000,
    });
    const text = receiver.requests.map(({ body }) => body).join('');
    expect(text).toContain('MemberAdded');
    for (const hidden of ['secretHash', 'salt', 'theirs', other.id, 'whsec_']) {
      expect(text).not.toContain(hidden);
    }
  });

  test('events that wait are sent together', async () => {
    await patch(Array.from({ length: 120 }, (_, n) => n));
    await create({ from: 'start' });
    await receivedNumbers(Array.from({ length: 120 }, (_, n) => n));
    expect(receiver.requests.length).toBeLessThan(10);
    for (const { body } of receiver.requests) {
      expect((JSON.parse(body) as unknown[]).length).toBeLessThanOrEqual(100);
    }
  });
});

describe('failures', () => {
  test('a message is sent again under one id until it is taken; none overtakes it', async () => {
    receiver.respond = status(500);
    const { id } = await create();
    await patch([1]);
    await vi.waitFor(() => expect(receiver.requests.length).toBeGreaterThanOrEqual(2), {
      timeout: 10_000,
    });
    await patch([2]);
    const retrying = await webhook(id);
    expect(retrying).toMatchObject({
      status: 'active',
      delivery: { last_error: 'the receiver answered 500' },
    });
    expect(retrying.delivery?.next_attempt_at).not.toBeNull();
    receiver.respond = status(204);
    const failed = receiver.requests.length;
    await vi.waitFor(() => expect(numbersOf(delivered()).at(-1)).toBe(2), { timeout: 15_000 });
    const ids = receiver.requests.slice(0, failed + 1).map(({ headers }) => headers['webhook-id']);
    expect(new Set(ids).size).toBe(1);
    expect(numbersOf(delivered()).filter((n) => n === 2)).toHaveLength(1);
    await vi.waitFor(
      async () =>
        expect(await webhook(id)).toMatchObject({
          delivery: { failures: 0, failing_since: null, last_error: null },
        }),
      { timeout: 20_000 },
    );
  });

  test('one that fails holds up no other', async () => {
    const good = receiver;
    const bad = await startReceiver();
    bad.respond = () => undefined;
    await create({ url: bad.url });
    await create({ url: good.url });
    await patch([1, 2, 3]);
    await receivedNumbers([1, 2, 3]);
    await bad.stop();
  });

  test('410 ends it: it says so, and can only be deleted', async () => {
    receiver.respond = status(410);
    const { id } = await create();
    await patch([1]);
    await vi.waitFor(async () => expect((await webhook(id)).status).toBe('ended'), {
      timeout: 20_000,
    });
    await patch([2]);
    expect((await webhook(id)).reason).toBe('the receiver answered 410 Gone');
    for (const action of ['resume', 'rotate-secret']) {
      expect(await owner.post(`/webhooks/${id}/${action}`)).toMatchObject(
        problem(409, 'webhook-ended'),
      );
    }
    expect(receiver.requests).toHaveLength(1);
    expect((await owner.delete(`/webhooks/${id}`)).status).toBe(204);
    expect(await owner.get(`/webhooks/${id}`)).toMatchObject(problem(404, 'not-found'));
  });

  test('attempts are listed, newest first', async () => {
    receiver.respond = (request, response) => {
      receiver.respond = status(204);
      status(503)(request, response);
    };
    const { id } = await create();
    await patch([1]);
    await receivedNumbers([1, 1]);
    await vi.waitFor(
      async () => {
        const attempts = await owner.walk<Attempt>(`/webhooks/${id}/deliveries?limit=1`);
        expect(attempts).toMatchObject([
          { status: 'delivered', attempt: 2, response_status: 204, events: 1 },
          { status: 'failed', attempt: 1, response_status: 503, events: 1 },
        ]);
        expect(attempts[0]?.id).toBe(receiver.requests[0]?.headers['webhook-id']);
      },
      { timeout: 20_000 },
    );
  });
});

describe('what its owner does', () => {
  test('a changed URL is used at once, also by what waits to be sent again', async () => {
    const { id } = await create({ url: 'http://127.0.0.1:1/' });
    await patch([1]);
    await vi.waitFor(
      async () => expect((await webhook(id)).delivery?.failures).toBeGreaterThanOrEqual(1),
      { timeout: 20_000 },
    );
    await owner.patch(`/webhooks/${id}`, { json: { url: receiver.url } });
    await receivedNumbers([1]);
  });

  test('a replay sends events again under new message ids, and the same event ids', async () => {
    const { id } = await create();
    await patch([1, 2]);
    await receivedNumbers([1, 2]);
    expect((await owner.post(`/webhooks/${id}/replay`, { json: { from: 'start' } })).status).toBe(
      200,
    );
    await receivedNumbers([1, 2, 1, 2]);
    const ids = delivered().map(({ id: eventId }) => eventId);
    expect(ids.slice(2)).toEqual(ids.slice(0, 2));
    const messages = receiver.requests.map(({ headers }) => headers['webhook-id']);
    expect(new Set(messages).size).toBe(messages.length);
    await patch([3]);
    await receivedNumbers([1, 2, 1, 2, 3]);
  });

  test('a rotated secret signs beside the one before it, until that is over', async () => {
    const { id, secret: first } = await create();
    const rotated = await owner.post<CreatedWebhook>(`/webhooks/${id}/rotate-secret`);
    const second = rotated.body.secret;
    expect(rotated.headers.get('cache-control')).toBe('no-store');
    expect(second).not.toBe(first);
    await patch([1]);
    await receivedNumbers([1]);
    const [request] = receiver.requests;
    for (const secret of [first, second]) {
      new Webhook(secret).verify(request?.body ?? '', request?.headers as Record<string, string>);
    }
    const json = { overlap_seconds: 0 };
    const { body } = await owner.post<CreatedWebhook>(`/webhooks/${id}/rotate-secret`, { json });
    await patch([2]);
    await receivedNumbers([1, 2]);
    const last = receiver.requests.at(-1);
    const headers = last?.headers as Record<string, string>;
    new Webhook(body.secret).verify(last?.body ?? '', headers);
    expect(() => new Webhook(second).verify(last?.body ?? '', headers)).toThrow();
  });

  test('a secret is shown once, and again only to whoever repeats the request', async () => {
    const json = { url: receiver.url };
    const headers = { 'idempotency-key': 'create-the-webhook' };
    const first = await owner.post<CreatedWebhook>('/webhooks', { json, headers });
    const again = await owner.post<CreatedWebhook>('/webhooks', { json, headers });
    expect(again.status).toBe(201);
    expect(again.body).toEqual(first.body);
    expect(again.headers.get('idempotency-replayed')).toBe('true');
    const { id, secret } = first.body;
    expect((await owner.get(`/webhooks/${id}`)).text).not.toContain('whsec_');
    expect(await owner.walk('/webhooks')).toHaveLength(1);
    const log = await service.admin.walk('/admin/log?limit=500');
    expect(JSON.stringify(log)).not.toContain(secret.slice('whsec_'.length));
    expect(JSON.stringify(log)).not.toContain('whsec_');
  });

  test('a deleted webhook is sent nothing more', async () => {
    const { id } = await create();
    const kept = await create({ url: `${receiver.url}/kept` });
    await patch([1]);
    await receivedNumbers([1, 1]);
    await owner.delete(`/webhooks/${id}`);
    await patch([2]);
    await vi.waitFor(() => expect(receiver.requests.at(-1)?.path).toBe('/kept'), {
      timeout: 20_000,
    });
    await vi.waitFor(
      async () => {
        const { position } = (await webhook(kept.id)).delivery ?? {};
        expect(numbersOf(delivered())).toContain(2);
        expect(position).toBeDefined();
      },
      { timeout: 20_000 },
    );
    expect(receiver.requests.filter(({ path }) => path === '/hook')).toHaveLength(1);
  });

  test('lists and past answers', async () => {
    const [a, b] = [await create(), await create()];
    const before = (await owner.get('/webhooks')).headers.get('fleetledger-position') ?? '';
    await owner.delete(`/webhooks/${a.id}`);
    await owner.patch(`/webhooks/${b.id}`, { json: { domains: [] } });
    const ids = async (query: string): Promise<string[]> =>
      (await owner.walk<{ id: string }>(`/webhooks?${query}`)).map(({ id }) => id);
    expect(await ids('limit=1')).toEqual([b.id]);
    expect(await ids(`limit=1&as_of=${before}`)).toEqual([a.id, b.id]);
    const past = await owner.get<WebhookWithDelivery>(`/webhooks/${b.id}?as_of=${before}`);
    expect(past.body).toMatchObject({ domains: ['state'], delivery: null });
    expect((await webhook(b.id)).domains).toBeNull();
  });
});
