import { execFile } from 'node:child_process';
import { once } from 'node:events';
import {
  createServer,
  type IncomingMessage,
  type RequestListener,
  type Server,
  type ServerResponse,
} from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { createServer as createTcpServer, type AddressInfo } from 'node:net';
import path from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, onTestFinished, test } from 'vitest';
import {
  MAX_IN_FLIGHT,
  openHttpProvider,
  type HttpProviderOptions,
} from '../../src/lorawan/http-provider.ts';
import type { LorawanProvider, ProviderAnswer } from '../../src/lorawan/provider.ts';
import { closedGate } from '../gate.ts';
import { selfSignedCertificate } from './certificate.ts';

const DEVEUI = 'FFA45722AA738240';
/** A time-out for what answers: more than any machine needs. */
const LONG_MS = 30_000;
/** A time-out for what does not answer; enough to connect and to send on a busy machine. */
const SHORT_MS = 1_000;

async function serve(server: Server): Promise<string> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    server.close();
    server.closeAllConnections();
  });
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

async function startServer(listener: RequestListener): Promise<string> {
  return `http://${await serve(createServer(listener))}`;
}

function open(
  url: string,
  options: Partial<Omit<HttpProviderOptions, 'url'>> = {},
): LorawanProvider {
  const provider = openHttpProvider({ url, timeoutMs: LONG_MS, ...options });
  onTestFinished(() => provider.close());
  return provider;
}

function ask(provider: LorawanProvider, devEui = DEVEUI): Promise<ProviderAnswer> {
  return provider.inSlot((register) => register(devEui));
}

async function answerOfServer(
  listener: RequestListener,
  timeoutMs = LONG_MS,
): Promise<ProviderAnswer> {
  return ask(open(await startServer(listener), { timeoutMs }));
}

async function textOf(request: IncomingMessage): Promise<string> {
  let text = '';
  for await (const chunk of request) text += String(chunk);
  return text;
}

function ok(response: ServerResponse): void {
  response.end(`{"deveui":"${DEVEUI}"}`);
}

describe('a request', () => {
  interface Seen {
    readonly line: string;
    readonly headers: IncomingMessage['headers'];
    readonly body: string;
  }

  async function seenBy(
    pathOfUrl: string,
    options: Partial<HttpProviderOptions> = {},
    userInfo = '',
  ): Promise<Seen> {
    let seen: Seen | undefined;
    const url = await startServer((request, response) => {
      const { method = '', url = '', headers } = request;
      void textOf(request).then((body) => {
        seen = { line: `${method} ${url}`, headers, body };
        ok(response);
      });
    });
    await ask(open(url.replace('//', `//${userInfo}`) + pathOfUrl, options));
    if (seen === undefined) throw new Error('no request came');
    return seen;
  }

  test('brings the DevEUI as JSON, with its length', async () => {
    const { line, headers, body } = await seenBy('');
    expect(line).toBe('POST /sensor-onboarding-sample');
    expect(body).toBe(`{"deveui":"${DEVEUI}"}`);
    expect(headers['content-type']).toBe('application/json');
    expect(headers['content-length']).toBe(String(body.length));
    expect(headers.authorization).toBeUndefined();
  });

  test('goes below the path of the URL, with its query', async () => {
    expect((await seenBy('/some/base/')).line).toBe('POST /some/base/sensor-onboarding-sample');
    expect((await seenBy('/base?code=1#part')).line).toBe(
      'POST /base/sensor-onboarding-sample?code=1',
    );
  });

  test('brings a key as a bearer token, or with the scheme it comes with', async () => {
    const bearer = await seenBy('', { apiKey: 'secret' });
    expect(bearer.headers.authorization).toBe('Bearer secret');
    const token = await seenBy('', { apiKey: 'Token secret' });
    expect(token.headers.authorization).toBe('Token secret');
  });

  test('brings credentials of the URL as Basic, unless there is a key', async () => {
    const basic = await seenBy('', {}, 'user:p%40ss@');
    const encoded = Buffer.from('user:p@ss').toString('base64');
    expect(basic.headers.authorization).toBe(`Basic ${encoded}`);
    const bearer = await seenBy('', { apiKey: 'secret' }, 'user:p%40ss@');
    expect(bearer.headers.authorization).toBe('Bearer secret');
  });
});

