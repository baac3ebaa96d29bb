import { randomUUID } from 'node:crypto';
import { expect, onTestFinished, vi } from 'vitest';
import { webhooksDecider } from '../../../src/commands/webhooks/decider.ts';
import { WebhookCommands } from '../../../src/commands/webhooks/commands.ts';
import type { CommandContext } from '../../../src/commands/core/context.ts';
import { publishedTypes } from '../../../src/events/published.ts';
import { recordable } from '../../../src/events/registry.ts';
import type { EventStore } from '../../../src/event-store/port.ts';
import { SharedFeed } from '../../../src/event-store/shared-feed.ts';
import { streamName } from '../../../src/event-store/stream-name.ts';
import { WebhookDeliveries } from '../../../src/followers/webhooks/deliveries.ts';
import {
  WebhookDeliverer,
  type DelivererOptions,
} from '../../../src/followers/webhooks/deliverer.ts';
import { newEventId, randomEntropy } from '../../../src/shared/ids.ts';
import { createLogger } from '../../../src/shared/logger.ts';
import type { WriteProcess } from '../../commands/core/write-process.ts';
import { startReceiver, type Receiver } from './receiver.ts';

export const EVENTUALLY = { timeout: 30_000, interval: 20 };

/** The webhooks of a project of the test's own, as one process has them. */
export interface TestProject {
  readonly projectId: string;
  readonly context: Pick<CommandContext, 'projectId' | 'actor' | 'correlationId'>;
}

export function newTestProject(): TestProject {
  const projectId = `p-${randomUUID()}`;
  return { projectId, context: { projectId, actor: 'owner', correlationId: 'r' } };
}

export function commandsOf({ handler }: Pick<WriteProcess, 'handler'>): WebhookCommands {
  return new WebhookCommands({ handler, installationSecret: Buffer.alloc(32, 7) });
}

export function deliveriesOf({ database, store }: WriteProcess): WebhookDeliveries {
  return new WebhookDeliveries(database, store.logId);
}

export async function createWebhook(
  commands: WebhookCommands,
  { context }: TestProject,
  url: string,
): Promise<string> {
  const { webhookId } = await commands.create(
    { url, types: null, domains: ['state'], startsAfter: null },
    { now: new Date(), entropy: randomEntropy() },
    context,
  );
  return webhookId;
}

/** The deliverer of one process, running until its test ends. */
export function startDeliverer(
  process: WriteProcess,
  changes: Partial<DelivererOptions> = {},
): WebhookDeliverer {
  const { store, snapshots, database } = process;
  const deliverer = new WebhookDeliverer({
    store,
    feed: new SharedFeed(store, publishedTypes),
    snapshots,
    database,
    commands: commandsOf(process),
    logger: createLogger('silent'),
    processId: randomUUID(),
    client: { allowPrivate: true },
    schedule: { minMs: 10, maxMs: 100, giveUpAfterMs: 86_400_000 },
    ...changes,
  });
  deliverer.start();
  onTestFinished(() => deliverer.stop());
  return deliverer;
}

export async function receive(): Promise<Receiver> {
  const receiver = await startReceiver();
  onTestFinished(() => receiver.stop());
  return receiver;
}

/** Records patches of a sensor, an append for each number. */
export async function record(
  store: EventStore,
  { projectId, context }: TestProject,
  numbers: readonly number[],
): Promise<void> {
  const stream = streamName('sensor', projectId, 's');
  for (const n of numbers) {
    const data = { sensorId: 's', patch: { n }, receivedAt: '2026-01-01T00:00:00.000Z' };
    const event = { id: newEventId(), ...recordable({ type: 'SensorPatched', data }, context) };
    await store.append([{ stream, expectedRevision: 'any', events: [event] }]);
  }
}

export function numbers(from: number, count: number): number[] {
  return Array.from({ length: count }, (_, n) => from + n);
}

interface Delivered {
  readonly data: { readonly patch: { readonly n: number } };
}

/** What has come, in order, and again as often as it came. */
export function numbersIn({ requests }: Receiver): number[] {
  return requests
    .flatMap(({ body }) => JSON.parse(body) as Delivered[])
    .map(({ data }) => data.patch.n);
}

/** What came for the first time, in the order in which it came. */
export function firstNumbersIn(receiver: Receiver): number[] {
  return [...new Set(numbersIn(receiver))];
}

export async function eventuallyReceived(
  receiver: Receiver,
  expected: readonly number[],
): Promise<void> {
  await vi.waitFor(() => expect(firstNumbersIn(receiver)).toEqual(expected), EVENTUALLY);
}

export async function isFailing(
  { handler }: WriteProcess,
  { projectId }: TestProject,
  webhookId: string,
): Promise<void> {
  const stream = streamName('webhook', projectId, 'project');
  await vi.waitFor(async () => {
    const { state } = await handler.peek(webhooksDecider, stream, 0);
    expect(state.webhooks[webhookId]?.condition.status).toBe('failing');
  }, EVENTUALLY);
}
