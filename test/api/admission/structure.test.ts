import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { refuseCostlyCsv, refuseCostlyJson } from '../../../src/api/admission/structure.ts';
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

const JSON_TYPE = { 'content-type': 'application/json' };
const CSV_TYPE = { 'content-type': 'text/csv' };

function names(count: number): string {
  return Array.from({ length: count }, (_, n) => `"name-${n}":${n}`).join(',');
}

describe('JSON that costs more to parse than any that clients need', () => {
  test.each([
    ['small arrays', `[${'[],'.repeat(600_000)}[]]`, 'values'],
    ['levels', '['.repeat(100_000) + ']'.repeat(100_000), 'levels'],
    ['levels that are never closed', '['.repeat(100_000), 'levels'],
    ['different names', `{${names(150_000)}}`, 'different names'],
    ['objects with a name of their own', `[{${names(150_000).replaceAll(',', '},{')}}]`, 'names'],
  ])('is refused before that: many %s', async (_what, body, message) => {
    const answer = await owner.post<{ detail: string }>('/usage', { body, headers: JSON_TYPE });
    expect(answer).toMatchObject(problem(422, 'validation-failed'));
    expect(answer.body.detail).toContain(message);
  });

  test('is not JSON that is large because of its texts, or has the same names many times', async () => {
    const items = Array.from({ length: 10_000 }, (_, n) => ({
      id: `sensor-${n}`,
      data: { temperature: n, text: '[{"a":1},[],\\"'.repeat(20), flags: [true, false] },
    }));
    await refuseCostlyJson(Buffer.from(JSON.stringify(items)));
  });

  test('is found by what is outside texts, wherever they are cut and escaped', async () => {
    const element = fc.oneof(fc.string({ unit: 'binary', maxLength: 50 }), fc.constant('"\\[{,:'));
    await fc.assert(
      fc.asyncProperty(fc.array(element, { maxLength: 50 }), async (texts) => {
        const text = JSON.stringify(Array.from({ length: 2_000 }, () => texts));
        await refuseCostlyJson(Buffer.from(text));
        const deep = `[${text},${'['.repeat(33_000)}`;
        await expect(refuseCostlyJson(Buffer.from(deep))).rejects.toThrow(/nest deeper/);
      }),
      { numRuns: 20 },
    );
  });
});

describe('a table that costs more to parse than any that clients need', () => {
  const header = 'sim_card_id,org_id\n';

  test.each([
    ['columns', `${header}${'1,'.repeat(16_000)}\n`, 422, 'columns'],
    ['commas', `${header}${','.repeat(3_000_000)}`, 422, 'columns'],
    ['cells', `${header}${`${','.repeat(90)}\n`.repeat(10_000)}`, 422, 'cells'],
    ['blank rows', `${header}${'\n'.repeat(1_000_000)}`, 422, 'line breaks'],
    ['bytes after a quote that is never closed', `${header}"${'x\n'.repeat(500_000)}`, 400, 'Size'],
  ])('is refused before that: many %s', async (_what, body, status, message) => {
    const answer = await owner.post<{ detail: string }>('/inventory', { body, headers: CSV_TYPE });
    expect(answer.status).toBe(status);
    expect(answer.body.detail).toContain(message);
  });

  test('is not a table of 10,000 rows with quoted cells', async () => {
    const row = '"89440001","a ""quoted"", name"\r\n';
    await refuseCostlyCsv(Buffer.from(header + row.repeat(10_000)));
  });
});

test('many large bodies at a time are parsed one after another, and all answered', async () => {
  const items = Array.from({ length: 10_000 }, (_, n) => ({ id: 1, data: n }));
  const answers = await Promise.all(
    Array.from({ length: 8 }, () =>
      owner.post<{ accepted: number; rejected: unknown[] }>('/usage', { json: items }),
    ),
  );
  for (const { status, body } of answers) {
    expect(status).toBe(202);
    expect(body.rejected).toHaveLength(10_000);
  }
});

test('a body of a device is refused when it is larger than 256 KiB, and changes nothing', async () => {
  const json = [{ id: 's1', data: { text: 'x'.repeat(300_000) } }];
  expect(await device.post('/sensors/patches', { json })).toMatchObject(
    problem(413, 'body-too-large'),
  );
  expect(await owner.get('/sensors/s1')).toMatchObject(problem(404, 'not-found'));
});
