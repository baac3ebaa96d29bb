import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from 'vitest';
import { openDatabase, type Database } from '../../src/database/database.ts';
import { migrate } from '../../src/database/migrations.ts';
import { recordable } from '../../src/events/registry.ts';
import { formatPosition, parsePosition } from '../../src/event-store/position-text.ts';
import type { OpenEventStore, Position } from '../../src/event-store/port.ts';
import { streamName } from '../../src/event-store/stream-name.ts';
import { Followers } from '../../src/followers/followers.ts';
import {
  OpenStreams,
  type OpenStreamsOptions,
  type StreamOwner,
} from '../../src/followers/open-streams.ts';
import { newEventId } from '../../src/shared/ids.ts';
import { createLogger } from '../../src/shared/logger.ts';
import { createTestDatabase } from '../database/test-database.ts';
import { countedSubscriptions } from '../event-store/counted-subscriptions.ts';
import { openTestLog } from '../event-store/test-log.ts';
import { follow, type SseConnection } from './sse-client.ts';

const EVENTUALLY = { timeout: 40_000, interval: 10 };
const logger = createLogger('silent');
const testDatabase = createTestDatabase();
let database: Database;
let store: OpenEventStore;

beforeAll(async () => {
  database = openDatabase({ url: testDatabase.url, logger, maxConnections: 5 });
  await migrate(database, logger);
  store = await openTestLog({ databaseUrl: testDatabase.url, database, logger });
});
afterAll(async () => {
  await store.close();
  await database.close();
});

interface Server {
  readonly url: string;
  readonly streams: OpenStreams;
  readonly responses: ServerResponse[];
  subscriptions(): number;
}

let projects = 0;
const newProject = (): string => `p${(projects += 1)}`;

/** Streams the events of one project to whoever connects. */
async function serve(
  projectId: string,
  limits: OpenStreamsOptions['limits'] = {},
  owner: StreamOwner = { keyId: 'k', projectId, kind: 'member' },
): Promise<Server> {
  const { store: counted, subscriptions } = countedSubscriptions(store);
  const format = (position: Position): string => formatPosition(store.logId, position);
  const draining = new AbortController();
  const streams = new OpenStreams({ draining: draining.signal, limits });
  const followers = new Followers(counted, format);
  const responses: ServerResponse[] = [];
  const server = createServer((request, response) => {
    responses.push(response);
    void (async () => {
      const sent = request.headers['last-event-id'];
      const after =
        typeof sent === 'string' ? parsePosition(store.logId, sent) : await store.head();
      const stream = streams.open(response, owner, () => Promise.resolve(true), format(after));
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      stream.open();
      await followers.stream(stream, { projectId, isOwner: true }, after);
    })().catch((error: unknown) => response.writeHead(503).end(String(error)));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    draining.abort();
    server.closeAllConnections();
    server.close();
  });
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return { url, streams, responses, subscriptions };
}

/** Appends patches of about so many bytes, and gives the numbers that they hold. */
async function patches(
  projectId: string,
  first: number,
  count: number,
  sizeBytes = 10,
): Promise<number[]> {
  const numbers = Array.from({ length: count }, (_, index) => first + index);
  const text = 'x'.repeat(sizeBytes);
  for (let start = 0; start < count; start += 50) {
    const events = numbers.slice(start, start + 50).map((n) => ({
      id: newEventId(),
      ...recordable(
        {
          type: 'SensorPatched',
          data: { sensorId: 's', patch: { n, text }, receivedAt: '2026-01-31T12:00:00.000Z' },
        },
        { projectId, actor: 'k', correlationId: 'c' },
      ),
    }));
    const stream = streamName('sensor', projectId, `s${start}`);
    for (const event of events) {
      await store.append([{ stream, events: [event], expectedRevision: 'any' }]);
    }
  }
  return numbers;
}

const numbersOf = ({ messages }: SseConnection): unknown[] =>
  messages.map(({ data }) => (data['data'] as { patch: { n: number } }).patch.n);

const has = (connection: SseConnection, numbers: readonly number[]): Promise<void> =>
  vi.waitFor(() => expect(numbersOf(connection)).toEqual(numbers), EVENTUALLY);

