import { once } from 'node:events';
import { appendFile, mkdtemp, readFile, rm } from 'node:fs/promises';
import { request as requestHttp, type IncomingMessage } from 'node:http';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { openHttpProvider } from '../../src/lorawan/http-provider.ts';
import type { ProviderAnswer } from '../../src/lorawan/provider.ts';
import {
  startSimulator,
  type Simulator,
  type SimulatorOptions,
} from '../../src/lorawan/simulator/simulator.ts';
import { selfSignedCertificate } from './certificate.ts';

const DEVEUI = 'FFA45722AA738240';
const JSON_BODY = JSON.stringify({ deveui: DEVEUI });

async function start(options: SimulatorOptions = {}): Promise<Simulator> {
  const simulator = await startSimulator({ latencyMs: 0, ...options });
  onTestFinished(() => simulator.close());
  return simulator;
}

interface Answer {
  readonly status: number;
  readonly headers: IncomingMessage['headers'];
  readonly body: unknown;
}

/** One request over a connection of its own. Rejects when there is no answer of HTTP. */
async function send(
  url: string,
  method: string,
  body = '',
  headers: Record<string, string> = {},
): Promise<Answer> {
  const request = requestHttp(url, { method, headers, agent: false });
  request.end(body);
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  let text = '';
  for await (const chunk of response) text += String(chunk);
  return { status: response.statusCode ?? 0, headers: response.headers, body: JSON.parse(text) };
}

function post(
  { url }: Simulator,
  body = JSON_BODY,
  headers: Record<string, string> = {},
): Promise<Answer> {
  return send(`${url}/sensor-onboarding-sample`, 'POST', body, headers);
}

function devEuiOf(ordinal: number): string {
  return ordinal.toString(16).toUpperCase().padStart(16, '0');
}

/** A request in bytes, to see the bytes that come back. */
async function postBytes({ port }: Simulator): Promise<Socket> {
  const socket = connect(port, '127.0.0.1');
  onTestFinished(() => void socket.destroy());
  await once(socket, 'connect');
  const head =
    `POST /sensor-onboarding-sample HTTP/1.1\r\nHost: test\r\nContent-Length: ` +
    `${JSON_BODY.length}`;
  socket.write(`${head}\r\n\r\n${JSON_BODY}`);
  return socket;
}

describe('a DevEUI', () => {
  test('is registered once; whoever asks again hears that it is in use', async () => {
    const simulator = await start();
    expect(await post(simulator)).toMatchObject({ status: 200, body: { deveui: DEVEUI } });
    expect((await post(simulator)).status).toBe(422);
    expect(simulator.registered()).toEqual([DEVEUI]);
    expect(simulator.stats()).toMatchObject({ requests: 2, registered: 1, conflicts: 1 });
  });

  test('is registered for one of many who ask at the same time', async () => {
    const simulator = await start({ latencyMs: 20 });
    const answers = await Promise.all(Array.from({ length: 20 }, () => post(simulator)));
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(1);
    expect(answers.filter(({ status }) => status === 422)).toHaveLength(19);
  });

  test('is the same in lower case', async () => {
    const simulator = await start();
    const lower = JSON.stringify({ deveui: DEVEUI.toLowerCase() });
    expect(await post(simulator, lower)).toMatchObject({ status: 200, body: { deveui: DEVEUI } });
    expect((await post(simulator)).status).toBe(422);
  });

  test('that is somebody else’s stays so, and never has a fault', async () => {
    // The first is taken; any other draw is of a fault, and of no conflict.
    const draws = [0, 0.5];
    const simulator = await start({
      conflictRate: 0.1,
      errorRate: 1,
      random: () => draws.shift() ?? 0.5,
    });
    for (const _ of [1, 2, 3]) expect((await post(simulator)).status).toBe(422);
    const other = JSON.stringify({ deveui: devEuiOf(1) });
    for (const _ of [1, 2, 3]) expect((await post(simulator, other)).status).toBe(500);
    expect(simulator.stats()).toMatchObject({ conflicts: 3, registered: 0, faults: { error: 3 } });
  });

  test('that was free when it was first seen is not taken by anybody else later', async () => {
    // It is free, and has a fault; a fault again, and no draw of whether it is taken; no fault.
    const draws = [0.9, 0, 0, 0.9];
    const simulator = await start({
      conflictRate: 0.5,
      errorRate: 0.1,
      random: () => draws.shift() ?? 0,
    });
    const statuses = [await post(simulator), await post(simulator), await post(simulator)];
    expect(statuses.map(({ status }) => status)).toEqual([500, 500, 200]);
  });
});

