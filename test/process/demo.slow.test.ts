// @module-tag slow
import { expect, test, vi } from 'vitest';
import { connectTo, type ApiClient } from '../api/api-client.ts';
import { startCli, terminate, type CliProcess } from './service-process.ts';

const EVENTUALLY = { timeout: 60_000, interval: 100 };

/** The demo as it greets: a client with the key of its owner. */
async function greeted(demo: CliProcess): Promise<{ owner: ApiClient; leave: () => void }> {
  const [url, key] = await vi.waitFor(() => {
    const text = demo.stdout();
    const found = [/ready on (http:\S+)/.exec(text)?.[1], /fl_mem_\w+/.exec(text)?.[0]];
    expect(found).toEqual([expect.any(String), expect.any(String)]);
    return found as [string, string];
  }, EVENTUALLY);
  const api = await connectTo(url);
  return { owner: api.client(key), leave: () => api.leave() };
}

test('the demo serves a fleet that lives, and the same one after a restart', async () => {
  const first = startCli(['demo']);
  const { owner, leave } = await greeted(first);
  await vi.waitFor(async () => {
    const sensors = await owner.get<{ items: object[] }>('/sensors');
    expect(sensors.body.items.length).toBeGreaterThan(1);
    const devices = await owner.get<{ items: object[] }>('/devices?has_dev_eui=true');
    expect(devices.body.items.length).toBeGreaterThan(3);
    const usage = await owner.get<{ items: object[] }>('/usage/organizations');
    expect(usage.body.items).toMatchObject([
      { org_id: null },
      { org_id: 'brewery' },
      { org_id: 'waterworks' },
    ]);
  }, EVENTUALLY);
  leave();
  expect(await terminate(first)).toBe(0);

  const again = await greeted(startCli(['demo']));
  expect(again.owner.key).toBe(owner.key);
  const batches = await again.owner.get<{ items: object[] }>('/batches');
  expect(batches.body.items.length).toBeGreaterThan(0);
  again.leave();
}, 120_000);
