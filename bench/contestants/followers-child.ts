import { connect, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';

/**
 * In milliseconds; `missing`: deliveries that did not come within ten seconds after the last
 * append.
 */
export interface Reached {
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
  readonly deliveries: number;
  readonly missing: number;
}

interface Load {
  readonly url: string;
  readonly adminKey: string;
  readonly followers: number;
  readonly seconds: number;
  readonly rate: number;
}

const GRACE_MS = 10_000;
/** Longer than what stands around the number of a patch, which may come in two pieces. */
const KEPT_TEXT = 64;
const NUMBER = /"patch":\{"n":(\d+)\}/g;

const { url, adminKey, followers, seconds, rate } = JSON.parse(process.argv[2] ?? '') as Load;
const sentAtMs: number[] = [];
const latenciesMs: number[] = [];

/** A raw socket: a client library would take more of the cores than what is measured. */
async function follow(key: string): Promise<Socket> {
  const { hostname, port } = new URL(url);
  const socket = connect(Number(port), hostname);
  let text = '';
  let isConnected = false;
  const connected = new Promise<void>((resolve, reject) => {
    socket.once('error', reject);
    socket.on('data', (chunk) => {
      const now = performance.now();
      text += chunk.toString('latin1');
      if (!isConnected && text.includes(': keep-alive')) {
        isConnected = true;
        resolve();
      }
      let end = 0;
      for (const match of text.matchAll(NUMBER)) {
        latenciesMs.push(now - (sentAtMs[Number(match[1])] ?? now));
        end = match.index + match[0].length;
      }
      text = text.slice(Math.max(end, text.length - KEPT_TEXT));
    });
  });
  socket.write(
    `GET /api/v1/events?types=SensorPatched HTTP/1.1\r\nHost: bench\r\n` +
      `Authorization: Bearer ${key}\r\nAccept: text/event-stream\r\n\r\n`,
  );
  await connected;
  return socket;
}

async function newProject(): Promise<string> {
  const response = await fetch(`${url}/api/v1/projects`, {
    method: 'POST',
    headers: { authorization: `Bearer ${adminKey}`, 'content-type': 'application/json' },
    body: JSON.stringify({ name: 'followers' }),
  });
  if (response.status !== 201) throw new Error(`no project was made: ${await response.text()}`);
  return ((await response.json()) as { owner: { key: string } }).owner.key;
}

async function patch(key: string, n: number): Promise<void> {
  sentAtMs[n] = performance.now();
  const response = await fetch(`${url}/api/v1/sensors/s${n % 50}`, {
    method: 'PATCH',
    headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
    body: JSON.stringify({ data: { n } }),
  });
  if (!response.ok) throw new Error(`a patch was refused: ${await response.text()}`);
  await response.arrayBuffer();
}

const key = await newProject();
const sockets: Socket[] = [];
while (sockets.length < followers) {
  const some = Math.min(50, followers - sockets.length);
  sockets.push(...(await Promise.all(Array.from({ length: some }, () => follow(key)))));
}
const count = seconds * rate;
const startedAtMs = performance.now();
const patches: Promise<void>[] = [];
for (let n = 0; n < count; n++) {
  await delay(startedAtMs + (n * 1_000) / rate - performance.now());
  patches.push(patch(key, n));
}
await Promise.all(patches);
const endsAtMs = performance.now() + GRACE_MS;
while (latenciesMs.length < count * followers && performance.now() < endsAtMs) await delay(50);
for (const socket of sockets) socket.destroy();
const sorted = Float64Array.from(latenciesMs).toSorted();
const at = (share: number): number => sorted[Math.floor((sorted.length - 1) * share)] ?? NaN;
const reached: Reached = {
  p50Ms: at(0.5),
  p99Ms: at(0.99),
  maxMs: at(1),
  deliveries: sorted.length,
  missing: count * followers - sorted.length,
};
process.stdout.write(JSON.stringify(reached));
