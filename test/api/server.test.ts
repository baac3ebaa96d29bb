import { once } from 'node:events';
import { Agent, get, type IncomingMessage } from 'node:http';
import express from 'express';
import { expect, test } from 'vitest';
import { listen } from '../../src/api/server.ts';

test('a draining server answers whoever is connected, and says that it was the last answer', async () => {
  const app = express();
  let finishSlow: (() => void) | undefined;
  app.get('/slow', (_request, response) => {
    finishSlow = () => response.end();
  });
  app.get('/fast', (_request, response) => response.end());
  const server = await listen(app, '127.0.0.1', 0);
  const { port } = server.address;
  const agents = [0, 1].map(() => new Agent({ keepAlive: true, maxSockets: 1 }));
  const ask = async (path: string, agent: Agent | undefined): Promise<IncomingMessage> => {
    const request = get({ host: '127.0.0.1', port, path, ...(agent && { agent }) });
    const [response] = (await once(request, 'response')) as [IncomingMessage];
    response.resume();
    await once(response, 'end');
    return response;
  };
  const [idle, busy] = agents;
  expect((await ask('/fast', idle)).headers.connection).toBe('keep-alive');
  const slow = ask('/slow', busy);
  // The connection of `busy` is there before no more are taken.
  await expect.poll(() => finishSlow).toBeDefined();

  const drained = server.drain();
  expect((await ask('/fast', idle)).headers.connection).toBe('close');
  finishSlow?.();
  expect((await slow).headers.connection).toBe('close');
  await drained;
  await expect(ask('/fast', undefined)).rejects.toThrow('ECONNREFUSED');
  for (const agent of agents) agent.destroy();
});
