import fc from 'fast-check';
import { beforeAll, describe, expect, test } from 'vitest';
import type { DomainEvent } from '../../src/events/event.ts';
import type { Position, RecordedEvent } from '../../src/event-store/port.ts';
import { streamName } from '../../src/event-store/stream-name.ts';
import type { Edges } from '../../src/projections/usage/queries/buckets.ts';
import { usageProjection } from '../../src/projections/usage/projection.ts';
import { UsageQueries, type Subject } from '../../src/projections/usage/queries.ts';
import { UsageTotals, type UsedWithin } from '../../src/projections/usage/queries/totals.ts';
import { createTestDatabase } from '../database/test-database.ts';
import { cut, PastEvents, openByHand, type TablesByHand } from './by-hand.ts';

const testDatabase = createTestDatabase();
let queries: UsageQueries;
let totals: UsageTotals;
let tables: TablesByHand;
let oneByOne: TablesByHand;
let projects = 0;

beforeAll(async () => {
  const byHand = await openByHand(testDatabase.url, usageProjection);
  ({ tables, oneByOne } = byHand);
  [queries, totals] = [new UsageQueries(byHand.models), new UsageTotals(byHand.models)];
  return byHand.close;
});

const START_MS = Date.UTC(2026, 0, 31);
const MINUTE_MS = 60_000;
const ALL: { limit: number; offset: number } = { limit: 1_000, offset: 0 };

type Happened =
  /** Minutes after the start. */
  | { readonly type: 'used'; readonly sim: string; readonly minute: number; readonly bytes: number }
  | {
      readonly type: 'assigned';
      readonly sim: string;
      readonly org: string;
      readonly from: number | null;
    };

/** A project of the test's own, and what happened in it. */
class Fleet {
  readonly projectId: string;
  readonly #past = new PastEvents();
  #records = 0;

  constructor() {
    projects += 1;
    this.projectId = `p${projects}`;
  }

