import { describe, expect, test } from 'vitest';
import type { Database } from '../../../src/database/database.ts';
import { sql } from '../../../src/database/sql.ts';
import type { Position } from '../../../src/event-store/port.ts';
import { WebhookDeliveries } from '../../../src/followers/webhooks/deliveries.ts';
import {
  LeaseLostError,
  WebhookProgress,
  type Attempt,
  type Lease,
} from '../../../src/followers/webhooks/progress.ts';
import type { RegisteredWebhook } from '../../../src/followers/webhooks/registry.ts';
import { prepareWriteProcesses } from '../../commands/core/write-process.ts';

const startProcess = prepareWriteProcesses();
const LOG = 'aaaaaaaa';
let webhooks = 0;

function registered({ start = 100, startSeries = 0, attemptSeries = 0 } = {}): RegisteredWebhook {
  webhooks += 1;
  return {
    projectId: 'acme',
    webhookId: `w${webhooks}`,
    start: { position: BigInt(start) as Position, series: startSeries },
    webhook: {
      url: 'https://example.com/',
      types: null,
      domains: null,
      createdAt: '2026-01-01T00:00:00.000Z',
      salts: [],
      condition: { status: 'active' },
      replayId: null,
      attemptSeries,
    },
  };
}

function attempt(number: number, changes: Partial<Attempt> = {}): Attempt {
  return {
    messageId: 'm',
    attempt: number,
    responseStatus: 204,
    error: null,
    events: 1,
    firstPosition: 101n as Position,
    lastPosition: 101n as Position,
    sentAt: new Date('2026-01-01T00:00:00Z'),
    durationMs: 5,
    ...changes,
  };
}

async function onlyLease(
  progress: WebhookProgress,
  webhook: RegisteredWebhook,
): Promise<Lease | undefined> {
  return (await progress.acquire([webhook]))[0];
}

/** As if its holder had stalled for longer than a lease lasts. */
async function expire(database: Database, { webhookId }: RegisteredWebhook): Promise<void> {
  await database.query(sql`
    update engine.webhooks set expires_at = '-infinity' where webhook_id = ${webhookId}`);
}

describe('the lease of a webhook', () => {
  test('is one process’s, until it is released', async () => {
    const { database } = await startProcess();
    const [a, b] = [
      new WebhookProgress(database, LOG, 'a'),
      new WebhookProgress(database, LOG, 'b'),
    ];
    const webhook = registered();
    const lease = await onlyLease(a, webhook);
    expect(lease).toMatchObject({ position: 100n, failures: 0 });
    expect(await b.acquire([webhook])).toEqual([]);
    if (lease === undefined) return;
    expect(await a.renew([lease])).toEqual([{ token: lease.token }]);
    await a.release(lease);
    expect(await b.acquire([webhook])).toHaveLength(1);
    expect(await a.renew([lease])).toEqual([]);
  });

  test('of a process that stalled is fenced off: it can record nothing any more', async () => {
    const { database } = await startProcess();
    const [stalled, next] = [
      new WebhookProgress(database, LOG, 'a'),
      new WebhookProgress(database, LOG, 'b'),
    ];
    const webhook = registered();
    const old = await onlyLease(stalled, webhook);
    await expire(database, webhook);
    const lease = await onlyLease(next, webhook);
    if (old === undefined || lease === undefined) throw new Error('there is no lease');
    const position = 200n as Position;
    await expect(stalled.delivered(old, attempt(1), position)).rejects.toThrow(LeaseLostError);
    await expect(stalled.failed(old, attempt(1), null)).rejects.toThrow(LeaseLostError);
    await expect(stalled.skipTo(old, position)).rejects.toThrow(LeaseLostError);
    const deliveries = new WebhookDeliveries(database, LOG);
    expect(await deliveries.list(webhook, { limit: 10 })).toEqual([]);
    await next.delivered(lease, attempt(1), 150n as Position);
    const progress = await deliveries.progress('acme', [webhook.webhookId]);
    expect(progress.get(webhook.webhookId)?.position).toBe(150n);
  });

  test('starts again at a newer start only, also where a process knows an older one', async () => {
    const { database } = await startProcess();
    const progress = new WebhookProgress(database, LOG, 'a');
    const webhook = registered({ start: 100 });
    const replayed = {
      ...webhook,
      start: { position: 50n as Position, series: 1 },
      webhook: { ...webhook.webhook, attemptSeries: 1 },
    };
    const acquired = await onlyLease(progress, replayed);
    if (acquired === undefined) throw new Error('there is no lease');
    await progress.failed(acquired, attempt(1, { error: 'no' }), new Date());
    await progress.skipTo(acquired, 70n as Position);
    await progress.release(acquired);
    const again = await onlyLease(progress, webhook);
    expect(again).toMatchObject({ position: 70n, failures: 1 });
    if (again !== undefined) await progress.release(again);
    const resumed = { ...replayed, webhook: { ...webhook.webhook, attemptSeries: 2 } };
    expect(await onlyLease(progress, resumed)).toMatchObject({
      position: 70n,
      failures: 0,
      failingSince: null,
      nextAttemptAt: null,
    });
  });

  test('is of one log: on another the webhook begins at its start', async () => {
    const { database } = await startProcess();
    const webhook = registered({ start: 100 });
    const before = new WebhookProgress(database, LOG, 'a');
    const lease = await onlyLease(before, webhook);
    if (lease === undefined) throw new Error('there is no lease');
    await before.skipTo(lease, 500n as Position);
    await before.release(lease);
    const moved = new WebhookProgress(database, 'bbbbbbbb', 'a');
    expect(await onlyLease(moved, webhook)).toMatchObject({ position: 100n });
  });

  test('the newest thousand attempts are kept', async () => {
    const { database } = await startProcess();
    const progress = new WebhookProgress(database, LOG, 'a');
    const webhook = registered();
    const lease = await onlyLease(progress, webhook);
    if (lease === undefined) throw new Error('there is no lease');
    const position = 200n as Position;
    for (let n = 1; n <= 5; n += 1) await progress.delivered(lease, attempt(n), position);
    await database.query(sql`
      update engine.webhooks set attempts = 1002 where webhook_id = ${webhook.webhookId}`);
    await progress.delivered(lease, attempt(1_003), position);
    const kept = await new WebhookDeliveries(database, LOG).list(webhook, { limit: 2_000 });
    expect(kept.map(({ number }) => number)).toEqual([1_003n, 5n, 4n]);
  });
});
