import fc from 'fast-check';
import { beforeAll, describe, expect, test } from 'vitest';
import {
  assignmentAt,
  simDecider,
  simStream,
  type AssignSim,
} from '../../src/commands/tenancy/sim-decider.ts';
import { domainEvent } from '../../src/events/registry.ts';
import type { SimEvent } from '../../src/events/tenancy.ts';
import type { RecordedEvent } from '../../src/event-store/port.ts';
import { InventoryQueries, type HeldSim } from '../../src/projections/tenancy/queries/inventory.ts';
import { tenancyProjection } from '../../src/projections/tenancy/projection.ts';
import { createTestDatabase } from '../database/test-database.ts';
import { cut, PastEvents, openByHand, type TablesByHand } from './by-hand.ts';
import { happened } from './tenancy-histories.ts';

const [T1, T2, T3] = ['2026-01-01', '2026-02-01', '2026-03-01'].map((day) =>
  new Date(day).toISOString(),
) as [string, string, string];

const testDatabase = createTestDatabase();
let queries: InventoryQueries;
let tables: TablesByHand;
let oneByOne: TablesByHand;
let projects = 0;

/** A project of the test's own. */
function newProject(): string {
  projects += 1;
  return `p${projects}`;
}

beforeAll(async () => {
  const byHand = await openByHand(testDatabase.url, tenancyProjection);
  ({ tables, oneByOne } = byHand);
  queries = new InventoryQueries(byHand.models);
  return byHand.close;
});

function assigned(simCardId: string, orgId: string, from: string | null): SimEvent {
  return { type: 'SimAssigned', data: { simCardId, orgId, from } };
}

/** So many assignments, one after the other, of any SIMs. */
function recorded(projectId: string, ...events: readonly SimEvent[]): RecordedEvent[] {
  const past = new PastEvents();
  return events.map((event) => past.record(simStream(projectId, event.data.simCardId), event));
}

async function heldAt(projectId: string, now: string): Promise<[string, string | null][]> {
  const { value } = await queries.inventory(
    projectId,
    { page: 1, size: 100, now: new Date(now) },
    {},
  );
  expect(value.total).toBe(value.items.length);
  return value.items.map(({ simCardId, orgId }) => [simCardId, orgId]);
}

describe('the inventory', () => {
  test('shows who holds a SIM now: not who held it, and not who will', async () => {
    const projectId = newProject();
    await tables.apply(
      recorded(
        projectId,
        assigned('1', 'acme', null),
        assigned('1', 'beta', T2),
        assigned('2', 'beta', T3),
      ),
    );

    expect(await heldAt(projectId, T1)).toEqual([['1', 'acme']]);
    expect(await heldAt(projectId, T2)).toEqual([['1', 'beta']]);
    expect(await heldAt(projectId, T3)).toEqual([
      ['1', 'beta'],
      ['2', 'beta'],
    ]);
  });

  test('has the later of two assignments from one time', async () => {
    const projectId = newProject();
    await tables.apply(recorded(projectId, assigned('1', 'acme', T2), assigned('1', 'beta', T2)));
    await tables.apply(recorded(projectId, assigned('2', 'beta', null)));

    expect(await heldAt(projectId, T2)).toEqual([
      ['1', 'beta'],
      ['2', 'beta'],
    ]);
  });

  test('is of one project', async () => {
    const [projectId, other] = [newProject(), newProject()];
    await tables.apply(recorded(projectId, assigned('1', 'acme', null)));
    await tables.apply(recorded(other, assigned('1', 'beta', null)));

    expect(await heldAt(projectId, T1)).toEqual([['1', 'acme']]);
    expect(await heldAt(newProject(), T1)).toEqual([]);
  });

  test('comes in pages, by id, with how many there are, also beyond the last', async () => {
    const projectId = newProject();
    const ids = ['b', 'a', 'Z', '10', '9', 'é'];
    await tables.apply(recorded(projectId, ...ids.map((id) => assigned(id, 'acme', null))));
    const page = async (number: number, size: number): Promise<[string[], number]> => {
      const asked = { page: number, size, now: new Date(T1) };
      const { value } = await queries.inventory(projectId, asked, {});
      return [value.items.map(({ simCardId }: HeldSim) => simCardId), value.total];
    };

    expect(await page(1, 100)).toEqual([['10', '9', 'Z', 'a', 'b', 'é'], 6]);
    expect(await page(1, 4)).toEqual([['10', '9', 'Z', 'a'], 6]);
    expect(await page(2, 4)).toEqual([['b', 'é'], 6]);
    expect(await page(3, 4)).toEqual([[], 6]);
    expect(await page(Number.MAX_SAFE_INTEGER, 100)).toEqual([[], 6]);
  });

  test('wherever the log was cut has the same rows, and at any time the holders of a plain fold', async () => {
    const command = fc
      .record({
        simCardId: fc.constantFrom('1', '2', '3'),
        orgId: fc.constantFrom('acme', 'beta'),
        from: fc.option(fc.constantFrom(T1, T2, T3), { nil: undefined }),
        now: fc.constantFrom(T1, T2),
      })
      .map(({ from, now, ...ids }): AssignSim => ({
        type: 'assign',
        ...ids,
        now: new Date(now),
        ...(from !== undefined && { from: new Date(from) }),
      }));
    await fc.assert(
      fc.asyncProperty(
        fc.array(command, { minLength: 1, maxLength: 20, size: 'max' }),
        fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 5 }),
        async (commands, sizes) => {
          const projectId = newProject();
          const events = happened(simDecider, commands, ({ simCardId }) =>
            simStream(projectId, simCardId),
          );
          for (const batch of cut(events, sizes)) await tables.apply(batch);
          for (const batch of cut(events, [1])) await oneByOne.apply(batch);

          const order = 'sim_card_id, from_time, position';
          expect(await tables.rows('sim_assignments', projectId, order)).toEqual(
            await oneByOne.rows('sim_assignments', projectId, order),
          );
          for (const time of [T1, T2, T3]) {
            const expected = ['1', '2', '3'].flatMap((id) => {
              const state = events
                .filter(({ stream }) => stream === simStream(projectId, id))
                .reduce(
                  (before, event) => simDecider.evolve(before, domainEvent(event) as SimEvent),
                  simDecider.initialState,
                );
              const holder = assignmentAt(state, time)?.orgId;
              return holder === undefined ? [] : [[id, holder]];
            });
            expect(await heldAt(projectId, time)).toEqual(expected);
          }
        },
      ),
      { numRuns: 30 },
    );
  });
});