describe('a reader that does not read', () => {
  test('costs bounded memory, delays nobody, is closed after a while and can resume', async () => {
    const project = newProject();
    const { url, streams, responses } = await serve(project, { blockedMs: 3_000 });
    const slow = await follow({ url });
    const fast = await follow({ url });
    slow.pause();
    // More than the sockets take: 24 MB.
    const numbers = await patches(project, 0, 800, 30_000);
    await has(fast, numbers);
    for (const response of responses) expect(response.writableLength).toBeLessThan(200_000);
    await vi.waitFor(() => expect(streams.status.ended.slow).toBe(1), EVENTUALLY);
    expect(streams.status.open).toBe(1);
    slow.resume();
    await vi.waitFor(() => expect(slow.ended).toBe('cut'), EVENTUALLY);
    const seen = numbersOf(slow).length;
    expect(numbersOf(slow)).toEqual(numbers.slice(0, seen));
    expect(seen).toBeLessThan(800);
    const resumed = await follow({ url, lastEventId: slow.messages.at(-1)?.id });
    await has(resumed, numbers.slice(seen));
  });

  test('resumes where it stood when it reads again in time', async () => {
    const project = newProject();
    const { url, streams } = await serve(project);
    const slow = await follow({ url });
    slow.pause();
    const numbers = await patches(project, 0, 400, 30_000);
    await vi.waitFor(() => expect(streams.status.lagSeconds).toBeGreaterThan(1), EVENTUALLY);
    slow.resume();
    await has(slow, numbers);
    expect(streams.status.ended.slow).toBe(0);
  });
});

describe('the streams of a process', () => {
  test('are read for together, and caught up with in turns', async () => {
    const project = newProject();
    const { url, subscriptions } = await serve(project);
    const start = formatPosition(store.logId, await store.head());
    const before = await patches(project, 0, 30);
    const late = await Promise.all(
      Array.from({ length: 20 }, () => follow({ url, lastEventId: start })),
    );
    const live = await Promise.all(Array.from({ length: 20 }, () => follow({ url })));
    const after = await patches(project, 30, 30);
    for (const connection of late) await has(connection, [...before, ...after]);
    for (const connection of live) await has(connection, after);
    expect(subscriptions()).toBe(1);
  });

  test('are limited for each device key, each project and the process', async () => {
    const project = newProject();
    const device = { keyId: 'd', projectId: project, kind: 'device' as const };
    const { url, streams } = await serve(project, { perDeviceKey: 2 }, device);
    const [first] = await Promise.all([follow({ url }), follow({ url })]);
    await expect(follow({ url })).rejects.toThrow();
    expect(streams.status.open).toBe(2);
    first.close();
    await vi.waitFor(() => expect(streams.status.open).toBe(1), EVENTUALLY);
    await follow({ url });
  });

  test('are not counted where the client has left before they open', async () => {
    const { streams } = await serve(newProject());
    const owner = { keyId: 'k', projectId: newProject(), kind: 'device' } as const;
    const ended = new Promise<void>((resolve) => {
      const server = createServer((_, response) => {
        response.once('close', () => {
          const stream = streams.open(response, owner, () => Promise.resolve(true), 'position');
          stream.open();
          if (stream.signal.aborted) resolve();
        });
        response.destroy();
      });
      server.listen(0, '127.0.0.1', () => {
        const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
        fetch(url).catch(() => undefined);
      });
      onTestFinished(() => void server.close());
    });
    await ended;
    expect(streams.status).toMatchObject({ open: 0, ended: { left: 1 } });
  });

  test('say that they are alive, and how far they are where nothing matches', async () => {
    const [mine, other] = [newProject(), newProject()];
    const { url } = await serve(mine, { keepAliveMs: 100 });
    const connection = await follow({ url });
    await patches(other, 0, 3);
    const head = formatPosition(store.logId, await store.head());
    await vi.waitFor(() => expect(connection.lastEventId).toBe(head), EVENTUALLY);
    expect(connection.messages).toEqual([]);
    expect(connection.comments.length).toBeGreaterThan(1);
  });
});