test('of many DevEUIs, some are somebody else’s, and all others are registered', async () => {
  let ordinal = 0;
  const simulator = await start({ conflictRate: 0.25, random: () => (ordinal++ % 8) / 8 });
  const provider = openHttpProvider({ url: simulator.url, timeoutMs: 30_000 });
  onTestFinished(() => provider.close());
  // Two draws for each that is free, one for others: all places of the cycle come up.
  const answers: ProviderAnswer[] = [];
  for (let device = 0; device < 40; device += 1) {
    answers.push(await provider.inSlot((register) => register(devEuiOf(device))));
  }
  const inUse = answers.filter(({ outcome }) => outcome === 'in-use').length;
  expect(inUse).toBeGreaterThan(0);
  expect(simulator.stats()).toMatchObject({ conflicts: inUse, registered: 40 - inUse });
});

describe('what clients send', () => {
  const FORM = { 'Content-Type': 'application/x-www-form-urlencoded' };

  test.each(['deveui', 'devEui', 'DevEUI', 'Deveui'])('may call it %s', async (key) => {
    expect((await post(await start(), JSON.stringify({ [key]: DEVEUI }))).status).toBe(200);
  });

  test('may be JSON that is called a form, or nothing', async () => {
    expect((await post(await start(), JSON_BODY, FORM)).status).toBe(200);
    expect((await post(await start(), JSON_BODY)).status).toBe(200);
  });

  test('may be a form', async () => {
    expect((await post(await start(), `devEUI=${DEVEUI}&more=1`, FORM)).status).toBe(200);
  });

  test('may go to a place below any path', async () => {
    const simulator = await start();
    const url = `${simulator.url}/some/base/sensor-onboarding-sample?code=1`;
    expect((await send(url, 'POST', JSON_BODY)).status).toBe(200);
    expect(simulator.registered()).toEqual([DEVEUI]);
  });

  test.each([
    ['nothing', ''],
    ['no JSON', '{"deveui":'],
    ['no DevEUI', '{"device":"FFA45722AA738240"}'],
    ['no object', '"FFA45722AA738240"'],
    ['null', 'null'],
    ['a number', '{"deveui":1234567890123456}'],
    ['too much', `{"deveui":"FFA45722AA738240","more":"${'x'.repeat(100_000)}"}`],
  ])('is malformed when it is %s', async (_, body) => {
    const simulator = await start();
    expect((await post(simulator, body)).status).toBe(400);
    expect(simulator.registered()).toEqual([]);
  });

  test.each(['FF-A4-57-22-AA-73-82-40', 'ff:a4:57:22:aa:73:82:40', ' 0xFFA45722 AA738240 '])(
    'may be the DevEUI %s',
    async (deveui) => {
      const simulator = await start();
      expect((await post(simulator, JSON.stringify({ deveui }))).status).toBe(200);
      expect(simulator.registered()).toEqual([DEVEUI]);
    },
  );

  test.each(['8A3F1', 'FFA45722AA73824', 'FFA45722AA73824G', ''])(
    'is answered 422, with what is needed, when it is the DevEUI %j',
    async (deveui) => {
      const seen: string[] = [];
      const simulator = await start({ onFirstMalformed: (text) => seen.push(text) });
      for (const _ of [1, 2]) {
        expect(await post(simulator, JSON.stringify({ deveui }))).toMatchObject({
          status: 422,
          body: { error: expect.stringContaining('16 hexadecimal digits') as string },
        });
      }
      expect(simulator.registered()).toEqual([]);
      expect(simulator.stats()).toMatchObject({ requests: 2, conflicts: 0 });
      expect(seen).toEqual([deveui]);
    },
  );

  test('may be any code where the simulator is lenient', async () => {
    const simulator = await start({ isLenient: true });
    expect((await post(simulator, '{"deveui":"8a3f1"}')).status).toBe(200);
    expect((await post(simulator, '{"deveui":"8A3F1"}')).status).toBe(422);
    expect((await post(simulator, '{"deveui":"8 a"}')).status).toBe(422);
    expect(simulator.registered()).toEqual(['8A3F1']);
  });

  test('is refused at other places, and by other methods', async () => {
    const { url } = await start();
    expect((await send(`${url}/elsewhere`, 'POST', JSON_BODY)).status).toBe(404);
    const answer = await send(`${url}/sensor-onboarding-sample`, 'GET');
    expect(answer).toMatchObject({ status: 405, headers: { allow: 'POST' } });
    expect((await send(`${url}/stats`, 'POST')).status).toBe(405);
  });

  test('is refused without the key, where there is one', async () => {
    const simulator = await start({ apiKey: 'secret' });
    expect((await post(simulator)).status).toBe(401);
    expect((await post(simulator, JSON_BODY, { Authorization: 'Bearer other' })).status).toBe(401);
    expect(simulator.registered()).toEqual([]);
    expect((await post(simulator, JSON_BODY, { Authorization: 'Bearer secret' })).status).toBe(200);
    expect((await send(`${simulator.url}/registered`, 'GET')).status).toBe(200);
  });
});

