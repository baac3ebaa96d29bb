import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import express from 'express';
import { afterEach, describe, expect, onTestFinished, test, vi } from 'vitest';
import { ANSWER_STALL_MS } from '../../../src/api/admission/limits.ts';
import { watchUpload } from '../../../src/api/admission/upload-deadline.ts';
import { listen } from '../../../src/api/server.ts';

/** Listens, and gives a connection together with all that comes back over it. */
async function connected(
  app: express.Express,
): Promise<{ socket: Socket; received: () => string }> {
  const server = await listen(app, '127.0.0.1', 0);
  const socket = connect(server.address.port, '127.0.0.1');
  let text = '';
  socket.on('data', (chunk: Buffer) => (text += chunk.toString('latin1')));
  socket.on('error', () => undefined);
  onTestFinished(async () => {
    socket.destroy();
    await server.drain();
  });
  return { socket, received: () => text };
}

function requests(count: number): string {
  return Array.from({ length: count }, (_, n) => `GET /${n} HTTP/1.1\r\nHost: x\r\n\r\n`).join('');
}

describe('requests that are sent before the first is answered', () => {
  test('are handled one at a time, and answered in their order', async () => {
    const app = express();
    let running = 0;
    const handled: [path: string, running: number][] = [];
    app.use((request, response) => {
      running += 1;
      handled.push([request.path, running]);
      setImmediate(() => {
        running -= 1;
        response.end(`answer ${request.path};`);
      });
    });
    const { socket, received } = await connected(app);
    socket.write(requests(20));

    await expect.poll(received).toContain('answer /19;');
    expect(handled).toEqual(Array.from({ length: 20 }, (_, n) => [`/${n}`, 1]));
    const answers = [...received().matchAll(/answer \/(\d+);/g)].map(([, n]) => Number(n));
    expect(answers).toEqual(Array.from({ length: 20 }, (_, n) => n));
  });

  test('are refused beyond a few, and the connection is closed', async () => {
    const app = express();
    let handled = 0;
    app.use((_request, response) => {
      handled += 1;
      setImmediate(() => response.end());
    });
    const { socket, received } = await connected(app);
    socket.write(requests(100));

    await once(socket, 'close');
    expect(handled).toBe(65);
    expect(received()).toMatch(/HTTP\/1.1 503 .*"code":"overloaded"/s);
  });

  test('by the thousand close the connection at once', async () => {
    const app = express();
    app.use(() => undefined);
    const { socket } = await connected(app);
    socket.write(requests(1_000));

    await once(socket, 'close');
  });
});

test('an answer has to be read, but the next one may take any time to make', async () => {
  const app = express();
  const timeLimits: (number | undefined)[] = [];
  app.use((request, response) => {
    timeLimits.push(request.socket.timeout ?? 0);
    response.write('a');
    timeLimits.push(request.socket.timeout);
    response.end();
  });
  const { socket } = await connected(app);
  socket.write(requests(2));

  await expect.poll(() => timeLimits).toHaveLength(4);
  expect(timeLimits).toEqual([0, ANSWER_STALL_MS, 0, ANSWER_STALL_MS]);
});

describe('an upload', () => {
  afterEach(() => vi.useRealTimers());

  test('that is held fails after 30 s', () => {
    vi.useFakeTimers();
    const fail = vi.fn<(error: Error) => void>();
    watchUpload(() => 10, fail);
    vi.advanceTimersByTime(29_000);
    expect(fail).not.toHaveBeenCalled();
    vi.advanceTimersByTime(2_000);
    expect(fail).toHaveBeenCalledOnce();
    expect(fail.mock.calls[0]?.[0]).toMatchObject({ code: 'request-timeout' });
  });

  test('that continues at 16 KiB/s may take its time, until it stops', () => {
    vi.useFakeTimers();
    const fail = vi.fn<(error: Error) => void>();
    let received = 0;
    watchUpload(() => received, fail);
    for (let second = 0; second < 100; second += 1) {
      received += 16 * 1024;
      vi.advanceTimersByTime(1_000);
    }
    expect(fail).not.toHaveBeenCalled();
    vi.advanceTimersByTime(31_000);
    expect(fail).toHaveBeenCalledOnce();
  });

  test('that ended is watched no longer', () => {
    vi.useFakeTimers();
    watchUpload(() => 0, vi.fn<() => void>())();
    expect(vi.getTimerCount()).toBe(0);
  });
});
