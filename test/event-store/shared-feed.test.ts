import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { openDatabase, type Database } from '../../src/database/database.ts';
import { migrate } from '../../src/database/migrations.ts';
import type { Batch, OpenEventStore, Position } from '../../src/event-store/port.ts';
import { SharedFeed } from '../../src/event-store/shared-feed.ts';
import { createLogger } from '../../src/shared/logger.ts';
import { countedSubscriptions } from './counted-subscriptions.ts';
import { openTestLog } from './test-log.ts';
import { createTestDatabase } from '../database/test-database.ts';
import { appendEvent, numbered } from '../projections/notes.ts';

const logger = createLogger('silent');
const testDatabase = createTestDatabase();
const TYPES = ['FeedA', 'FeedB', 'FeedC'];

let database: Database;
let store: OpenEventStore;

beforeAll(async () => {
  database = openDatabase({ url: testDatabase.url, logger, maxConnections: 3 });
  await migrate(database, logger);
  store = await openTestLog({ databaseUrl: testDatabase.url, database, logger });
});
afterAll(async () => {
  await store.close();
  await database.close();
});

/** One that follows when it is told to. */
class Follower {
  readonly notes: string[] = [];
  position: Position;
  readonly #batches: AsyncIterator<Batch>;

  constructor(feed: SharedFeed, after: Position, types: readonly string[]) {
    this.position = after;
    const ending = new AbortController();
    onTestFinished(() => ending.abort());
    const batches = feed.subscribe({ after, types, signal: ending.signal });
    this.#batches = batches[Symbol.asyncIterator]();
  }

  async pull(): Promise<void> {
    const { value } = (await this.#batches.next()) as { value: Batch };
    expect(value.position).toBeGreaterThanOrEqual(this.position);
    this.position = value.position;
    this.notes.push(...value.events.map(({ data }) => data['note'] as string));
  }

  async pullUntil(position: Position): Promise<void> {
    while (this.position < position) await this.pull();
  }
}

async function append(type: string, notes: readonly string[]): Promise<Position> {
  let position = 0n as Position;
  for (const note of notes) position = await appendEvent(store, type, note);
  return position;
}

describe('the feed that projections share', () => {
  test('reads what comes once, for all that follow', async () => {
    const { store: counted, subscriptions } = countedSubscriptions(store);
    const feed = new SharedFeed(counted, TYPES);
    const after = await store.head();
    const followers = [['FeedA'], ['FeedB'], TYPES].map(
      (types) => new Follower(feed, after, types),
    );
    const first = await append('FeedA', ['a0']);
    await Promise.all(followers.map((follower) => follower.pullUntil(first)));

    await append('FeedA', ['a1']);
    await append('FeedB', ['b0']);
    const last = await append('FeedA', ['a2']);
    await Promise.all(followers.map((follower) => follower.pullUntil(last)));

    expect(followers.map(({ notes }) => notes)).toEqual([
      ['a0', 'a1', 'a2'],
      ['b0'],
      ['a0', 'a1', 'b0', 'a2'],
    ]);
    expect(subscriptions()).toBe(1);
  });

  test('gives who is late all that is kept at once', async () => {
    const feed = new SharedFeed(store, TYPES);
    const after = await store.head();
    const fast = new Follower(feed, after, TYPES);
    const late = new Follower(feed, after, TYPES);
    const begun = await append('FeedA', ['0']);
    await Promise.all([fast.pullUntil(begun), late.pullUntil(begun)]);
    for (const note of numbered(20, 1)) await fast.pullUntil(await append('FeedA', [note]));

    await late.pull();

    expect(late.notes).toEqual(numbered(21));
  });

  test('is not held up by a slow one, which misses nothing', async () => {
    const feed = new SharedFeed(store, TYPES);
    const after = await store.head();
    const fast = new Follower(feed, after, TYPES);
    const slow = new Follower(feed, after, ['FeedC']);
    const begun = await append('FeedC', ['0']);
    await Promise.all([fast.pullUntil(begun), slow.pullUntil(begun)]);

    // More than is kept.
    const written: Promise<Position>[] = numbered(20, 1).map((round) =>
      append('FeedC', numbered(150, Number(round) * 1_000)),
    );
    const last = (await Promise.all(written)).reduce((a, b) => (a > b ? a : b));
    await fast.pullUntil(last);
    expect(fast.notes).toHaveLength(1 + 20 * 150);
    expect(slow.notes).toEqual(['0']);

    await slow.pullUntil(last);
    expect(slow.notes).toEqual(fast.notes);
  });

  test('gives each what it wants in order, once, however they take turns', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(
          fc.oneof(
            fc.record({ append: fc.constantFrom(...TYPES) }),
            fc.record({ pull: fc.nat(2) }),
          ),
          { minLength: 1, maxLength: 40 },
        ),
        fc.array(fc.nat(3), { minLength: 3, maxLength: 3 }),
        async (steps, starts) => {
          const feed = new SharedFeed(store, TYPES);
          const positions = [await store.head()];
          const log: { type: string; note: string; position: Position }[] = [];
          const note = async (type: string): Promise<void> => {
            const text = `n${log.length}`;
            const position = await appendEvent(store, type, text);
            positions.push(position);
            log.push({ type, note: text, position });
          };
          for (const type of TYPES) await note(type);
          const wanted = [['FeedA'], ['FeedB', 'FeedC'], TYPES];
          const followers = wanted.map(
            (types, index) => new Follower(feed, positions[starts[index] ?? 0]!, types),
          );
          const began = followers.map(({ position }) => position);
          for (const step of steps) {
            if ('append' in step) await note(step.append);
            // At the head there would be nothing to wait for.
            else if (followers[step.pull]!.position < positions.at(-1)!) {
              await followers[step.pull]!.pull();
            }
          }
          for (const follower of followers) await follower.pullUntil(positions.at(-1)!);
          for (const [index, follower] of followers.entries()) {
            const expected = log.filter(
              ({ type, position }) => wanted[index]!.includes(type) && position > began[index]!,
            );
            expect(follower.notes).toEqual(expected.map((one) => one.note));
          }
        },
      ),
      { numRuns: 40 },
    );
  });
});
