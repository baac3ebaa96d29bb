// @module-tag slow
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { createTestDatabase } from '../database/test-database.ts';
import { problem, startTestService, type TestService } from './api-client.ts';

const MAX_OPEN_BATCHES = 1_000;
const database = createTestDatabase();
let service: TestService;

beforeAll(async () => {
  // Where nobody listens: batches are made, and nobody works on them.
  service = await startTestService(database.url, { lorawanApiUrl: 'http://127.0.0.1:1' });
});
afterAll(() => service.stop());

test('a project has so many open batches, and no more until one is stopped; others are free', async () => {
  const { owner } = await service.newProject();
  const { owner: another } = await service.newProject();
  const request = (by = owner) =>
    by.post<{ id: string }>('/batches', {
      json: { batch_size: 1 },
      headers: { 'idempotency-key': 'the one' },
    });
  const first = await request();
  expect(first).toMatchObject({ status: 201 });
  const open = await Promise.all(
    Array.from({ length: MAX_OPEN_BATCHES - 1 }, () =>
      owner.post<{ id: string }>('/batches', { json: { batch_size: 1 } }),
    ),
  );
  expect(new Set(open.map(({ status }) => status))).toEqual(new Set([201]));
  const last = () =>
    owner.post('/batches', { json: {}, headers: { 'idempotency-key': 'the last one' } });
  const position = open.at(-1)?.headers.get('Fleetledger-Position') ?? '';
  await owner.get('/batches', { headers: { 'fleetledger-min-position': position } });

  const refused = await last();
  expect(refused).toMatchObject(problem(429, 'too-many-batches'));
  expect(refused.headers.get('Retry-After')).toMatch(/^\d+$/);
  expect(await request()).toMatchObject({ status: 201, body: { id: first.body.id } });
  expect(await request(another)).toMatchObject({ status: 201 });

  expect(await owner.delete(`/batches/${first.body.id}`)).toMatchObject({ status: 202 });
  // The refusal was not kept: the same request succeeds once there is room.
  await vi.waitFor(async () => expect(await last()).toMatchObject({ status: 201 }), {
    timeout: 20_000,
  });
});