test('the address is the same for all ways to write it, and has no credentials', () => {
  const address = 'https://example.com/base';
  for (const url of [
    'https://example.com/base',
    'HTTPS://user:pass@Example.COM:443/base//?code=1#part',
  ]) {
    expect(open(url).address).toBe(address);
  }
  expect(open('http://example.com').address).toBe('http://example.com');
  expect(open('http://[::1]:8090/').address).toBe('http://[::1]:8090');
});

test('a key that no header can hold is refused before any request', () => {
  expect(() => open('http://127.0.0.1:1', { apiKey: 'a\nb' })).toThrow(TypeError);
});

describe('of an answer, the status decides', () => {
  test.each([200, 201, 204])('%i: it is registered', async (status) => {
    const answer = await answerOfServer((_, response) => response.writeHead(status).end());
    expect(answer).toEqual({ outcome: 'registered', status });
  });

  test('422: it is in use', async () => {
    const answer = await answerOfServer((_, response) => response.writeHead(422).end('used'));
    const reason = 'the provider answered 422: used';
    expect(answer).toEqual({ outcome: 'in-use', status: 422, reason });
  });

  test('the reason quotes the beginning of the body, in one line that can be stored', async () => {
    const quoted = async (status: number, ...chunks: readonly string[]): Promise<unknown> => {
      const answer = await answerOfServer((_, response) => {
        response.writeHead(status);
        for (const chunk of chunks) response.write(chunk);
        response.end();
      });
      return answer.outcome === 'registered' ? undefined : answer.reason;
    };
    expect(await quoted(422, ' a\n\tb\u0000', 'c ')).toBe('the provider answered 422: a b c');
    expect(await quoted(400, ' \r\n ')).toBe('the provider answered 400');
    const long = '🛰'.repeat(500);
    const cut = `the provider answered 500: ${'🛰'.repeat(200)}…`;
    expect(await quoted(500, long.slice(0, 100), long.slice(100))).toBe(cut);
  });

  test.each([400, 401, 403, 404, 405, 413, 415, 429])(
    '%i: it failed without an effect',
    async (status) => {
      const answer = await answerOfServer((_, response) => response.writeHead(status).end());
      expect(answer).toEqual({
        outcome: 'failed',
        status,
        reason: `the provider answered ${status}`,
        mayBeRegistered: false,
      });
    },
  );

  test.each([202, 206, 302, 307, 408, 409, 500, 502, 503, 504])(
    '%i: it failed, and may be registered',
    async (status) => {
      const answer = await answerOfServer((request, response) => {
        // A redirection that was followed would come here.
        const isFirst = request.url === '/sensor-onboarding-sample';
        response.writeHead(isFirst ? status : 200, { Location: '/elsewhere' }).end();
      });
      expect(answer).toEqual({
        outcome: 'failed',
        status,
        reason: `the provider answered ${status}`,
        mayBeRegistered: true,
      });
    },
  );

  test('an answer before the answer, of 1xx, is none', async () => {
    const answer = await answerOfServer((_, response) => {
      response.writeProcessing();
      response.writeHead(422).end();
    });
    expect(answer.outcome).toBe('in-use');
  });

  test('one that takes longer than an idle connection is kept is waited for', async () => {
    const answer = await answerOfServer((_, response) => void setTimeout(ok, 800, response));
    expect(answer.outcome).toBe('registered');
  });
});

