import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  assignmentAt,
  simDecider,
  type AssignSim,
  type SimState,
} from '../../../src/commands/tenancy/sim-decider.ts';
import type { SimEvent } from '../../../src/events/tenancy.ts';
import { domainEvent, recordable } from '../../../src/events/registry.ts';
import { given } from '../core/given-when-then.ts';

const NOON = '2026-01-31T12:00:00.000Z';
const ONE = '2026-01-31T13:00:00.000Z';

const sim = (...events: readonly SimEvent[]) => given(simDecider, events);

function assigned(orgId: string | null, from: string | null): SimEvent {
  return { type: 'SimAssigned', data: { simCardId: '894', orgId, from } };
}

function assign(orgId: string | null, from?: string, now = NOON): AssignSim {
  return {
    type: 'assign',
    simCardId: '894',
    orgId,
    now: new Date(now),
    ...(from !== undefined && { from: new Date(from) }),
  };
}

/** From when the log recorded it, here said to be at this time. */
function recorded(orgId: string | null, from: string): SimEvent {
  const data = { simCardId: '894', orgId, from, isFromRecording: true };
  return { type: 'SimAssigned', data };
}

describe('an assignment without a time', () => {
  test('is from the beginning when it is the first', () => {
    sim().when(assign('acme')).thenEvents(assigned('acme', null));
  });

  test('is from now on when there was another, whenever that is from', () => {
    for (const from of [null, '2020-01-01T00:00:00.000Z', ONE]) {
      sim(assigned('acme', from)).when(assign('beta')).thenEvents(recorded('beta', NOON));
    }
  });

  test('to the organization that holds the SIM now is none', () => {
    sim(assigned('acme', null)).when(assign('acme')).thenNothing();
    sim(assigned('beta', null), assigned('acme', NOON)).when(assign('acme')).thenNothing();
    sim(assigned('acme', null), assigned('beta', ONE)).when(assign('acme')).thenNothing();
  });

  test('to none takes the SIM from whoever holds it, once', () => {
    sim(assigned('acme', null)).when(assign(null)).thenEvents(recorded(null, NOON));
    sim(assigned('acme', null), assigned(null, NOON)).when(assign(null)).thenNothing();
  });

  test('to the organization that held it before, or will, counts', () => {
    sim(assigned('acme', null), assigned('beta', '2020-01-01T00:00:00.000Z'))
      .when(assign('acme'))
      .thenEvents(recorded('acme', NOON));
    sim(assigned('acme', null), assigned('beta', ONE))
      .when(assign('beta'))
      .thenEvents(recorded('beta', NOON));
  });

  test('is from when the log recorded it, whatever the clock of the process said', () => {
    const { data } = domainEvent({
      ...recordable(recorded('beta', ONE), { projectId: 'p', actor: 'a', correlationId: 'c' }),
      recordedAt: new Date(NOON),
    });
    expect(data).toMatchObject({ orgId: 'beta', from: NOON });
  });

  test('comes after one that was recorded before, also where the clock is behind', () => {
    const early = '2026-01-01T00:00:00.000Z';
    const held = sim(assigned('acme', null), recorded('beta', NOON));
    held.when(assign('acme', undefined, early)).thenEvents(recorded('acme', NOON));
    held.when(assign('beta', undefined, early)).thenNothing();
  });
});

