import { setImmediate as nextTurn } from 'node:timers/promises';
import { describe, expect, test, vi } from 'vitest';
import { Sql, sql } from '../../../src/database/sql.ts';
import { SharedFeed } from '../../../src/event-store/shared-feed.ts';
import { publishedTypes } from '../../../src/events/published.ts';
import { prepareWriteProcesses } from '../../commands/core/write-process.ts';
import {
  commandsOf,
  isFailing,
  createWebhook,
  deliveriesOf,
  eventuallyReceived,
  EVENTUALLY,
  firstNumbersIn,
  newTestProject,
  numbers,
  numbersIn,
  receive,
  record,
  startDeliverer,
} from './deliverer-fixture.ts';
import { status } from './receiver.ts';

const startProcess = prepareWriteProcesses();

describe('a deliverer', () => {
  test('resumes after the last delivery of another that stopped, repeating none', async () => {
    const [first, second] = [await startProcess(), await startProcess()];
    const [project, receiver] = [newTestProject(), await receive()];
    await createWebhook(commandsOf(first), project, receiver.url);
    const stopping = startDeliverer(first);
    await record(first.store, project, numbers(0, 20));
    await eventuallyReceived(receiver, numbers(0, 20));
    await stopping.stop();
    await record(first.store, project, numbers(20, 20));
    startDeliverer(second);
    await eventuallyReceived(receiver, numbers(0, 40));
    expect(numbersIn(receiver)).toEqual(numbers(0, 40));
  });

  test('is the only one of several that sends a webhook', async () => {
    const processes = await Promise.all([startProcess(), startProcess(), startProcess()]);
    const [project, receiver] = [newTestProject(), await receive()];
    for (const process of processes) startDeliverer(process);
    const [{ store }] = processes;
    await createWebhook(commandsOf(processes[0]), project, receiver.url);
    await record(store, project, numbers(0, 100));
    await eventuallyReceived(receiver, numbers(0, 100));
    expect(numbersIn(receiver)).toEqual(numbers(0, 100));
  });

  test('sends again, under the same id, what was under way when its process stopped', async () => {
    const [first, second] = [await startProcess(), await startProcess()];
    const [project, receiver] = [newTestProject(), await receive()];
    // The receiver takes it, and the process never gets a response.
    receiver.respond = () => undefined;
    await createWebhook(commandsOf(first), project, receiver.url);
    const stopping = startDeliverer(first);
    await record(first.store, project, [1]);
    await vi.waitFor(() => expect(receiver.requests).toHaveLength(1), EVENTUALLY);
    await stopping.stop();
    receiver.respond = status(204);
    startDeliverer(second);
    await vi.waitFor(() => expect(numbersIn(receiver)).toEqual([1, 1]), EVENTUALLY);
    const ids = receiver.requests.map(({ headers }) => headers['webhook-id']);
    expect(new Set(ids).size).toBe(1);
  });

  test('keeps the order where a receiver fails at random', async () => {
    const process = await startProcess();
    const [project, receiver] = [newTestProject(), await receive()];
    let attempts = 0;
    receiver.respond = (request, response) => {
      attempts += 1;
      if (attempts % 7 === 0) response.destroy();
      else status(attempts % 3 === 0 ? 204 : 500)(request, response);
    };
    await createWebhook(commandsOf(process), project, receiver.url);
    startDeliverer(process);
    await record(process.store, project, numbers(0, 30));
    await eventuallyReceived(receiver, numbers(0, 30));
    // Whatever came again: nothing came before what is before it.
    let highest = -1;
    for (const n of numbersIn(receiver)) {
      expect(n).toBeLessThanOrEqual(highest + 1);
      highest = Math.max(highest, n);
    }
  });

  test('holds the message that failed alone: what follows it is read again', async () => {
    const process = await startProcess();
    const [project, receiver] = [newTestProject(), await receive()];
    await createWebhook(commandsOf(process), project, receiver.url);
    // More than one message takes.
    await record(process.store, project, numbers(0, 150));
    const real = new SharedFeed(process.store, publishedTypes);
    let readings = 0;
    const readingsBefore: number[] = [];
    receiver.respond = (request, response) => {
      readingsBefore.push(readings);
      status(readingsBefore.length <= 2 ? 500 : 204)(request, response);
    };
    startDeliverer(process, {
      feed: {
        subscribe(options) {
          if (options.share === project.projectId) readings += 1;
          return real.subscribe(options);
        },
      },
    });
    await eventuallyReceived(receiver, numbers(0, 150));
    const [first, second] = [numbers(0, 100), numbers(100, 50)];
    expect(numbersIn(receiver)).toEqual([...first, ...first, ...first, ...second]);
    expect(readingsBefore).toEqual([1, 1, 1, 2]);
  });

  test('gives up in the time of its schedule, and delivers the rest once resumed', async () => {
    const [first, second] = [await startProcess(), await startProcess()];
    const [project, receiver] = [newTestProject(), await receive()];
    receiver.respond = status(503);
    const commands = commandsOf(first);
    const webhookId = await createWebhook(commands, project, receiver.url);
    const schedule = { minMs: 10, maxMs: 20, giveUpAfterMs: 200 };
    const deliverer = startDeliverer(first, { schedule });
    await record(first.store, project, [1, 2]);
    await isFailing(first, project, webhookId);
    // A process that starts now leaves it alone, too, and sends another one meanwhile.
    startDeliverer(second, { schedule });
    const good = await receive();
    await createWebhook(commands, project, good.url);
    await record(first.store, project, [3]);
    await eventuallyReceived(good, [3]);
    const { length } = receiver.requests;
    expect(length).toBeGreaterThan(1);
    await record(first.store, project, [4]);
    await eventuallyReceived(good, [3, 4]);
    expect(receiver.requests).toHaveLength(length);
    expect(deliverer.counts.byStatus.failing).toBeGreaterThan(0);
    const progress = await deliveriesOf(first).progress(project.projectId, [webhookId]);
    expect(progress.get(webhookId)).toMatchObject({
      failures: length,
      nextAttemptAt: null,
      lastError: 'the receiver answered 503',
    });

    receiver.respond = status(204);
    receiver.requests.length = 0;
    await commands.resume(webhookId, project.context);
    await eventuallyReceived(receiver, [1, 2, 3, 4]);
  });

  test('continues to count the failures that another process has met', async () => {
    const [first, second] = [await startProcess(), await startProcess()];
    const [project, receiver] = [newTestProject(), await receive()];
    receiver.respond = status(500);
    const webhookId = await createWebhook(commandsOf(first), project, receiver.url);
    const stopping = startDeliverer(first);
    await record(first.store, project, [1]);
    await vi.waitFor(() => expect(receiver.requests.length).toBeGreaterThan(1), EVENTUALLY);
    await stopping.stop();
    const key = { projectId: project.projectId, webhookId };
    const [before] = await deliveriesOf(first).list(key, { limit: 1 });
    startDeliverer(second);
    await vi.waitFor(async () => {
      const [attempt] = await deliveriesOf(first).list(key, { limit: 1 });
      expect(attempt?.attempt).toBeGreaterThan(before?.attempt ?? 0);
      expect(attempt?.messageId).toBe(before?.messageId);
    }, EVENTUALLY);
  });

  test('sends nothing as a webhook was before the log was lost', async () => {
    const process = await startProcess();
    const [project, before, after] = [newTestProject(), await receive(), await receive()];
    const commands = commandsOf(process);
    const webhookId = await createWebhook(commands, project, before.url);
    let toldAsked: () => void = () => undefined;
    let toldLost: () => void = () => undefined;
    const asked = new Promise<void>((resolve) => (toldAsked = resolve));
    const isLost = new Promise<void>((resolve) => (toldLost = resolve));
    const { database, store } = process;
    const real = new SharedFeed(store, publishedTypes);
    let isFirst = true;
    startDeliverer(process, {
      // The lease is given when the log has been lost, which happens when the webhook has changed.
      database: {
        ...database,
        query: async (statement, options) => {
          const rows = await database.query(statement, options);
          if (!isFirst || !(statement instanceof Sql)) return rows as never;
          if (!statement.strings[0]?.includes('insert into engine.webhooks')) return rows as never;
          toldAsked();
          await isLost;
          return rows as never;
        },
      },
      feed: {
        async *subscribe(options) {
          for await (const batch of real.subscribe(options)) {
            const isChange = batch.events.some(({ type }) => type === 'WebhookChanged');
            if (isFirst && isChange) {
              isFirst = false;
              void nextTurn().then(toldLost);
              throw new Error('the log is lost');
            }
            yield batch;
          }
        },
      },
    });
    await asked;
    await commands.change(webhookId, { url: after.url }, project.context);
    await record(store, project, [1]);
    await eventuallyReceived(after, [1]);
    expect(before.requests).toHaveLength(0);
  });

  test('passes over nothing that follows a change of filters, heard of late or not', async () => {
    const process = await startProcess();
    const [project, receiver] = [newTestProject(), await receive()];
    const commands = commandsOf(process);
    const webhookId = await createWebhook(commands, project, receiver.url);
    await commands.change(webhookId, { domains: ['firmware'] }, project.context);
    const real = new SharedFeed(process.store, publishedTypes);
    let tellChange: () => void = () => undefined;
    const isTold = new Promise<void>((resolve) => (tellChange = resolve));
    let [isWatched, lookedAt] = [false, 0n];
    startDeliverer(process, {
      feed: {
        async *subscribe(options) {
          const isRun = options.share === project.projectId;
          for await (const batch of real.subscribe(options)) {
            // The webhooks are read by another subscription than the events for them.
            if (isRun) lookedAt = batch.position;
            else if (isWatched) await isTold;
            yield batch;
          }
        },
      },
    });
    const first = await process.store.head();
    await vi.waitFor(() => expect(lookedAt).toBeGreaterThanOrEqual(first), EVENTUALLY);
    isWatched = true;
    await commands.change(webhookId, { domains: ['state'] }, project.context);
    await record(process.store, project, [1, 2]);
    await vi.waitFor(() => expect(lookedAt).toBeGreaterThan(first), EVENTUALLY);
    await nextTurn();
    tellChange();
    await record(process.store, project, [3]);
    await eventuallyReceived(receiver, [1, 2, 3]);
  });

  test('records the position also where nothing is wanted', async () => {
    const process = await startProcess();
    const [project, other] = [newTestProject(), newTestProject()];
    const receiver = await receive();
    const webhookId = await createWebhook(commandsOf(process), project, receiver.url);
    const real = new SharedFeed(process.store, publishedTypes);
    let lookedAt = 0n;
    const deliverer = startDeliverer(process, {
      feed: {
        async *subscribe(options) {
          for await (const batch of real.subscribe(options)) {
            yield batch;
            if (options.share === project.projectId) lookedAt = batch.position;
          }
        },
      },
    });
    const deliveries = deliveriesOf(process);
    const position = async (): Promise<bigint | undefined> =>
      (await deliveries.progress(project.projectId, [webhookId])).get(webhookId)?.position;
    await vi.waitFor(async () => expect(await position()).toBeDefined(), EVENTUALLY);
    const before = await position();
    await record(process.store, other, numbers(0, 20));
    const head = await process.store.head();
    await vi.waitFor(() => expect(lookedAt).toBeGreaterThanOrEqual(head), EVENTUALLY);
    await deliverer.stop();
    expect((await position()) ?? 0n).toBeGreaterThan(before ?? 0n);
    expect(receiver.requests).toEqual([]);
  });

  test('leaves nothing of a webhook behind that is deleted', async () => {
    const process = await startProcess();
    const [project, receiver] = [newTestProject(), await receive()];
    const commands = commandsOf(process);
    const webhookId = await createWebhook(commands, project, receiver.url);
    startDeliverer(process);
    await record(process.store, project, [1]);
    await eventuallyReceived(receiver, [1]);
    await commands.delete(webhookId, project.context);
    await vi.waitFor(async () => {
      const left = await process.database.query(sql`
        select webhook_id from engine.webhooks where webhook_id = ${webhookId}
        union all
        select webhook_id from engine.webhook_deliveries where webhook_id = ${webhookId}`);
      expect(left).toEqual([]);
    }, EVENTUALLY);
  });

  test('takes up what is known from a snapshot, and what came since', async () => {
    const [first, second] = [await startProcess(), await startProcess()];
    const [project, receiver] = [newTestProject(), await receive()];
    await createWebhook(commandsOf(first), project, receiver.url);
    const stopping = startDeliverer(first);
    await record(first.store, project, [1]);
    await eventuallyReceived(receiver, [1]);
    await stopping.stop();
    const later = await receive();
    await createWebhook(commandsOf(first), project, later.url);
    await record(first.store, project, [2]);
    startDeliverer(second);
    await eventuallyReceived(receiver, [1, 2]);
    await eventuallyReceived(later, [2]);
    expect(firstNumbersIn(later)).toEqual([2]);
  });
});