describe('a provider that asks to be left alone', () => {
  async function retryAfter(status: number, value: string): Promise<number | undefined> {
    const answer = await answerOfServer((_, response) =>
      response.writeHead(status, { 'Retry-After': value }).end(),
    );
    if (answer.outcome !== 'failed') throw new Error(answer.outcome);
    return answer.retryAfterMs;
  }

  test.each([429, 503])('says with %i for how many seconds', async (status) => {
    expect(await retryAfter(status, '120')).toBe(120_000);
    expect(await retryAfter(status, '0')).toBe(0);
  });

  test('says until when', async () => {
    const HOUR_MS = 3_600_000;
    const inAnHourMs = await retryAfter(503, new Date(Date.now() + HOUR_MS).toUTCString());
    expect(inAnHourMs).toBeGreaterThan(HOUR_MS / 2);
    expect(inAnHourMs).toBeLessThanOrEqual(HOUR_MS);
    expect(await retryAfter(503, 'Wed, 21 Oct 2015 07:28:00 GMT')).toBe(0);
  });

  test.each(['soon', '1.5', '-1', '99999999999', 'Monday next'])(
    'is not understood when it says %s',
    async (value) => {
      expect(await retryAfter(503, value)).toBeUndefined();
    },
  );

  test('is not asked with other answers', async () => {
    expect(await retryAfter(500, '120')).toBeUndefined();
  });
});

describe('a request without an answer', () => {
  const unknown = (reason: string): ProviderAnswer => ({
    outcome: 'failed',
    status: null,
    reason,
    mayBeRegistered: true,
  });

  test('that hangs ends at the time-out, as a failure that may have registered', async () => {
    const closed = closedGate();
    const answer = await answerOfServer((request) => {
      request.socket.once('close', closed.open);
    }, SHORT_MS);
    expect(answer).toEqual(unknown(`no answer within ${SHORT_MS} ms`));
    await closed.passed;
  });

  test('whose connection is reset may have registered', async () => {
    const answer = await answerOfServer(({ socket }) => socket.resetAndDestroy());
    expect(answer).toEqual(unknown('the connection was reset'));
  });

  test('whose connection is closed may have registered', async () => {
    const answer = await answerOfServer(({ socket }) => socket.destroy());
    expect(answer).toEqual(unknown('the connection was reset'));
  });

  test('whose answer is not HTTP may have registered', async () => {
    const answer = await answerOfServer(({ socket }) => socket.end('hello? hello?\n\n'));
    expect(answer).toEqual(unknown('the answer was not HTTP'));
  });

  test('over a kept connection that the provider gives up may have registered', async () => {
    let requests = 0;
    const provider = open(
      await startServer((request, response) => {
        requests += 1;
        if (requests === 1) ok(response);
        else request.socket.resetAndDestroy();
      }),
    );
    const answers = await provider.inSlot(async (register) => [
      await register(DEVEUI),
      await register(DEVEUI),
    ]);
    expect(answers).toEqual([
      { outcome: 'registered', status: 200 },
      unknown('the connection was reset'),
    ]);
  });

  test('that is aborted may have registered, and the next one is made', async () => {
    const hanging: IncomingMessage[] = [];
    let mayAnswer = false;
    const provider = open(
      await startServer((request, response) => {
        if (mayAnswer) ok(response);
        else hanging.push(request);
      }),
    );
    const answers = [0, 1, 2].map(() => ask(provider));
    await expect.poll(() => hanging.length).toBe(3);
    mayAnswer = true;
    provider.abort();
    const aborted = unknown('it was given up before it was answered');
    expect(await Promise.all(answers)).toEqual([aborted, aborted, aborted]);
    expect((await ask(provider)).outcome).toBe('registered');
  });
});

