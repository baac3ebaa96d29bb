import { expect, test } from 'vitest';
import { placeAfterId, walkPage } from '../../src/api/paging.ts';
import type { Position } from '../../src/event-store/port.ts';
import type { JsonObject } from '../../src/shared/json.ts';

interface Page {
  readonly items: JsonObject[];
  readonly next: string | null;
}

/** A log that has every position. */
const positions = { logId: '00000000', requireReached: () => Promise.resolve() };

/** Rows by id, of items that take so many MiB, in a read model that moves on at each page. */
function listOf(sizes: Readonly<Record<string, number>>, isPinned = true) {
  const asked: (Position | undefined)[] = [];
  let position = 0n;
  const page = async (limit: number, cursor?: string, asOf?: Position): Promise<Page> => {
    const answer = await walkPage(
      { query: { limit, cursor }, path: '/rows', asOf, positions },
      {
        name: 'rows',
        place: placeAfterId,
        isPinned,
        rows: (count, place, walkAsOf) => {
          asked.push(walkAsOf);
          position += 1n;
          const after = Object.keys(sizes).filter((id) => id > (place?.after ?? ''));
          return Promise.resolve({
            value: after.slice(0, count),
            position: position as Position,
          });
        },
        item: (id) => ({ id, content: 'x'.repeat((sizes[id] ?? 0) * 1024 * 1024) }),
        placeOf: (id) => ({ after: id }),
      },
    );
    return answer.body as unknown as Page;
  };
  /** The ids of each page. */
  const walk = async (limit: number, asOf?: Position): Promise<unknown[][]> => {
    const pages: unknown[][] = [];
    let next: string | null | undefined;
    let first = asOf;
    while (next !== null) {
      const { items, next: following } = await page(limit, next, first);
      // A client that only sends the cursor back stays where it began.
      first = undefined;
      pages.push(items.map(({ id }) => id));
      next = following;
    }
    return pages;
  };
  return { asked, page, walk };
}

test('a walk sees each row once, and has no page after the last', async () => {
  const list = listOf({ a: 0, b: 0, c: 0, d: 0 });

  expect(await list.walk(3)).toEqual([['a', 'b', 'c'], ['d']]);
  expect(await list.walk(2)).toEqual([
    ['a', 'b'],
    ['c', 'd'],
  ]);
  expect(await list.walk(4)).toEqual([['a', 'b', 'c', 'd']]);
  expect(await listOf({}).walk(4)).toEqual([[]]);
});

test('a page ends before it gets too large, and holds one item at least', async () => {
  const list = listOf({ a: 3, b: 3, c: 5, d: 1, e: 1 });

  expect(await list.walk(4)).toEqual([['a'], ['b'], ['c'], ['d', 'e']]);
});

test('a walk may stay at the position of its first page', async () => {
  const list = listOf({ a: 0, b: 0, c: 0 });

  await list.walk(1);

  expect(list.asked).toEqual([undefined, 1n, 1n]);
});

test('a walk as of a position stays there, also without sending as_of again', async () => {
  const list = listOf({ a: 0, b: 0, c: 0 }, false);

  await list.walk(1, 7n as Position);
  await list.walk(1);

  expect(list.asked).toEqual([7n, 7n, 7n, undefined, undefined, undefined]);
});

test('a walk as of a time in the future stays where that time led at first', async () => {
  const list = listOf({ a: 0, b: 0 }, false);

  const { next } = await list.page(1, undefined, 7n as Position);
  await list.page(1, next ?? undefined, 9n as Position);

  expect(list.asked).toEqual([7n, 7n]);
});