describe('an assignment from a time on', () => {
  test('is from then on, also when it is the first', () => {
    sim().when(assign('acme', NOON)).thenEvents(assigned('acme', NOON));
    sim(assigned('acme', null)).when(assign('beta', ONE)).thenEvents(assigned('beta', ONE));
  });

  test('is the same whatever offset its time was given with', () => {
    sim().when(assign('acme', '2026-01-31T14:00:00+02:00')).thenEvents(assigned('acme', NOON));
  });

  test('is recorded once', () => {
    sim(assigned('acme', NOON)).when(assign('acme', NOON)).thenNothing();
    sim(assigned('acme', NOON), assigned('beta', ONE)).when(assign('acme', NOON)).thenNothing();
  });

  test('replaces another from the same time', () => {
    const replaced = [assigned('acme', NOON), assigned('beta', NOON)];
    sim(assigned('acme', NOON)).when(assign('beta', NOON)).thenEvents(assigned('beta', NOON));
    sim(...replaced)
      .when(assign('beta', NOON))
      .thenNothing();
    sim(...replaced)
      .when(assign('acme', NOON))
      .thenEvents(assigned('acme', NOON));
  });

  test('stays a bound for another that comes in between later', () => {
    const { state } = sim(assigned('acme', null)).when(assign('acme', ONE));
    const between = given(simDecider, [assigned('acme', null), assigned('acme', ONE)]);
    expect(state).toEqual(between.state);
    const after = between.when(assign('beta', NOON)).state;
    expect([null, NOON, ONE].map((time) => holderAt(after, time))).toEqual([
      'acme',
      'beta',
      'acme',
    ]);
  });
});

describe('whatever is assigned', () => {
  const times = ['2020-01-01', '2021-06-01', '2022-01-01', '2026-01-31', '2030-01-01'].map((day) =>
    new Date(day).toISOString(),
  );
  const orgId = fc.constantFrom('acme', 'beta', 'constructor');
  const history = fc.array(
    fc.record({
      orgId,
      from: fc.option(fc.constantFrom(...times), { nil: undefined }),
      now: fc.constantFrom('2021-03-01T00:00:00.000Z', NOON, ONE),
    }),
    { maxLength: 12, size: 'max' },
  );
  const moments = [null, ...times, '2021-03-01T00:00:00.000Z', NOON, ONE];

  test('the holder at any time is that of a list that is searched from its beginning', () => {
    fc.assert(
      fc.property(history, (assignments) => {
        const all: { orgId: string; from: number }[] = [];
        const holder = (time: number): string | undefined => {
          let found: (typeof all)[number] | undefined;
          for (const one of all) {
            if (one.from <= time && (found === undefined || one.from >= found.from)) found = one;
          }
          return found?.orgId;
        };
        let state = simDecider.initialState;
        let recordedUpTo = -Infinity;
        for (const { orgId: org, from, now } of assignments) {
          const present = Math.max(Date.parse(now), recordedUpTo);
          const isKnown = from === undefined && holder(present) === org;
          const since = all.length === 0 ? -Infinity : present;
          if (!isKnown) {
            if (from === undefined && since !== -Infinity) recordedUpTo = since;
            all.push({ orgId: org, from: from === undefined ? since : Date.parse(from) });
          }
          state = after(state, assign(org, from, now));
          for (const moment of moments) {
            const time = moment === null ? -Infinity : Date.parse(moment);
            expect(holderAt(state, moment)).toBe(holder(time));
          }
        }
      }),
    );
  });

  const dated = fc.uniqueArray(fc.record({ orgId, from: fc.constantFrom(...times) }), {
    selector: ({ from }) => from,
  });

  test('from times that were given, the order in which they come does not matter', () => {
    const shuffled = dated.chain((rows) =>
      fc.tuple(fc.constant(rows), fc.shuffledSubarray(rows, { minLength: rows.length })),
    );
    fc.assert(
      fc.property(shuffled, ([rows, inAnotherOrder]) => {
        const [one, other] = [rows, inAnotherOrder].map((all) =>
          all.reduce(
            (state, row) => after(state, assign(row.orgId, row.from)),
            simDecider.initialState,
          ),
        );
        expect(other).toEqual(one);
      }),
    );
  });

  test('the same again changes nothing', () => {
    fc.assert(
      fc.property(dated, (rows) => {
        const commands = rows.map((row) => assign(row.orgId, row.from));
        const state = commands.reduce(after, simDecider.initialState);
        for (const command of commands) expect(simDecider.decide(state, command)).toEqual([]);
      }),
    );
  });
});

function after(state: SimState, command: AssignSim): SimState {
  return simDecider
    .decide(state, command)
    .reduce((before, event) => simDecider.evolve(before, event), state);
}

function holderAt(state: SimState, time: string | null): string | null | undefined {
  return assignmentAt(state, time)?.orgId;
}
