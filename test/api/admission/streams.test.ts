import { randomUUID } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import type { IncomingMessage } from 'node:http';
import { tmpdir } from 'node:os';
import { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { resultsWhileOpen } from '../../../src/api/admission/closing.ts';
import { awaitEnd } from '../../../src/api/deveui/awaited-end.ts';
import { readLines } from '../../../src/api/lines.ts';
import { Spool } from '../../../src/api/spool.ts';
import type { DevEuiQueries } from '../../../src/projections/deveui/queries.ts';
import { createTestDatabase } from '../../database/test-database.ts';
import { problem, startTestService, type ApiClient, type TestService } from '../api-client.ts';

const database = createTestDatabase();
let service: TestService;
let owner: ApiClient;
let device: ApiClient;

beforeAll(async () => {
  service = await startTestService(database.url);
  ({ owner } = await service.newProject());
  const json = { device_id: 'd1', sensor_id: 's1' };
  const { body } = await owner.post<{ key: string }>('/devices', { json });
  device = service.client(body.key);
});
afterAll(() => service.stop());

const NDJSON = { 'content-type': 'application/x-ndjson' };
const MIB = 1024 * 1024;

function bodyOf(chunks: readonly Buffer[]): IncomingMessage {
  return Object.assign(Readable.from(chunks, { objectMode: false }), {
    headers: {},
    complete: true,
  }) as unknown as IncomingMessage;
}

async function linesOf(
  chunks: readonly Buffer[],
  isClosed = () => false,
): Promise<readonly string[]> {
  const found: string[] = [];
  const lines = readLines(bodyOf(chunks), { limitBytes: 100 * MIB, isClosed });
  for await (const { number, text } of lines) found.push(`${number}:${text.slice(0, 9)}`);
  return found;
}

describe('a stream of lines', () => {
  test('may come byte by byte, and in any pieces', async () => {
    const whole = Buffer.from(`one\n\n${'x'.repeat(2_000)}\n${'y'.repeat(300_000)}\nlast`);
    const expected = ['1:one', '3:xxxxxxxxx', '4:\ufffd', '5:last'];
    for (const size of [1, 7, 4_096, whole.length]) {
      const count = Math.ceil(whole.length / size);
      const chunks = Array.from({ length: count }, (_, n) =>
        whole.subarray(n * size, (n + 1) * size),
      );
      expect(await linesOf(chunks)).toEqual(expected);
    }
  });

  test('ends at its limit of lines, blank ones counted', async () => {
    const chunks = Array.from({ length: 3 }, () => Buffer.alloc(MIB, '\n'));
    await expect(linesOf(chunks)).rejects.toMatchObject({ code: 'body-too-large' });
  });

  test('ends when its client has left', async () => {
    let asked = 0;
    const isClosed = (): boolean => (asked += 1) > 2;
    await expect(linesOf([Buffer.from('a\n'.repeat(100))], isClosed)).rejects.toMatchObject({
      code: 'request-timeout',
    });
    expect(asked).toBe(3);
  });

  test('of lines that are all refused keeps no other request waiting', async () => {
    const body = 'x\n'.repeat(20_000);
    const stream = owner.post<{ results: unknown[] }>('/sensors/patches', {
      body,
      headers: NDJSON,
    });
    let answeredMeanwhile = 0;
    let isRunning = true;
    const others = (async () => {
      while (isRunning) {
        await owner.get('//health/live');
        answeredMeanwhile += 1;
      }
    })();
    expect((await stream).body.results).toHaveLength(20_000);
    isRunning = false;
    await others;
    expect(answeredMeanwhile).toBeGreaterThan(10);
  });

  test('that inflates beyond reason is refused while it is read', async () => {
    const body = gzipSync(Buffer.alloc(32 * MIB, '\n'));
    const headers = { ...NDJSON, 'content-encoding': 'gzip' };
    expect(await owner.post('/sensors/patches', { body, headers })).toMatchObject(
      problem(413, 'body-too-large'),
    );
  });

  test('of a device is refused when it is larger than 256 KiB, and changes nothing', async () => {
    const line = `${JSON.stringify({ id: 's1', data: { n: 1 } })}\n`;
    const body = line + ' '.repeat(256 * 1024);
    expect(await device.post('/sensors/patches', { body, headers: NDJSON })).toMatchObject(
      problem(413, 'body-too-large'),
    );
    expect(await owner.get('/sensors/s1')).toMatchObject(problem(404, 'not-found'));
  });

  test('with ids of 200 KB is answered without them', async () => {
    const id = 'x'.repeat(200_000);
    const body = `${JSON.stringify({ id, data: { n: 1 } })}\n`.repeat(20);
    const key = { 'idempotency-key': randomUUID() };
    const answer = await owner.post<{ results: { id: string | null; status: number }[] }>(
      '/sensors/patches',
      { body, headers: { ...NDJSON, ...key } },
    );
    expect(answer.body.results).toHaveLength(20);
    expect(answer.body.results[0]).toMatchObject({ id: null, status: 422 });
    expect(answer.text.length).toBeLessThan(20_000);
  });
});

describe('a spool', () => {
  const spooled = async (): Promise<readonly string[]> =>
    (await readdir(tmpdir())).filter((name) => name.startsWith('fleetledger-'));

  test('gives back what was written, and its file has no name that a kill could leave', async () => {
    const before = await spooled();
    const spool = new Spool(10 * MIB);
    const part = 'ü'.repeat(300_000);
    for (let n = 0; n < 5; n += 1) await spool.write(part);
    expect(await spooled()).toEqual(before);
    expect(await text(spool.read())).toBe(part.repeat(5));
    await spool.dispose();
  });

  test('refuses what is beyond its limit', async () => {
    const spool = new Spool(10);
    await spool.write('0123456789');
    await expect(spool.write('0')).rejects.toMatchObject({ code: 'body-too-large' });
    await spool.dispose();
  });
});

describe('a client that has left', () => {
  test('ends the items of its request that have not begun', async () => {
    const results = resultsWhileOpen(() => true);
    const run = () => Promise.reject(new Error('an item was run'));
    await expect(results.next({ count: 1 }, run)).rejects.toMatchObject({
      code: 'request-timeout',
    });
  });

  test('ends the wait for its batch', async () => {
    let asked = 0;
    const summary = () => {
      asked += 1;
      return Promise.resolve({ value: { status: 'Processing' }, position: 0n });
    };
    await awaitEnd(
      { summary } as unknown as DevEuiQueries,
      { projectId: 'p', batchId: 'b' },
      60_000,
      { draining: new AbortController().signal, isClosed: () => asked === 2 },
    );
    expect(asked).toBe(2);
  });
});