  record(happened: Happened): RecordedEvent {
    this.#records += 1;
    const stream = streamName('usage', this.projectId, 'id', String(this.#records));
    return this.#past.record(stream, eventOf(happened));
  }

  async byBucket(subject: Subject, edges: Edges, asOf?: Position): Promise<[number, number][]> {
    const { value } = await queries.byBucket(
      this.projectId,
      subject,
      { edges, page: ALL, asOf },
      {},
    );
    expect(value.total).toBe(value.items.length);
    return value.items.map(({ startMs, bytes }) => [
      (startMs - START_MS) / MINUTE_MS,
      Number(bytes),
    ]);
  }

  async organizations(within: UsedWithin, asOf?: Position): Promise<[string | null, number][]> {
    const { value } = await totals.ofOrganizations(
      this.projectId,
      { ...within, asOf, page: ALL },
      {},
    );
    expect(value.total).toBe(value.items.length);
    return value.items.map(({ orgId, bytes }) => [orgId, Number(bytes)]);
  }

  async sims(within: UsedWithin, asOf?: Position): Promise<[string, string | null, number][]> {
    const { value } = await totals.ofSims(this.projectId, { ...within, asOf, page: ALL }, {});
    return value.items.map(({ simCardId, orgId, bytes }) => [simCardId, orgId, Number(bytes)]);
  }
}

function eventOf(happened: Happened): DomainEvent {
  const { sim: simCardId } = happened;
  if (happened.type === 'used') {
    const usedAt = at(happened.minute);
    return { type: 'UsageRecorded', data: { simCardId, bytesUsed: happened.bytes, usedAt } };
  }
  const from = happened.from === null ? null : at(happened.from);
  return {
    type: 'SimAssigned',
    data: { simCardId, orgId: happened.org === '' ? null : happened.org, from },
  };
}

function at(minute: number): string {
  return new Date(START_MS + minute * MINUTE_MS).toISOString();
}

function edgesAt(...minutes: readonly number[]): Edges {
  return minutes.map((minute) => START_MS + minute * MINUTE_MS);
}

const used = (sim: string, minute: number, bytes: number): Happened => ({
  type: 'used',
  sim,
  minute,
  bytes,
});
const assigned = (sim: string, org: string, from: number | null): Happened => ({
  type: 'assigned',
  sim,
  org,
  from,
});
const organization = (id: string): Subject =>
  id === '' ? { kind: 'nobody' } : { kind: 'organization', id };
const simCard = (id: string): Subject => ({ kind: 'simcard', id });

describe('usage', () => {
  test('belongs to whoever held the SIM card when it was used, split at that very minute', async () => {
    const fleet = new Fleet();
    const happened = [
      assigned('1', 'acme', null),
      used('1', 65, 1),
      used('1', 66, 2),
      used('1', 67, 4),
      assigned('1', 'beta', 66),
    ];
    await tables.apply(happened.map((one) => fleet.record(one)));

    const hours = edgesAt(0, 60, 120);
    expect(await fleet.byBucket(organization('acme'), hours)).toEqual([[60, 1]]);
    expect(await fleet.byBucket(organization('beta'), hours)).toEqual([[60, 6]]);
    expect(await fleet.byBucket(simCard('1'), hours)).toEqual([[60, 7]]);
    expect(await fleet.sims({})).toEqual([
      ['1', 'acme', 1],
      ['1', 'beta', 6],
    ]);
  });

  test('of a SIM card that nobody holds is nobody’s, until the inventory knows it', async () => {
    const fleet = new Fleet();
    await tables.apply([fleet.record(used('1', 5, 10))]);
    expect(await fleet.organizations({})).toEqual([[null, 10]]);
    expect(await fleet.byBucket(organization(''), edgesAt(0, 60))).toEqual([[0, 10]]);

    await tables.apply([fleet.record(assigned('1', 'acme', null))]);
    expect(await fleet.organizations({})).toEqual([['acme', 10]]);
    expect(await fleet.byBucket(organization(''), edgesAt(0, 60))).toEqual([]);
  });

  test('as of a position is what was known there: without late records, under the assignments of then', async () => {
    const fleet = new Fleet();
    const first = fleet.record(assigned('1', 'acme', null));
    const known = fleet.record(used('1', 5, 10));
    const late = fleet.record(used('1', 6, 100));
    const moved = fleet.record(assigned('1', 'beta', 0));
    await tables.apply([first, known, late, moved]);

    const hour = edgesAt(0, 60);
    expect(await fleet.byBucket(organization('acme'), hour, known.position)).toEqual([[0, 10]]);
    expect(await fleet.byBucket(organization('acme'), hour, late.position)).toEqual([[0, 110]]);
    expect(await fleet.byBucket(organization('acme'), hour)).toEqual([]);
    expect(await fleet.organizations({}, late.position)).toEqual([['acme', 110]]);
    expect(await fleet.sims({}, known.position)).toEqual([['1', 'acme', 10]]);
    expect(await fleet.byBucket(simCard('1'), hour, first.position)).toEqual([]);
  });

  test('goes with assignments of one batch, from the earliest on and from their very times', async () => {
    const fleet = new Fleet();
    await tables.apply([1, 2, 4].map((bytes, n) => fleet.record(used('1', 10 * (n + 1), bytes))));
    await tables.apply(
      [assigned('1', 'late', 30), assigned('1', 'early', 20)].map((one) => fleet.record(one)),
    );
    expect(await fleet.sims({})).toEqual([
      ['1', null, 1],
      ['1', 'early', 2],
      ['1', 'late', 4],
    ]);
  });

  test('moves with its SIM cards by one write for each of their sums', async () => {
    const fleet = new Fleet();
    const quarters = Array.from({ length: 50 }, (_, quarter) => quarter * 15);
    const cards = ['1', '2', '3'];
    await tables.apply(
      cards.flatMap((card) => quarters.map((minute) => fleet.record(used(card, minute, 1)))),
    );
    const toOne = cards.map((card) => fleet.record(assigned(card, 'acme', null)));
    expect(await tables.writesTo('sim_quarter_hours', toOne)).toBe(150);
    // From within a quarter of an hour on: that one is summed up again, and is of two
    // organizations.
    const move = fleet.record(assigned('1', 'beta', 601));
    expect(await tables.writesTo('sim_quarter_hours', [move])).toBe(9);
    expect(await fleet.organizations({})).toEqual([
      ['acme', 141],
      ['beta', 9],
    ]);
  });

  test('of nothing is usage, too: it is listed with 0 bytes', async () => {
    const fleet = new Fleet();
    await tables.apply([fleet.record(assigned('1', 'acme', null)), fleet.record(used('1', 5, 0))]);
    expect(await fleet.organizations({})).toEqual([['acme', 0]]);
    expect(await fleet.byBucket(simCard('1'), edgesAt(0, 60))).toEqual([[0, 0]]);
  });

  test('of more bytes than 64 bits hold is added up', async () => {
    const fleet = new Fleet();
    const most = Number.MAX_SAFE_INTEGER;
    await tables.apply(Array.from({ length: 1_100 }, () => fleet.record(used('1', 5, most))));
    expect(await fleet.organizations({})).toEqual([[null, most * 1_100]]);
  });

  test('is of one project', async () => {
    const [fleet, other] = [new Fleet(), new Fleet()];
    await tables.apply([fleet.record(used('1', 5, 10)), fleet.record(assigned('1', 'acme', null))]);
    await tables.apply([other.record(used('1', 5, 3))]);
    expect(await other.organizations({})).toEqual([[null, 3]]);
    expect(await queries.isKnown(other.projectId, organization('acme'), undefined, {})).toBe(false);
    expect(await queries.isKnown(fleet.projectId, organization('acme'), undefined, {})).toBe(true);
  });

  test('is paged, with how much there is on all pages', async () => {
    const fleet = new Fleet();
    await tables.apply(
      [0, 60, 120, 180].map((minute) => fleet.record(used('1', minute, 1 + minute))),
    );
    const edges = edgesAt(0, 60, 120, 180, 240);
    const page = async (limit: number, offset: number) =>
      (
        await queries.byBucket(
          fleet.projectId,
          simCard('1'),
          { edges, page: { limit, offset } },
          {},
        )
      ).value;
    expect(await page(3, 3)).toEqual({ items: [{ startMs: edges[3], bytes: 181n }], total: 4 });
    expect(await page(3, 6)).toEqual({ items: [], total: 4 });
  });
});

test('is what a plain sum gives, now and as of each position, and the same rows however the log is cut', async () => {
  const sim = fc.constantFrom('1', '2', '3');
  // Within quarters and at their edges, and some at the very same time.
  const minute = fc.oneof(
    fc.integer({ min: 0, max: 200 }),
    fc.constantFrom(0, 15, 30, 60, 119, 120),
  );
  const anything = fc.oneof(
    {
      weight: 3,
      arbitrary: fc.record({
        type: fc.constant('used' as const),
        sim,
        minute,
        bytes: fc.integer({ min: 0, max: 9 }),
      }),
    },
    {
      weight: 1,
      arbitrary: fc.record({
        type: fc.constant('assigned' as const),
        sim,
        // '': none.
        org: fc.constantFrom('acme', 'beta', ''),
        from: fc.option(minute),
      }),
    },
  );
  await fc.assert(
    fc.asyncProperty(
      fc.array(anything, { minLength: 1, maxLength: 30 }),
      fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 4 }),
      minute,
      minute,
      async (happened, sizes, one, two) => {
        const fleet = new Fleet();
        const events = happened.map((each) => fleet.record(each));
        for (const piece of cut(events, sizes)) await tables.apply(piece);
        for (const event of events) await oneByOne.apply([event]);

        for (const [table, by] of TABLES) {
          const rows = await tables.rows(table, fleet.projectId, by);
          expect(await oneByOne.rows(table, fleet.projectId, by), table).toEqual(rows);
        }
        const [from, to] = [Math.min(one, two), Math.max(one, two)];
        const within = { fromMs: START_MS + from * MINUTE_MS, toMs: START_MS + to * MINUTE_MS };
        const half = Math.ceil(events.length / 2);
        for (const upTo of [undefined, half]) {
          const asOf = upTo === undefined ? undefined : events[upTo - 1]?.position;
          const known = plainly(happened.slice(0, upTo));
          for (const [range, inRange] of [
            [{}, known],
            [within, known.filter((use) => use.minute >= from && use.minute < to)],
          ] as const) {
            expect(await fleet.organizations(range, asOf)).toEqual(
              summed(inRange, ({ org }) => [org]).map(([org, bytes]) => [
                org === '' ? null : org,
                bytes,
              ]),
            );
            expect(await fleet.sims(range, asOf)).toEqual(
              summed(inRange, ({ sim: card, org }) => [card, org]).map(([card, org, bytes]) => [
                card,
                org === '' ? null : org,
                bytes,
              ]),
            );
          }
          for (const edges of [edgesAt(0, 60, 120, 180), edgesAt(10, 17, 75, 119)]) {
            for (const org of ['', 'acme', 'beta']) {
              const of = known.filter((use) => use.org === org);
              expect(await fleet.byBucket(organization(org), edges, asOf)).toEqual(
                inBuckets(of, edges),
              );
            }
            const of = known.filter((use) => use.sim === '1');
            expect(await fleet.byBucket(simCard('1'), edges, asOf)).toEqual(inBuckets(of, edges));
          }
        }
      },
    ),
    { numRuns: 25 },
  );
});