describe('a request without a connection has had no effect', () => {
  const without = (reason: string): object => ({
    outcome: 'failed',
    status: null,
    reason,
    mayBeRegistered: false,
  });

  async function freePort(): Promise<number> {
    const server = createTcpServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    server.close();
    await once(server, 'close');
    return port;
  }

  test('when it is refused', async () => {
    const port = await freePort();
    const refused = without('connection refused (ECONNREFUSED)');
    expect(await ask(open(`http://127.0.0.1:${port}`))).toEqual(refused);
    // Where the name has two addresses, both are tried.
    expect(await ask(open(`http://localhost:${port}`))).toEqual(refused);
  });

  test('when the host has no such name', async () => {
    const answer = await ask(open('http://no-such-host.invalid'));
    expect(answer).toMatchObject({ mayBeRegistered: false, status: null });
    expect(answer).toHaveProperty('reason', expect.stringMatching(/^the name of the host .+ \(E/));
  });

  test('when TLS does not come about in time', async () => {
    const server = createTcpServer((socket) => socket.resume()).listen(0, '127.0.0.1');
    await once(server, 'listening');
    onTestFinished(() => void server.close());
    const { port } = server.address() as AddressInfo;
    const answer = await ask(open(`https://127.0.0.1:${port}`, { timeoutMs: SHORT_MS }));
    expect(answer).toEqual(without(`no answer within ${SHORT_MS} ms`));
  });

  test('when the provider does not speak TLS', async () => {
    const url = await startServer((_, response) => ok(response));
    const answer = await ask(open(url.replace('http:', 'https:')));
    expect(answer).toMatchObject({ outcome: 'failed', mayBeRegistered: false });
  });
});

describe('by https', () => {
  async function startTlsServer(): Promise<{ url: string; certFile: string; requests(): number }> {
    const { key, cert, certFile } = await selfSignedCertificate();
    let requests = 0;
    const server = createTlsServer({ key, cert }, (_, response) => {
      requests += 1;
      ok(response);
    });
    return { url: `https://${await serve(server)}`, certFile, requests: () => requests };
  }

  test('a certificate that nobody vouches for ends the request before it is sent', async () => {
    const { url, requests } = await startTlsServer();
    expect(await ask(open(url))).toEqual({
      outcome: 'failed',
      status: null,
      reason: 'its certificate is not trusted (DEPTH_ZERO_SELF_SIGNED_CERT)',
      mayBeRegistered: false,
    });
    expect(requests()).toBe(0);
  });

  test('one that NODE_EXTRA_CA_CERTS vouches for is trusted', async () => {
    const { url, certFile } = await startTlsServer();
    const child = path.join(import.meta.dirname, 'https-child.ts');
    const { stdout } = await promisify(execFile)(
      process.execPath,
      ['--import', 'tsx', child, url, DEVEUI],
      { env: { ...process.env, NODE_EXTRA_CA_CERTS: certFile } },
    );
    expect(JSON.parse(stdout)).toEqual({ outcome: 'registered', status: 200 });
  });
});

describe('a body', () => {
  test('that hangs takes nothing back from its status, and ends at the time-out', async () => {
    const closed = closedGate();
    const answer = await answerOfServer((request, response) => {
      request.socket.once('close', closed.open);
      response.writeHead(200).write('{');
    }, SHORT_MS);
    expect(answer).toEqual({ outcome: 'registered', status: 200 });
    await closed.passed;
  });

  test('that breaks off takes nothing back from its status', async () => {
    const answer = await answerOfServer((request, response) => {
      response.writeHead(422, { 'Content-Length': 100 });
      response.write('{', () => request.socket.destroy());
    });
    const reason = 'the provider answered 422: {';
    expect(answer).toEqual({ outcome: 'in-use', status: 422, reason });
  });

  test('without an end is not read to its end', async () => {
    const closed = closedGate();
    const answer = await answerOfServer((request, response) => {
      request.socket.once('close', closed.open);
      const chunk = 'x'.repeat(16_384);
      const more = (): void => {
        while (!response.destroyed && response.write(chunk));
      };
      response.on('drain', more).writeHead(200);
      more();
    });
    expect(answer).toEqual({ outcome: 'registered', status: 200 });
    await closed.passed;
  });
});

describe('slots', () => {
  /**
   * Counts what is in flight as the provider does: until it has answered, or sees the connection
   * end.
   */
  async function startCountingServer(
    listener: (response: ServerResponse, ordinal: number) => void,
  ): Promise<{ url: string; peak(): number; requests(): number }> {
    let inFlight = 0;
    let peak = 0;
    let requests = 0;
    const url = await startServer((_, response) => {
      inFlight += 1;
      peak = Math.max(peak, inFlight);
      response.once('close', () => (inFlight -= 1));
      listener(response, requests++);
    });
    return { url, peak: () => peak, requests: () => requests };
  }

  test('let 10 of 100 callers in at a time, however their requests end', async () => {
    const { url, peak, requests } = await startCountingServer((response, ordinal) => {
      const kind = ordinal % 10;
      if (kind < 2) response.socket?.resetAndDestroy();
      else if (kind < 4) response.socket?.end('garbage');
      // After a part of the answer, it hangs.
      else if (kind === 4) response.writeHead(200).write('{');
      else if (kind > 5) setImmediate(ok, response);
    });
    const provider = open(url, { timeoutMs: SHORT_MS });
    await Promise.all(Array.from({ length: 100 }, () => ask(provider)));
    expect(requests()).toBe(100);
    expect(peak()).toBeLessThanOrEqual(MAX_IN_FLIGHT);
  });

  test('are had in the order in which they were asked for, and it is known how many wait', async () => {
    const { url } = await startCountingServer(ok);
    const provider = open(url);
    const gate = closedGate();
    const started: number[] = [];
    const all = Array.from({ length: 30 }, (_, caller) =>
      provider.inSlot(async (register) => {
        started.push(caller);
        await gate.passed;
        return register(DEVEUI);
      }),
    );
    await expect.poll(() => started.length).toBe(MAX_IN_FLIGHT);
    expect(provider.waiting).toBe(20);
    gate.open();
    await Promise.all(all);
    expect(provider.waiting).toBe(0);
    expect(started).toEqual(Array.from({ length: 30 }, (_, caller) => caller));
  });

  test('have one request at a time, and are kept until it is over', async () => {
    const answered: (() => void)[] = [];
    const { url, peak, requests } = await startCountingServer((response) => {
      answered.push(() => ok(response));
    });
    const provider = open(url);
    const left = Array.from({ length: MAX_IN_FLIGHT }, () =>
      provider.inSlot(async (register) => {
        void register(DEVEUI);
        void register(DEVEUI);
        throw new Error('left');
      }),
    );
    const ended = Promise.allSettled([...left, ask(provider)]);
    while (requests() < 2 * MAX_IN_FLIGHT + 1) {
      await expect.poll(() => answered.length).toBeGreaterThan(0);
      answered.shift()?.();
    }
    for (const answer of answered) answer();
    const outcomes = (await ended).map(({ status }) => status);
    expect(outcomes).toEqual([...left.map(() => 'rejected'), 'fulfilled']);
    expect(peak()).toBe(MAX_IN_FLIGHT);
  });

  test('use 10 connections for many requests', async () => {
    const connections = new Set<unknown>();
    const { url } = await startCountingServer((response) => {
      connections.add(response.socket);
      ok(response);
    });
    const provider = open(url);
    const answers = await Promise.all(Array.from({ length: 100 }, () => ask(provider)));
    expect(answers.every(({ outcome }) => outcome === 'registered')).toBe(true);
    expect(connections.size).toBeLessThanOrEqual(MAX_IN_FLIGHT);
  });
});

test.each([
  ['http://provider.test', 'http://provider.test:80/v1/', true],
  ['http://provider.test', 'http://user:key@PROVIDER.test/?a=b', true],
  ['https://provider.test', 'https://provider.test:443', true],
  ['http://localhost:8090', 'http://127.0.0.1:8090', true],
  ['http://localhost:8090', 'http://[::1]:8090/x', true],
  ['http://localhost:8090', 'http://[::ffff:127.0.0.1]:8090', true],
  ['http://localhost:8090', 'http://localhost:8091', false],
  ['http://provider.test', 'https://provider.test', false],
  ['http://provider.test', 'http://other.test', false],
])('%s and %s are one provider: %s', (url, other, isSame) => {
  const provider = openHttpProvider({ url, timeoutMs: 1_000 });
  expect(provider.isAt(other)).toBe(isSame);
  provider.close();
});
