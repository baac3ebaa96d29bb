import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { createTestDatabase } from '../database/test-database.ts';
import { problem, startTestService, type ApiClient, type TestService } from './api-client.ts';

const database = createTestDatabase();
let service: TestService;
let owner: ApiClient;

beforeAll(async () => {
  service = await startTestService(database.url, { roles: ['api', 'projections', 'webhooks'] });
});
afterAll(() => service.stop());
beforeEach(async () => {
  ({ owner } = await service.newProject());
});

describe('what is refused', () => {
  test.each([
    ['no URL', {}],
    ['another scheme', { url: 'ftp://example.com/' }],
    ['no URL at all', { url: 'example.com/hook' }],
    ['credentials', { url: 'https://user:secret@example.com/' }],
    ['a URL that is too long', { url: `https://example.com/${'x'.repeat(2_048)}` }],
    ['an unknown type', { url: 'https://example.com/', types: ['SensorPatchd'] }],
    ['a type that nobody is shown', { url: 'https://example.com/', types: ['LinkClaimed'] }],
    ['an unknown domain', { url: 'https://example.com/', domains: ['stat'] }],
    ['an unknown member', { url: 'https://example.com/', type: ['SensorPatched'] }],
    ['a start that is none', { url: 'https://example.com/', from: 'yesterday' }],
  ])('%s', async (_what, json) => {
    expect(await owner.post('/webhooks', { json })).toMatchObject(
      problem(422, 'validation-failed'),
    );
  });

  test('a mistyped type names the nearest', async () => {
    const json = { url: 'https://example.com/', types: ['SensorPatchd'] };
    expect((await owner.post('/webhooks', { json })).text).toContain(
      "did you mean 'SensorPatched'?",
    );
  });

  test('more than 20 webhooks of a project', async () => {
    const json = { url: 'https://receiver.example/' };
    for (let n = 0; n < 20; n += 1) await owner.post('/webhooks', { json });
    expect(await owner.post('/webhooks', { json })).toMatchObject(
      problem(409, 'too-many-webhooks'),
    );
  });
});

describe('private addresses, which are not allowed by default', () => {
  test.each([
    'http://127.0.0.1/',
    'http://localhost:8080/',
    'http://2130706433/',
    'http://169.254.169.254/latest/meta-data',
    'http://10.0.0.1/',
    'http://[::1]/',
    'http://[::ffff:192.168.0.1]/',
    'https://internal.localhost/',
  ])('%s is refused', async (url) => {
    expect(await owner.post('/webhooks', { json: { url } })).toMatchObject(
      problem(422, 'validation-failed'),
    );
    const { body } = await owner.post<{ id: string }>('/webhooks', {
      json: { url: 'https://example.com/' },
    });
    expect(await owner.patch(`/webhooks/${body.id}`, { json: { url } })).toMatchObject(
      problem(422, 'validation-failed'),
    );
  });
});

test('health and metrics tell how many there are', async () => {
  await owner.post('/webhooks', { json: { url: 'https://receiver.example/' } });
  const { text } = await service.client().get('//metrics');
  expect(text).toMatch(/fleetledger_webhooks\{status="active"\} \d+/);
  expect(text).toMatch(/fleetledger_webhook_attempts_total\{outcome="delivered"\} \d+/);
  const health = await service
    .client()
    .get<{ parts: Record<string, { status: string }> }>('//health');
  expect(health.body.parts['webhooks']).toEqual({ status: 'ok' });
});