test('what is registered, and what happened, can be asked for', async () => {
  const simulator = await start();
  const devEuis = [devEuiOf(3), devEuiOf(1), devEuiOf(2)];
  for (const deveui of devEuis) await post(simulator, JSON.stringify({ deveui }));
  const { body: registered } = await send(`${simulator.url}/registered`, 'GET');
  expect(registered).toEqual({ items: devEuis, total: 3 });
  await expect.poll(() => simulator.stats().in_flight).toBe(0);
  const { body: stats } = await send(`${simulator.url}/stats`, 'GET');
  expect(stats).toEqual({
    requests: 3,
    registered: 3,
    conflicts: 0,
    faults: {
      hang: 0,
      reset: 0,
      error: 0,
      unavailable: 0,
      garbage: 0,
      lost_answer: 0,
      lost_hang: 0,
    },
    in_flight: 0,
    peak_in_flight: 1,
  });
});

describe('a fault', () => {
  test('of 500 registers nothing', async () => {
    const simulator = await start({ errorRate: 1 });
    expect((await post(simulator)).status).toBe(500);
    expect(simulator.stats()).toMatchObject({ registered: 0, faults: { error: 1 } });
  });

  test('of 503 registers nothing, and says for how long', async () => {
    const simulator = await start({ unavailableRate: 1 });
    expect(await post(simulator)).toMatchObject({ status: 503, headers: { 'retry-after': '1' } });
    expect(simulator.stats()).toMatchObject({ registered: 0, faults: { unavailable: 1 } });
    const patient = await start({ unavailableRate: 1, retryAfterSeconds: 7 });
    expect((await post(patient)).headers['retry-after']).toBe('7');
  });

  test('of a reset registers nothing', async () => {
    const simulator = await start({ resetRate: 1 });
    const socket = await postBytes(simulator);
    const [error] = (await once(socket, 'error')) as [NodeJS.ErrnoException];
    expect(error.code).toBe('ECONNRESET');
    expect(simulator.stats()).toMatchObject({ registered: 0, faults: { reset: 1 } });
  });

  test('of garbage registers nothing, and closes the connection', async () => {
    const simulator = await start({ garbageRate: 1 });
    const socket = await postBytes(simulator);
    let text = '';
    for await (const chunk of socket) text += String(chunk);
    expect(text).toContain('not HTTP');
    expect(text).not.toContain('HTTP/1.1');
    await expect(post(simulator)).rejects.toMatchObject({ code: expect.stringMatching(/^HPE_/) });
    expect(simulator.stats()).toMatchObject({ registered: 0, faults: { garbage: 2 } });
  });

  test('of a lost answer registers, and resets', async () => {
    const simulator = await start({ lostAnswerRate: 1 });
    await expect(post(simulator)).rejects.toMatchObject({ code: 'ECONNRESET' });
    await expect(post(simulator)).rejects.toMatchObject({ code: 'ECONNRESET' });
    expect(simulator.registered()).toEqual([DEVEUI]);
    expect(simulator.stats()).toMatchObject({ conflicts: 0, faults: { lost_answer: 2 } });
  });

  test.each([
    ['hang', { hangRate: 1 }, []],
    ['lost_hang', { lostHangRate: 1 }, [DEVEUI]],
  ] as const)('of kind %s lasts until the client leaves', async (fault, options, registered) => {
    const simulator = await start(options);
    const socket = await postBytes(simulator);
    await expect.poll(() => simulator.stats().faults[fault]).toBe(1);
    expect(simulator.registered()).toEqual(registered);
    expect(simulator.stats().in_flight).toBe(1);
    socket.destroy();
    await expect.poll(() => simulator.stats().in_flight).toBe(0);
  });

  test('that lasts is ended with the simulator', async () => {
    const simulator = await start({ hangRate: 1 });
    const socket = await postBytes(simulator);
    const ended = once(socket, 'close');
    await expect.poll(() => simulator.stats().faults.hang).toBe(1);
    await simulator.close();
    await ended;
  });

  test('is one at most, and as often as was asked for', async () => {
    // Draws at even distances; that a DevEUI is taken is drawn once, at first.
    const draws = [0, ...Array.from({ length: 20 }, (_, place) => (place + 0.5) / 20)];
    const simulator = await start({
      resetRate: 0.25,
      errorRate: 0.25,
      lostAnswerRate: 0.25,
      random: () => draws.shift() ?? 0,
    });
    for (let asked = 0; asked < 20; asked += 1) await post(simulator).catch(() => undefined);
    expect(draws).toEqual([]);
    const { faults, conflicts, registered } = simulator.stats();
    expect(faults).toMatchObject({ reset: 5, error: 5, lost_answer: 5, hang: 0, garbage: 0 });
    // The last five were answered; the first lost answer had registered it.
    expect({ conflicts, registered }).toEqual({ conflicts: 5, registered: 1 });
  });
});

