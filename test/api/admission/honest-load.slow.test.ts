// @module-tag slow
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { createTestDatabase } from '../../database/test-database.ts';
import { BASE, startTestService, type ApiClient, type TestService } from '../api-client.ts';

// Clients that behave never meet a limit, with the limits as they are by default.
vi.setConfig({ testTimeout: 900_000 });

const LINES = 1_000_000;
const LINES_AT_ONCE = 1_000;
const CONNECTIONS = 64;
const REQUESTS_PER_CONNECTION = 40;

const database = createTestDatabase();
let service: TestService;
let owner: ApiClient;

beforeAll(async () => {
  service = await startTestService(database.url, {
    rateLimits: { perKey: 1_000, failuresPerAddress: 300 },
  });
  ({ owner } = await service.newProject());
});
afterAll(() => service.stop());

function* records(): Generator<string, void, undefined> {
  for (let first = 0; first < LINES; first += LINES_AT_ONCE) {
    const lines = Array.from(
      { length: LINES_AT_ONCE },
      (_, index) =>
        `{"id":"r${first + index}","sim-card-id":"${index % 50}","bytes-used":1,` +
        `"date":"2026-01-01T00:00:00Z"}\n`,
    );
    yield lines.join('');
  }
}

/** Sends lines as they are taken, as a client with a large file does. */
async function postLines(): Promise<{ status: number; body: unknown }> {
  const request = httpRequest(`${service.url}${BASE}/usage`, {
    method: 'POST',
    headers: {
      authorization: `Bearer ${owner.key}`,
      'content-type': 'application/x-ndjson',
    },
  });
  const answered = new Promise<IncomingMessage>((resolve, reject) => {
    request.once('response', resolve);
    request.once('error', reject);
  });
  await pipeline(Readable.from(records()), request);
  const response = await answered;
  return { status: response.statusCode ?? 0, body: JSON.parse(await text(response)) };
}

test('a stream of a million lines is taken whole', async () => {
  const { status, body } = await postLines();
  expect({ status, body }).toMatchObject({
    status: 202,
    body: { accepted: LINES, duplicates: 0, rejected: [] },
  });
});

test('sixty-four busy connections are all answered', async () => {
  const statuses = await Promise.all(
    Array.from({ length: CONNECTIONS }, async (_, connection) => {
      const { owner: client } = await service.newProject();
      const seen: number[] = [];
      for (let n = 0; n < REQUESTS_PER_CONNECTION; n += 1) {
        const path = `/sensors/c${connection}`;
        seen.push((await client.patch(path, { json: { data: { n } } })).status);
        const { status, body } = await client.get<{ data: object }>(path);
        expect(body.data).toEqual({ current: { n } });
        seen.push(status);
      }
      return seen;
    }),
  );
  expect(new Set(statuses.flat())).toEqual(new Set([200]));
  expect(statuses.flat()).toHaveLength(CONNECTIONS * REQUESTS_PER_CONNECTION * 2);
});
