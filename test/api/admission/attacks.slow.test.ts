// @module-tag slow
import { once } from 'node:events';
import { connect } from 'node:net';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createTestDatabase } from '../../database/test-database.ts';
import { BASE, startTestService, type ApiClient, type TestService } from '../api-client.ts';

const database = createTestDatabase();
let service: TestService;
let owner: ApiClient;

beforeAll(async () => {
  service = await startTestService(database.url);
  ({ owner } = await service.newProject());
});
afterAll(() => service.stop());

const MIB = 1024 * 1024;
/** As large as a body may be. */
const LARGE = 16 * MIB - 100;

const JSON_TYPE = 'application/json';
const CSV_TYPE = 'text/csv';

function names(count: number): string {
  return Array.from({ length: count }, (_, n) => `"${n}":1`).join(',');
}

describe('a body as large as any may be', () => {
  test.each([
    ['of small arrays', '/usage', JSON_TYPE, () => `[${'[],'.repeat(5_000_000)}[]]`, 422],
    ['of brackets', '/usage', JSON_TYPE, () => '['.repeat(8 * MIB), 422],
    ['of different names', '/usage', JSON_TYPE, () => `{${names(1_300_000)}}`, 422],
    ['of commas', '/inventory', CSV_TYPE, () => ','.repeat(LARGE), 422],
    ['of columns', '/inventory', CSV_TYPE, () => `${','.repeat(16_000)}\n`.repeat(1_000), 422],
    ['of blank rows', '/inventory', CSV_TYPE, () => '\n'.repeat(LARGE), 422],
    ['of one quoted cell', '/inventory', CSV_TYPE, () => `a\n"${'x'.repeat(LARGE)}`, 400],
  ])('%s is refused', async (_what, path, contentType, body, status) => {
    const answer = await owner.post(path, {
      body: body(),
      headers: { 'content-type': contentType },
    });
    expect(answer.status).toBe(status);
  });

  test('is refused as soon as it inflates too much, forty times at once', async () => {
    const body = gzipSync(`[${'[],'.repeat(5_000_000)}[]]`);
    const headers = { 'content-type': JSON_TYPE, 'content-encoding': 'gzip' };
    const answers = await Promise.all(
      Array.from({ length: 40 }, () => owner.post('/usage', { body, headers })),
    );
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([413]));
  });
});

test('a megabyte of lines in chunks of one byte is read as any other', async () => {
  const line = `{"id":"s1","data":{"text":"${'x'.repeat(200_000)}"}}\n`;
  const body = Array.from(Buffer.from(line.repeat(2)), (byte) => Buffer.from([byte]));
  const headers = { 'content-type': 'application/x-ndjson' };
  const answer = await owner.post<{ results: unknown[] }>('/sensors/patches', { body, headers });
  expect(answer.body.results).toHaveLength(2);
});

test('an upload that is held is answered with 408, and its connection is closed', async () => {
  const { hostname, port } = new URL(service.url);
  const socket = connect(Number(port), hostname);
  let received = '';
  socket.on('data', (chunk: Buffer) => (received += chunk.toString('latin1')));
  socket.write(
    `POST ${BASE}/usage HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${owner.key}\r\n` +
      `Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{`,
  );
  await once(socket, 'close');
  expect(received).toMatch(/^HTTP\/1.1 408 .*"code":"request-timeout"/s);
});

test('answers that are never read are refused once they fill the memory of a key', async () => {
  const path = '/sensors?limit=100';
  const text = 'x'.repeat(60_000);
  for (let n = 0; n < 100; n += 1) {
    await owner.patch(`/sensors/large-${n}`, { json: { data: { text } } });
  }
  const { owner: another } = await service.newProject();
  const { hostname, port } = new URL(service.url);
  const head = `Host: x\r\nAuthorization: Bearer ${owner.key}`;
  const request = `GET ${BASE}${path} HTTP/1.1\r\n${head}\r\n\r\n`;
  const sockets = Array.from({ length: 40 }, () => {
    const socket = connect(Number(port), hostname).pause();
    socket.on('error', () => undefined);
    // The first answers wait in the buffers of the connection, and the next one in the service.
    socket.write(request.repeat(6));
    return socket;
  });
  const status = async (of: ApiClient) => (await of.get(path)).status;
  await expect.poll(() => status(owner), { timeout: 25_000 }).toBe(503);
  expect(await status(another)).toBe(200);
  for (const socket of sockets) socket.destroy();
  await expect.poll(() => status(owner), { timeout: 25_000 }).toBe(200);
});