test('whoever leaves before the answer is registered all the same', async () => {
  const simulator = await start({ latencyMs: 300 });
  const socket = await postBytes(simulator);
  await expect.poll(() => simulator.stats().requests).toBe(1);
  socket.destroy();
  await expect.poll(() => simulator.registered()).toEqual([DEVEUI]);
});

test('the peak is of all that were in flight at the same time', async () => {
  const simulator = await start({ hangRate: 1 });
  const sockets: Socket[] = [];
  for (let count = 0; count < 7; count += 1) sockets.push(await postBytes(simulator));
  await expect.poll(() => simulator.stats().in_flight).toBe(7);
  for (const socket of sockets) socket.destroy();
  await expect.poll(() => simulator.stats().in_flight).toBe(0);
  await postBytes(simulator);
  await expect.poll(() => simulator.stats().in_flight).toBe(1);
  expect(simulator.stats().peak_in_flight).toBe(7);
});

test('the provider’s client keeps to its 10 requests, whatever goes wrong', async () => {
  const simulator = await start({
    latencyMs: 5,
    conflictRate: 0.1,
    hangRate: 0.1,
    resetRate: 0.1,
    errorRate: 0.1,
    unavailableRate: 0.1,
    garbageRate: 0.1,
    lostAnswerRate: 0.1,
    lostHangRate: 0.1,
  });
  const provider = openHttpProvider({ url: simulator.url, timeoutMs: 300 });
  onTestFinished(() => provider.close());
  const answers = await Promise.all(
    Array.from({ length: 200 }, async (_, device) => {
      const devEui = devEuiOf(device);
      return [devEui, await provider.inSlot((register) => register(devEui))] as const;
    }),
  );
  expect(simulator.stats().peak_in_flight).toBeLessThanOrEqual(10);
  const registered = new Set(simulator.registered());
  for (const [devEui, answer] of answers) {
    if (answer.outcome === 'registered') expect(registered).toContain(devEui);
    if (answer.outcome === 'in-use') expect(registered).not.toContain(devEui);
    if (answer.outcome === 'failed' && registered.has(devEui)) {
      expect(answer.mayBeRegistered).toBe(true);
    }
  }
});

