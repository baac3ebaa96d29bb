import { Agent, request } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import type { Seen, Watch } from './bystander.ts';

const HEALTH_INTERVAL_MS = 50;
const CLIENT_INTERVAL_MS = 20;
const MEMORY_INTERVAL_MS = 500;
/** Longer than any answer may take: what takes longer counts as this. */
const GIVEN_UP_MS = 60_000;

const { url, key, durationMs } = JSON.parse(process.argv[2] ?? '') as Watch;
const until = performance.now() + durationMs;
const healthMs: number[] = [];
const clientMs: number[] = [];
let peakMemoryBytes = 0;

interface Sent {
  readonly agent: Agent;
  readonly path: string;
  readonly method?: 'GET' | 'PATCH';
  readonly body?: string;
}

/** The body of the answer, once it is whole. */
function send({ agent, path, method = 'GET', body }: Sent): Promise<string> {
  return new Promise((resolve, reject) => {
    const sent = request(
      url + path,
      {
        agent,
        method,
        timeout: GIVEN_UP_MS,
        headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
      },
      (response) => {
        let text = '';
        response.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
        response.once('end', () => {
          if ((response.statusCode ?? 500) < 400) resolve(text);
          else reject(new Error(`${method} ${path}: ${response.statusCode} ${text}`));
        });
      },
    );
    sent.once('timeout', () => sent.destroy(new Error(`${path} was not answered`)));
    sent.once('error', reject);
    sent.end(body);
  });
}

async function every(intervalMs: number, work: (n: number) => Promise<unknown>): Promise<void> {
  for (let n = 0; performance.now() < until; n++) {
    await work(n);
    await delay(intervalMs);
  }
}

async function timed(into: number[], sent: Sent): Promise<void> {
  const startedAtMs = performance.now();
  await send(sent);
  into.push(performance.now() - startedAtMs);
}

const [ofHealth, ofClient, ofMemory] = [1, 2, 3].map(() => new Agent({ keepAlive: true }));
await Promise.all([
  every(HEALTH_INTERVAL_MS, () => timed(healthMs, { agent: ofHealth!, path: '/health/live' })),
  every(CLIENT_INTERVAL_MS, async (n) => {
    const path = `/api/v1/sensors/honest${n % 10}`;
    const body = JSON.stringify({ data: { n: `${durationMs}-${process.pid}-${n}` } });
    await timed(clientMs, { agent: ofClient!, path, method: 'PATCH', body });
    await timed(clientMs, { agent: ofClient!, path });
  }),
  every(MEMORY_INTERVAL_MS, async () => {
    const text = await send({ agent: ofMemory!, path: '/metrics' });
    const bytes = Number(/^process_resident_memory_bytes (\S+)/m.exec(text)?.[1] ?? 0);
    peakMemoryBytes = Math.max(peakMemoryBytes, bytes);
  }),
]);
const seen: Seen = { healthMs, clientMs, peakMemoryBytes };
process.stdout.write(JSON.stringify(seen), () => process.exit(0));