const TABLES = [
  ['records', 'sim_card_id, used_at, position'],
  ['sim_quarter_hours', 'sim_card_id, quarter_hour, org_id'],
  ['sim_totals', 'sim_card_id, org_id'],
  ['org_quarter_hours', 'org_id, quarter_hour'],
  ['org_totals', 'org_id'],
  ['sim_days', 'sim_card_id, day'],
] as const;

interface Use {
  readonly sim: string;
  readonly org: string;
  readonly minute: number;
  readonly bytes: number;
}

/**
 * Each use with who held its SIM card: of the assignments up to its time the newest, of two the
 * last.
 */
function plainly(happened: readonly Happened[]): Use[] {
  const assignments = happened.filter((one) => one.type === 'assigned');
  return happened
    .filter((one) => one.type === 'used')
    .map(({ sim, minute, bytes }) => {
      const held = assignments
        .filter((one) => one.sim === sim && (one.from ?? -1) <= minute)
        .toSorted((a, b) => (a.from ?? -1) - (b.from ?? -1))
        .at(-1);
      return { sim, org: held?.org ?? '', minute, bytes };
    });
}

function summed(
  uses: readonly Use[],
  keysOf: (use: Use) => readonly string[],
): (string | number)[][] {
  const sums = new Map<string, number>();
  for (const use of uses) {
    const key = JSON.stringify(keysOf(use));
    sums.set(key, (sums.get(key) ?? 0) + use.bytes);
  }
  return [...sums]
    .map(([key, bytes]) => [...(JSON.parse(key) as string[]), bytes])
    .toSorted((a, b) => (String(a) < String(b) ? -1 : 1));
}

function inBuckets(uses: readonly Use[], edges: Edges): [number, number][] {
  return edges.slice(0, -1).flatMap((edge, index) => {
    const [from, to] = [
      (edge - START_MS) / MINUTE_MS,
      ((edges[index + 1] ?? 0) - START_MS) / MINUTE_MS,
    ];
    const inside = uses.filter(({ minute }) => minute >= from && minute < to);
    const bytes = inside.reduce((sum, use) => sum + use.bytes, 0);
    return inside.length === 0 ? [] : [[from, bytes] as [number, number]];
  });
}
