// @module-tag slow
import { expect, onTestFinished, test, vi } from 'vitest';
import { createProject, type ApiClient } from '../api/api-client.ts';
import { cuttableConnection } from '../database/cuttable-connection.ts';
import { createTestDatabase } from '../database/test-database.ts';
import {
  eventuallyReceived,
  firstNumbersIn,
  numbers,
} from '../followers/webhooks/deliverer-fixture.ts';
import { startReceiver, status, type Receiver } from '../followers/webhooks/receiver.ts';
import { startServiceProcess, type ServiceProcess } from './service-process.ts';

vi.setConfig({ testTimeout: 240_000 });

const ADMIN_KEY = 'the-admin-key-of-the-tests';
const database = createTestDatabase();
const settings = {
  DATABASE_URL: database.url,
  ADMIN_API_KEY: ADMIN_KEY,
  WEBHOOKS_ALLOW_PRIVATE: 'true',
  LOG_LEVEL: 'fatal',
};

async function receive(port = 0): Promise<Receiver> {
  const receiver = await startReceiver(port);
  onTestFinished(() => receiver.stop());
  return receiver;
}

/** Serves the API, and sends no webhooks. */
async function startApi(): Promise<ApiClient> {
  const api = await startServiceProcess({ ...settings, ROLES: 'api,projections' }).serving();
  return (await createProject(api, ADMIN_KEY)).owner;
}

function startDelivering(changes: Readonly<Record<string, string>> = {}): ServiceProcess {
  return startServiceProcess({ ...settings, ROLES: 'webhooks', ...changes });
}

async function createWebhook(owner: ApiClient, url: string): Promise<string> {
  const json = { url, domains: ['state'] };
  return (await owner.post<{ id: string }>('/webhooks', { json })).body.id;
}

/** Patches a sensor with one number after the other, until all are recorded. */
async function patchAll(owner: ApiClient, all: readonly number[]): Promise<void> {
  for (const n of all) {
    const { status: code } = await owner.patch('/sensors/s', { json: { data: { n } } });
    expect(code).toBe(200);
  }
}

/** Attempts that were cut off come again, but nothing comes before what is before it. */
function expectInOrder(receiver: Receiver, expected: readonly number[]): void {
  expect(firstNumbersIn(receiver)).toEqual(expected);
}

test('nothing is missing, and all in order, however often the processes are killed', async () => {
  const receiver = await receive();
  // Slow enough that kills hit attempts that are under way.
  receiver.respond = (request, response) => {
    setTimeout(() => status(204)(request, response), 5);
  };
  const owner = await startApi();
  await createWebhook(owner, receiver.url);
  const all = numbers(0, 2_000);
  let isWritten = false;
  const writing = patchAll(owner, all).then(() => (isWritten = true));
  let delivering = startDelivering();
  let kills = 0;
  while (!isWritten || kills < 10) {
    const other = startDelivering();
    const seen = receiver.requests.length;
    if (firstNumbersIn(receiver).length < all.length) {
      await vi.waitFor(
        () => {
          const isDone = firstNumbersIn(receiver).length === all.length;
          expect(isDone || receiver.requests.length > seen).toBe(true);
        },
        { timeout: 60_000, interval: 1 },
      );
    }
    delivering.child.kill('SIGKILL');
    await delivering.ended();
    delivering = other;
    kills += 1;
  }
  await writing;
  await eventuallyReceived(receiver, all);
  expectInOrder(receiver, all);
});

test('a database that goes away while webhooks are delivered loses none', async () => {
  const receiver = await receive();
  const connection = await cuttableConnection(database.url);
  onTestFinished(() => connection.close());
  const owner = await startApi();
  await createWebhook(owner, receiver.url);
  startDelivering({ DATABASE_URL: connection.url });
  for (let round = 0; round < 5; round += 1) {
    await patchAll(owner, numbers(round * 20, 10));
    await vi.waitFor(() => expect(firstNumbersIn(receiver).length).toBeGreaterThan(round * 20), {
      timeout: 60_000,
    });
    connection.interrupt();
    await patchAll(owner, numbers(round * 20 + 10, 10));
    connection.restore();
  }
  await eventuallyReceived(receiver, numbers(0, 100));
});

test('a receiver that was stopped gets everything once it runs again', async () => {
  const first = await receive();
  const owner = await startApi();
  startDelivering();
  const id = await createWebhook(owner, first.url);
  await patchAll(owner, numbers(0, 5));
  await eventuallyReceived(first, numbers(0, 5));
  await first.stop();
  await patchAll(owner, numbers(5, 5));
  await vi.waitFor(
    async () => {
      const { body } = await owner.get<{ delivery: { failures: number } }>(`/webhooks/${id}`);
      expect(body.delivery.failures).toBeGreaterThan(1);
    },
    { timeout: 30_000 },
  );
  const back = await receive(Number(new URL(first.url).port));
  await eventuallyReceived(back, numbers(5, 5));
});
