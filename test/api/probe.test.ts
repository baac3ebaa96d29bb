import { afterAll, beforeAll, test } from 'vitest';
import { createTestDatabase } from '../database/test-database.ts';
import { startTestService, type TestService } from './api-client.ts';
const db = createTestDatabase();
let s: TestService;
beforeAll(async () => { s = await startTestService(db.url, {logLevel: 'warn'}); });
afterAll(() => s.stop());
test('probe', async () => {
  const { owner } = await s.newProject();
  for (const n of [500, 1000, 2000, 4000]) for (const sensors of [1, n]) {
    await owner.put(`/projects/${(await owner.get<any>('/projects')).body.items[0].id}/dedup`, { json: { strategy: 'none' } });
    const body = Array.from({ length: n }, (_, i) => JSON.stringify({ id: `n${n}-${sensors}-${i % sensors}`, data: { i } }) + '\n').join('');
    const opts = { body, headers: { 'content-type': 'application/x-ndjson', 'idempotency-key': `k${n}-${sensors}` } };
    const t0 = performance.now(); await owner.post('/sensors/patches', opts); const t1 = performance.now(); await owner.post('/sensors/patches', opts); const t2 = performance.now();
    console.log(n, sensors, Math.round(t1 - t0), Math.round(t2 - t1));
  }
}, 600000);
