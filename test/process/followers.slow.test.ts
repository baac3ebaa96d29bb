// @module-tag slow
import { afterAll, expect, onTestFinished, test, vi } from 'vitest';
import { createProject, type Api, type TestProject } from '../api/api-client.ts';
import { createTestDatabase } from '../database/test-database.ts';
import { SseConnection } from '../followers/sse-client.ts';
import { startServiceProcess, type ServiceProcess } from './service-process.ts';

vi.setConfig({ testTimeout: 300_000 });

const ADMIN_KEY = 'the-admin-key-of-two-processes';
/** So many at least, of both together. */
const KILLS = 4;
const RECONNECTS = 1_000;
/** Clients that reconnect at the same time, each of which must see everything. */
const CLIENTS = 20;
const KILL_AFTER_MS = 6_000;

const database = createTestDatabase();

/** A service on one port, which is killed and started again. */
class KilledService {
  readonly #port: string;
  #service: ServiceProcess;
  #serving: Promise<Api>;
  kills = 0;

  constructor(port: number) {
    this.#port = String(port);
    this.#service = this.#start();
    this.#serving = this.#service.serving();
  }

  get url(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  serving(): Promise<Api> {
    return this.#serving;
  }

  async killAndRestart(): Promise<void> {
    this.#service.child.kill('SIGKILL');
    await this.#service.ended();
    this.kills += 1;
    this.#service = this.#start();
    this.#serving = this.#service.serving();
    await this.#serving;
  }

  #start(): ServiceProcess {
    return startServiceProcess({
      DATABASE_URL: database.url,
      PORT: this.#port,
      ADMIN_API_KEY: ADMIN_KEY,
      ROLES: 'api,projections',
      LOG_LEVEL: 'warn',
    });
  }
}

const isOver = new AbortController();
afterAll(() => isOver.abort());

/** Patches sensors of two projects through whichever service answers, until it is told to stop. */
async function write(services: readonly KilledService[], key: string): Promise<number> {
  let written = 0;
  for (let n = 0; !isOver.signal.aborted; n += 1) {
    const service = services[n % services.length];
    const answer = await fetch(`${service?.url}/api/v1/sensors/s${n % 5}`, {
      method: 'PATCH',
      headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
      body: JSON.stringify({ data: { n } }),
    }).catch(() => undefined);
    if (answer?.status === 200) written += 1;
    else await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return written;
}

interface Seen {
  readonly positions: string[];
  lastEventId: string;
}

/**
 * Connects once, leaves after a random while, and keeps what it has seen. False when it was not let
 * in.
 */
async function visit(seen: Seen, url: string, key: string): Promise<boolean> {
  const connection = new SseConnection({ url, key, lastEventId: seen.lastEventId });
  const staysMs = Math.random() ** 2 * 400;
  const leavesAtMs = performance.now() + staysMs;
  while (performance.now() < leavesAtMs && connection.ended === undefined) {
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  const isConnected = connection.status === 200;
  if (!isConnected) await new Promise((resolve) => setTimeout(resolve, 20));
  connection.close();
  seen.positions.push(...connection.messages.map(({ id }) => id));
  seen.lastEventId = connection.lastEventId ?? seen.lastEventId;
  return isConnected;
}

async function entriesOf({ owner }: TestProject, after: string): Promise<string[]> {
  const entries = await owner.walk<{ position: string }>(`/events?after=${after}&limit=500`);
  return entries.map(({ position }) => position);
}

test('clients that reconnect to killed processes see every event once, in order', async () => {
  const base = 20_000 + Math.floor(Math.random() * 20_000);
  const services = [new KilledService(base), new KilledService(base + 1)] as const;
  const [api] = await Promise.all(services.map((service) => service.serving()));
  if (api === undefined) throw new Error('no service was started');
  const [mine, other] = [await createProject(api, ADMIN_KEY), await createProject(api, ADMIN_KEY)];
  const key = mine.owner.key ?? '';
  const { headers } = await mine.owner.get('/events');
  const start = headers.get('fleetledger-position') ?? '';
  const writers = [
    write(services, key),
    write(services, key),
    write(services, other.owner.key ?? ''),
  ];
  const killing = (async () => {
    for (let turn = 0; !isOver.signal.aborted; turn += 1) {
      await new Promise((resolve) => setTimeout(resolve, KILL_AFTER_MS));
      if (!isOver.signal.aborted) await services[turn % 2 === 0 ? 0 : 1].killAndRestart();
    }
  })();
  onTestFinished(() => isOver.abort());

  const clients = Array.from({ length: CLIENTS }, (): Seen => ({
    positions: [],
    lastEventId: start,
  }));
  let reconnects = 0;
  const kills = (): number => services[0].kills + services[1].kills;
  await Promise.all(
    clients.map(async (seen) => {
      while (reconnects < RECONNECTS || kills() < KILLS) {
        const isConnected = await visit(seen, services[Math.random() < 0.5 ? 0 : 1].url, key);
        if (isConnected) reconnects += 1;
      }
    }),
  );
  isOver.abort();
  const written = (await Promise.all(writers)).reduce((sum, count) => sum + count, 0);
  await killing;

  const last = await services[0].serving();
  const owner = last.client(key);
  const expected = await entriesOf({ ...mine, owner }, start);
  expect(written).toBeGreaterThan(100);
  for (const seen of clients) {
    while (seen.positions.length < expected.length) {
      const before = seen.positions.length;
      await visit(seen, services[0].url, key);
      if (seen.positions.length === before && seen.positions.at(-1) === expected.at(-1)) break;
    }
    expect(seen.positions).toEqual(expected);
  }
});
