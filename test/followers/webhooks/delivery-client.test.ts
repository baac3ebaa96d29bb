import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import {
  DeliveryClient,
  type AttemptResult,
  type DeliveryClientOptions,
} from '../../../src/followers/webhooks/delivery-client.ts';
import { startReceiver, status, type Receiver } from './receiver.ts';

const running = new AbortController().signal;
let receiver: Receiver;
let clients: DeliveryClient[] = [];

beforeEach(async () => {
  receiver = await startReceiver();
});
afterEach(async () => {
  for (const client of clients) client.close();
  clients = [];
  await receiver.stop();
});

function post(
  url: string,
  options: Partial<DeliveryClientOptions> = {},
  stopping: AbortSignal = running,
): Promise<AttemptResult> {
  const client = new DeliveryClient({ allowPrivate: true, ...options });
  clients.push(client);
  return client.post(url, { 'content-type': 'application/json' }, '["body"]', stopping);
}

describe('an attempt', () => {
  test('sends body and headers, and any 2xx is a delivery', async () => {
    for (const code of [200, 201, 202, 204, 299]) {
      receiver.respond = status(code);
      const outcome = await post(`${receiver.url}/hook?token=1`);
      expect(outcome).toEqual({ status: 'delivered', responseStatus: code });
    }
    expect(receiver.requests[0]).toMatchObject({
      path: '/hook?token=1',
      body: '["body"]',
      headers: { 'content-type': 'application/json', 'content-length': '8' },
    });
  });

  test('410 is the end, and every other status a failure', async () => {
    receiver.respond = status(410);
    expect(await post(receiver.url)).toMatchObject({ status: 'gone', responseStatus: 410 });
    for (const code of [400, 401, 404, 413, 429, 500, 503]) {
      receiver.respond = status(code);
      expect(await post(receiver.url)).toMatchObject({
        status: 'failed',
        responseStatus: code,
        error: `the receiver answered ${code}`,
        retryAfterMs: 0,
      });
    }
  });

  test('a redirect is a failure, and is not followed', async () => {
    for (const code of [301, 302, 303, 307, 308]) {
      receiver.respond = status(code, { location: `${receiver.url}/elsewhere` });
      expect(await post(`${receiver.url}/hook`)).toMatchObject({
        status: 'failed',
        responseStatus: code,
        error: `the receiver answered ${code}: redirects are not followed`,
      });
    }
    expect(receiver.requests.map(({ path }) => path)).toEqual(Array(5).fill('/hook'));
  });

  test('Retry-After in seconds is heard', async () => {
    receiver.respond = status(503, { 'retry-after': '7' });
    expect(await post(receiver.url)).toMatchObject({ retryAfterMs: 7_000 });
    receiver.respond = status(503, { 'retry-after': 'Fri, 27 Nov 2026 16:00:00 GMT' });
    expect(await post(receiver.url)).toMatchObject({ retryAfterMs: 0 });
  });

  test('no response in time is a failure', async () => {
    receiver.respond = () => undefined;
    expect(await post(receiver.url, { timeoutMs: 50 })).toEqual({
      status: 'failed',
      responseStatus: null,
      error: 'no response within 0.05 s',
      retryAfterMs: 0,
    });
  });

  test('an endless response is cut off, and its status counts', async () => {
    let isClosed = false;
    receiver.respond = (_request, response) => {
      response.writeHead(200);
      const writing = setInterval(() => response.write('x'.repeat(8 * 1024)), 1);
      response.on('close', () => {
        isClosed = true;
        clearInterval(writing);
      });
    };
    expect(await post(receiver.url)).toEqual({ status: 'delivered', responseStatus: 200 });
    await expect.poll(() => isClosed).toBe(true);
  });

  test('a response that does not end in time counts by its status', async () => {
    receiver.respond = (_, response) => {
      response.writeHead(200).write('more to come');
    };
    const outcome = await post(receiver.url, { timeoutMs: 300 });
    expect(outcome).toEqual({ status: 'delivered', responseStatus: 200 });
  });

  test('a connection that cannot be made, or breaks, is a failure', async () => {
    receiver.respond = (_request, response) => response.destroy();
    expect(await post(receiver.url)).toMatchObject({ status: 'failed', responseStatus: null });
    await receiver.stop();
    expect(await post(receiver.url)).toMatchObject({
      error: expect.stringContaining('ECONNREFUSED') as string,
    });
  });

  test('a kept connection that the receiver has closed is replaced', async () => {
    const client = new DeliveryClient({ allowPrivate: true });
    clients.push(client);
    expect(await client.post(receiver.url, {}, '1', running)).toMatchObject({
      status: 'delivered',
    });
    // Closed at the moment at which the next request comes.
    receiver.respond = (request, response) => {
      receiver.respond = status(200);
      if (request.body === '2') response.socket?.destroy();
    };
    expect(await client.post(receiver.url, {}, '2', running)).toMatchObject({
      status: 'delivered',
    });
    expect(receiver.requests.map(({ body }) => body)).toEqual(['1', '2', '2']);
  });

  test('it is given up when the process stops', async () => {
    const stopping = new AbortController();
    receiver.respond = () => stopping.abort();
    expect(await post(receiver.url, {}, stopping.signal)).toMatchObject({ status: 'failed' });
  });
});

describe('private addresses', () => {
  test('are refused, by address, by localhost and by what a name resolves to', async () => {
    const { port } = new URL(receiver.url);
    const lookup: DeliveryClientOptions['lookup'] = (_hostname, _options, callback) =>
      callback(null, [{ address: '127.0.0.1', family: 4 }]);
    for (const host of ['127.0.0.1', 'localhost', '[::ffff:7f00:1]', 'receiver.example']) {
      const url = `http://${host}:${port}/`;
      expect(await post(url, { allowPrivate: false, lookup })).toMatchObject({
        status: 'failed',
        responseStatus: null,
        error: expect.stringContaining('is not a public address') as string,
      });
    }
    expect(receiver.requests).toEqual([]);
  });

  test('a name that resolves to another address each time is refused each time', async () => {
    const { port } = new URL(receiver.url);
    const answers = ['192.0.0.1', '127.0.0.1'];
    const lookup: DeliveryClientOptions['lookup'] = (_hostname, _options, callback) =>
      callback(null, [{ address: answers.shift() ?? '127.0.0.1', family: 4 }]);
    const url = `http://receiver.example:${port}/`;
    await post(url, { allowPrivate: false, lookup });
    await post(url, { allowPrivate: false, lookup });
    expect(receiver.requests).toEqual([]);
  });
});
