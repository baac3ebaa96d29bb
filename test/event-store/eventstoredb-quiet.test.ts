import { expect, onTestFinished, test, vi } from 'vitest';
import { BEGINNING, type EventStore, type Position } from '../../src/event-store/port.ts';
import { SharedFeed } from '../../src/event-store/shared-feed.ts';
import { mustAppend, TestProject } from './contract/test-project.ts';
import { openLog, startServer } from './eventstoredb-fixture.ts';

const TYPES = ['ContractTested'];

test('who comes late to a feed on a quiet log gets where the others stand, and looks no more', async () => {
  const server = await startServer();
  const store = await openLog(server);
  const project = new TestProject();
  const { position } = await mustAppend(store, project.stream('device'), project.events(3));
  let readings = 0;
  const counting: EventStore = {
    logId: store.logId,
    append: (writes) => store.append(writes),
    readStream: (stream, options) => store.readStream(stream, options),
    readAll(options) {
      readings += 1;
      return store.readAll(options);
    },
    subscribe: (options) => store.subscribe(options),
    head: () => store.head(),
    end: () => store.end(),
    positionAt: (time) => store.positionAt(time),
  };
  const feed = new SharedFeed(counting, TYPES);

  const first = follow(feed, BEGINNING);
  await vi.waitFor(() => expect(first.position()).toBeGreaterThanOrEqual(position), 20_000);
  server.appendForeign('$stats-node', '$statsCollected', 500);
  await vi.waitFor(() => expect(first.position()).toBeGreaterThan(position), 20_000);
  expect(await store.head()).toBe(position);

  const late = follow(feed, BEGINNING);
  await vi.waitFor(() => expect(late.position()).toBe(first.position()), 20_000);
  expect(readings).toBeLessThan(10);
});

function follow(feed: SharedFeed, after: Position): { position(): Position } {
  const ending = new AbortController();
  let position = after;
  const following = (async () => {
    for await (const batch of feed.subscribe({ after, types: TYPES, signal: ending.signal })) {
      position = batch.position;
    }
  })();
  onTestFinished(async () => {
    ending.abort();
    await following;
  });
  return { position: () => position };
}
