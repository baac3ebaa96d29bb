// @module-tag slow
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { createTestDatabase } from '../database/test-database.ts';
import { connectTo, startTestService, type ApiClient, type TestService } from './api-client.ts';

const database = createTestDatabase();
let service: TestService;
let greedy: ApiClient;
let other: ApiClient;

/** 20,000 days of a zone whose clocks change. */
const BUCKETS =
  '/simcard/sim-1/usage?start=1970-01-01&end=2024-10-01&every=1day&time_zone=Europe/Berlin';

beforeAll(async () => {
  service = await startTestService(database.url);
  [greedy, other] = (await Promise.all(
    [1, 2].map(async () => {
      const { owner } = await service.newProject();
      const json = { 'sim-card-id': 'sim-1', 'bytes-used': 1, date: '2020-02-01T00:00:00Z' };
      expect(await owner.post('/usage', { json })).toMatchObject({ status: 202 });
      return owner;
    }),
  )) as [ApiClient, ApiClient];
  expect(await other.get(BUCKETS)).toMatchObject({ status: 200, body: { total: 1 } });
});
afterAll(() => service.stop());

test('however many heavy reads one project sends, others are answered in between', async () => {
  // Connections of its own: this client's would all be taken.
  const crowd = await connectTo(service.url);
  onTestFinished(() => crowd.leave());
  let answered = 0;
  const heavy = Promise.all(
    Array.from({ length: 200 }, async () => {
      const answer = await crowd.client(greedy.key).get(BUCKETS);
      expect(answer).toMatchObject({ status: 200, body: { total: 1 } });
      answered += 1;
    }),
  );
  heavy.catch(() => undefined);
  for (const path of [BUCKETS, '/devices']) {
    expect(await other.get(path)).toMatchObject({ status: 200 });
  }
  expect(await service.client().get('//health/live')).toMatchObject({ status: 200 });
  // In the order of their arrival, they would come behind all that wait.
  expect(answered).toBeLessThan(150);
  await heavy;
});