describe('with a log', () => {
  async function logFile(): Promise<string> {
    const folder = await mkdtemp(path.join(tmpdir(), 'fleetledger-simulator-'));
    onTestFinished(() => rm(folder, { recursive: true }));
    return path.join(folder, 'registered.ndjson');
  }

  test('what is registered is known behind a restart, in its order', async () => {
    const file = await logFile();
    const devEuis = [devEuiOf(3), devEuiOf(1), devEuiOf(2)];
    const first = await start({ logFile: file });
    for (const deveui of devEuis) await post(first, JSON.stringify({ deveui }));
    const lines = (await readFile(file, 'utf8')).trimEnd().split('\n');
    expect(lines.map((line) => JSON.parse(line) as unknown)).toEqual(
      devEuis.map((deveui) => ({ deveui, at: expect.stringMatching(/^\d{4}-.+Z$/) })),
    );
    await first.close();

    const second = await start({ logFile: file, conflictRate: 1 });
    expect(second.registered()).toEqual(devEuis);
    expect((await post(second, JSON.stringify({ deveui: devEuis[0] }))).status).toBe(422);
  });

  test('a line that was cut short is dropped, and does not take the next one with it', async () => {
    const file = await logFile();
    const first = await start({ logFile: file });
    await post(first);
    await first.close();
    await appendFile(file, '{"deveui":"FFA45');

    const second = await start({ logFile: file });
    expect(second.registered()).toEqual([DEVEUI]);
    await post(second, JSON.stringify({ deveui: devEuiOf(1) }));
    await second.close();
    expect((await start({ logFile: file })).registered()).toEqual([DEVEUI, devEuiOf(1)]);
  });

  test('that cannot be written it does not start', async () => {
    const file = path.join(await logFile(), 'below-no-folder');
    await expect(startSimulator({ logFile: file })).rejects.toMatchObject({ code: 'ENOENT' });
  });
});

test('a port in use is an error', async () => {
  const { port } = await start();
  await expect(startSimulator({ port })).rejects.toMatchObject({ code: 'EADDRINUSE' });
});

test('with a certificate, it speaks https, and has all its faults', async () => {
  const { key, cert } = await selfSignedCertificate();
  const simulator = await start({ tls: { key, cert }, resetRate: 1 });
  expect(simulator.url).toMatch(/^https:\/\/127\.0\.0\.1:\d+$/);
  const { request } = await import('node:https');
  const ask = request(`${simulator.url}/sensor-onboarding-sample`, {
    method: 'POST',
    ca: cert,
    agent: false,
  });
  ask.end(JSON_BODY);
  const [error] = (await once(ask, 'error')) as [NodeJS.ErrnoException];
  expect(error.code).toBe('ECONNRESET');
  expect(simulator.stats().faults.reset).toBe(1);
});
