// @module-tag slow
import { setTimeout as wait } from 'node:timers/promises';
import { expect, onTestFinished, test } from 'vitest';
import { cuttableConnection } from '../database/cuttable-connection.ts';
import { createTestDatabase } from '../database/test-database.ts';
import { startTestService, type ApiClient } from './api-client.ts';

const database = createTestDatabase();

const SENSORS = 48;
const CLIENTS = 6;
const ITEMS = 8;
const CUTTING_MS = 15_000;

interface Result {
  readonly id: string;
  readonly status: number;
  readonly deduplicated?: string;
}

/** Sends a request until each of its items has a result that is final. */
async function sendUntilTaken(
  client: ApiClient,
  key: string,
  items: readonly { id: string; data: object }[],
): Promise<readonly Result[]> {
  for (;;) {
    const headers = { 'idempotency-key': key };
    const answer = await client.post<{ results: Result[] }>('/sensors/patches', {
      json: items,
      headers,
    });
    expect([200, 503]).toContain(answer.status);
    if (answer.status === 200 && answer.body.results.every(({ status }) => status < 500)) {
      return answer.body.results;
    }
  }
}

test('bulk requests that are repeated while connections are cut lose nothing that they acknowledge', async () => {
  const connection = await cuttableConnection(database.url);
  onTestFinished(() => connection.close());
  const service = await startTestService(connection.url);
  onTestFinished(() => service.stop());
  const { owner } = await service.newProject();

  const until = performance.now() + CUTTING_MS;
  const isCutting = (): boolean => performance.now() < until;
  const cutting = (async () => {
    while (isCutting()) {
      await wait(1 + Math.random() * 60);
      connection.cut();
    }
  })();
  const acknowledged = new Map<string, string[]>();
  await Promise.all(
    Array.from({ length: CLIENTS }, async (_, client) => {
      for (let request = 0; isCutting(); request += 1) {
        const items = Array.from({ length: ITEMS }, (_item, index) => ({
          id: `s${(client * ITEMS + request * ITEMS + index) % SENSORS}`,
          data: { v: `${client}.${request}.${index}` },
        }));
        const results = await sendUntilTaken(owner, `${client}.${request}`, items);
        for (const [index, result] of results.entries()) {
          expect(result).toMatchObject({ id: items[index]?.id, status: 200 });
          expect(result.deduplicated).toBeUndefined();
          const { id, data } = items[index]!;
          acknowledged.set(id, [...(acknowledged.get(id) ?? []), data.v]);
        }
      }
    }),
  );
  await cutting;
  // Each client had at least one request acknowledged, and no two of them begin with the same
  // sensors.
  expect(acknowledged.size).toBe(SENSORS);

  for (const [id, values] of acknowledged) {
    const history = await owner.walk<{ patch: { v: string } }>(`/sensors/${id}/history?limit=500`);
    const recorded = history.map(({ patch }) => patch.v);
    expect(recorded.toSorted()).toEqual(values.toSorted());
  }
}, 120_000);
