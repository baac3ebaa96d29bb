import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  projectDedupDecider,
  sensorDecider,
  type SensorCommand,
} from '../../../src/commands/state/decider.ts';
import type { IncomingPatch } from '../../../src/commands/state/dedup.ts';
import type { DedupStrategy, SensorEvent } from '../../../src/events/state.ts';
import type { JsonObject } from '../../../src/shared/json.ts';
import { anyJsonObject } from '../../shared/any-json.ts';
import { given } from '../core/given-when-then.ts';

const SENSOR = 'hall/3';
const UNCHANGED: DedupStrategy = { strategy: 'unchanged' };
const MESSAGE_ID: DedupStrategy = { strategy: 'message-id' };
const SEQUENCE: DedupStrategy = { strategy: 'sequence' };
const WINDOW: DedupStrategy = { strategy: 'window', seconds: 30 };
const NONE: DedupStrategy = { strategy: 'none' };

type PatchedData = Extract<SensorEvent, { type: 'SensorPatched' }>['data'];

/** A time, in seconds after some noon. */
function at(seconds: number): Date {
  return new Date(Date.UTC(2026, 0, 31, 12) + seconds * 1_000);
}

function patched(patch: JsonObject, extra: Partial<PatchedData> = {}): SensorEvent {
  const data = { sensorId: SENSOR, patch, receivedAt: at(0).toISOString(), ...extra };
  return { type: 'SensorPatched', data };
}

function patchedInWindow(patch: JsonObject, seconds: number, windowSeconds = 30): SensorEvent {
  return patched(patch, { receivedAt: at(seconds).toISOString(), windowSeconds });
}

function dedupSet(strategy: DedupStrategy, memory = 1): SensorEvent {
  return { type: 'SensorDedupSet', data: { sensorId: SENSOR, strategy, memory } };
}

function patch(
  content: JsonObject,
  projectStrategy: DedupStrategy,
  extra: Partial<IncomingPatch> = {},
): SensorCommand {
  const incoming = { patch: content, receivedAt: at(0), ...extra };
  return { type: 'patch', sensorId: SENSOR, incoming, projectStrategy };
}

function setDedup(strategy: DedupStrategy): SensorCommand {
  return { type: 'set-dedup', sensorId: SENSOR, strategy };
}

const sensor = (...events: readonly SensorEvent[]) => given(sensorDecider, events);

describe('a patch', () => {
  test('is recorded as it was sent', () => {
    sensor()
      .when(patch({ a: 1, b: null }, UNCHANGED, { receivedAt: at(7) }))
      .thenEvents(patched({ a: 1, b: null }, { receivedAt: at(7).toISOString() }));
  });

  test('is recorded with the message id and the sequence it came with', () => {
    sensor()
      .when(patch({ a: 1 }, NONE, { messageId: 'm-1', sequence: 5 }))
      .thenEvents(patched({ a: 1 }, { messageId: 'm-1', sequence: 5 }));
  });

  test('merges into what was there', () => {
    const { state } = sensor(patched({ a: { x: 1, y: 2 }, b: 1 })).when(
      patch({ a: { x: null, z: 3 }, b: null }, UNCHANGED),
    );

    expect(state.current).toEqual({ a: { y: 2, z: 3 } });
  });
});

describe('under `unchanged`', () => {
  test('a patch that changes nothing is not recorded', () => {
    sensor(patched({ a: 1, b: { c: [1, { d: 2 }] } }))
      .when(patch({ b: { c: [1, { d: 2 }] } }, UNCHANGED))
      .thenNothing();
  });

  test('a patch that removes what is not there is not recorded', () => {
    sensor(patched({ a: 1 }))
      .when(patch({ b: null, c: null }, UNCHANGED))
      .thenNothing();
  });

  test('a patch that changes one of many members is recorded', () => {
    sensor(patched({ a: 1, b: 2 }))
      .when(patch({ a: 1, b: 3 }, UNCHANGED))
      .thenEvents(patched({ a: 1, b: 3 }));
  });

  test('an earlier state that comes back is recorded: A, B, A are three patches', () => {
    sensor(patched({ a: 'A' }), patched({ a: 'B' }))
      .when(patch({ a: 'A' }, UNCHANGED))
      .thenEvents(patched({ a: 'A' }));
  });

  test.each<JsonObject>([{}, { a: null }])('the first patch is recorded, also %j', (empty) => {
    sensor().when(patch(empty, UNCHANGED)).thenEvents(patched(empty));
    sensor(patched(empty)).when(patch(empty, UNCHANGED)).thenNothing();
  });

  test('message id and sequence make no difference', () => {
    sensor(patched({ a: 1 }, { messageId: 'm-1', sequence: 5 }))
      .when(patch({ a: 1 }, UNCHANGED, { messageId: 'm-2', sequence: 6 }))
      .thenNothing();
    sensor(patched({ a: 1 }, { messageId: 'm-1', sequence: 5 }))
      .when(patch({ a: 2 }, UNCHANGED, { messageId: 'm-1', sequence: 5 }))
      .thenEvents(patched({ a: 2 }, { messageId: 'm-1', sequence: 5 }));
  });

  test('the same command against the state it produced decides nothing', () => {
    fc.assert(
      fc.property(fc.array(anyJsonObject, { maxLength: 5 }), anyJsonObject, (before, content) => {
        const first = sensor(...before.map((past) => patched(past))).when(
          patch(content, UNCHANGED),
        );
        const repeated = JSON.parse(JSON.stringify(content)) as JsonObject;

        expect(sensorDecider.decide(first.state, patch(repeated, UNCHANGED))).toEqual([]);
      }),
      { numRuns: 1_000 },
    );
  });
});

describe('under `sequence`', () => {
  const before = [patched({ a: 1 }, { sequence: 4 }), patched({ a: 2 }, { sequence: 5 })];

  test('a higher number is fresh, also with a gap and the same content', () => {
    sensor(...before)
      .when(patch({ a: 2 }, SEQUENCE, { sequence: 9 }))
      .thenEvents(patched({ a: 2 }, { sequence: 9 }));
  });

  test('the last number is a duplicate, whatever it comes with', () => {
    sensor(...before)
      .when(patch({ a: 3 }, SEQUENCE, { sequence: 5 }))
      .thenNothing();
  });

  test.each([4, 1, 0, -1, 4.5])('%d after 5 is stale', (sequence) => {
    sensor(...before)
      .when(patch({ a: 3 }, SEQUENCE, { sequence }))
      .thenNothing();
  });

  test.each([0, -7])('a first number may be %d', (sequence) => {
    sensor(patched({ a: 1 }))
      .when(patch({ a: 1 }, SEQUENCE, { sequence }))
      .thenEvents(patched({ a: 1 }, { sequence }));
    sensor(patched({ a: 1 }, { sequence }))
      .when(patch({ a: 1 }, SEQUENCE, { sequence }))
      .thenNothing();
  });

  test('a patch without a number is fresh, and the number before it still counts', () => {
    const unnumbered = sensor(...before).when(patch({ a: 2 }, SEQUENCE));
    unnumbered.thenEvents(patched({ a: 2 }));

    sensor(...before, ...unnumbered.events)
      .when(patch({ a: 3 }, SEQUENCE, { sequence: 5 }))
      .thenNothing();
  });

  test('a counter of so many bits continues at 0 after its highest number', () => {
    const wraps: DedupStrategy = { strategy: 'sequence', bits: 16 };
    const verdict = (last: number, sequence: number): number =>
      sensor(patched({ a: 1 }, { sequence: last })).when(patch({ a: 1 }, wraps, { sequence }))
        .events.length;

    expect(verdict(65_535, 0)).toBe(1);
    expect(verdict(65_530, 3)).toBe(1);
    expect(verdict(3, 65_530)).toBe(0);
    expect(verdict(7, 7)).toBe(0);
    expect(verdict(7, 7 + 65_536)).toBe(0);
    expect(verdict(0, 32_767)).toBe(1);
    expect(verdict(0, 32_768)).toBe(0);
    fc.assert(
      fc.property(fc.nat(65_535), fc.integer({ min: 1, max: 32_767 }), (last, ahead) => {
        const next = (last + ahead) % 65_536;
        expect([verdict(last, next), verdict(next, last)]).toEqual([1, 0]);
      }),
    );
  });
});

describe('under `window`', () => {
  test('the same payload within the window is a duplicate', () => {
    sensor(patchedInWindow({ a: 1, b: 2 }, 0))
      .when(patch({ b: 2, a: 1 }, WINDOW, { receivedAt: at(29.999) }))
      .thenNothing();
  });

  test('the window ends after its seconds', () => {
    sensor(patchedInWindow({ a: 1 }, 0))
      .when(patch({ a: 1 }, WINDOW, { receivedAt: at(30) }))
      .thenEvents(patchedInWindow({ a: 1 }, 30));
  });

  test('it is not prolonged by a duplicate', () => {
    const first = patchedInWindow({ a: 1 }, 0);
    const duplicate = sensor(first).when(patch({ a: 1 }, WINDOW, { receivedAt: at(20) }));

    sensor(first, ...duplicate.events)
      .when(patch({ a: 1 }, WINDOW, { receivedAt: at(31) }))
      .thenEvents(patchedInWindow({ a: 1 }, 31));
  });

  test('of A, B, A the last is a duplicate, and the state stays B', () => {
    const { state, events } = sensor(
      patchedInWindow({ a: 'A' }, 0),
      patchedInWindow({ a: 'B' }, 1),
    ).when(patch({ a: 'A' }, WINDOW, { receivedAt: at(2) }));

    expect(events).toEqual([]);
    expect(state.current).toEqual({ a: 'B' });
  });

  test('another payload is fresh, also when it changes nothing', () => {
    sensor(patchedInWindow({ a: 1, b: 2 }, 0))
      .when(patch({ a: 1 }, WINDOW, { receivedAt: at(1) }))
      .thenEvents(patchedInWindow({ a: 1 }, 1));
  });

  test.each<[JsonObject, JsonObject]>([
    [{ a: null }, {}],
    [{ a: 1 }, { a: '1' }],
    [{ a: [1, 2] }, { a: [2, 1] }],
    [{ a: { b: 1 } }, { 'a.b': 1 }],
  ])('%j and %j are not the same payload', (one, other) => {
    sensor(patchedInWindow(one, 0))
      .when(patch(other, WINDOW, { receivedAt: at(1) }))
      .thenEvents(patchedInWindow(other, 1));
  });

  test('a patch that was received late, before the last one, is still compared', () => {
    sensor(patchedInWindow({ a: 1 }, 10))
      .when(patch({ a: 1 }, WINDOW, { receivedAt: at(5) }))
      .thenNothing();
  });

  test('a patch taken under another strategy is not in the window', () => {
    sensor(patched({ a: 1 }))
      .when(patch({ a: 1 }, WINDOW, { receivedAt: at(1) }))
      .thenEvents(patchedInWindow({ a: 1 }, 1));
  });

  test('what is remembered is bounded by the window, not by the number of patches', () => {
    const everySecond = Array.from({ length: 500 }, (_, second) =>
      patchedInWindow({ second }, second),
    );

    expect(sensor(...everySecond).state.recent).toHaveLength(30);
    expect(sensor(...everySecond, patched({ a: 1 })).state.recent).toEqual([]);
  });

  test('of a long window, the newest patches are remembered', () => {
    const many = Array.from({ length: 1_100 }, (_, count) => patchedInWindow({ count }, 0, 3_600));
    const { recent } = sensor(...many).state;

    expect(recent).toHaveLength(1_024);
    expect(recent).toEqual(sensor(...many.slice(-1_024)).state.recent);
  });
});

describe('under `none` and `message-id`', () => {
  test.each([NONE, MESSAGE_ID])('%j takes the same patch again', (strategy) => {
    sensor(patched({ a: 1 }, { messageId: 'm-1', sequence: 5 }))
      .when(patch({ a: 1 }, strategy, { messageId: 'm-1', sequence: 5 }))
      .thenEvents(patched({ a: 1 }, { messageId: 'm-1', sequence: 5 }));
  });
});

describe('the strategy of a sensor', () => {
  test('counts instead of that of its project', () => {
    sensor(patched({ a: 1 }), dedupSet(NONE))
      .when(patch({ a: 1 }, UNCHANGED))
      .thenEvents(patched({ a: 1 }));
    sensor(patched({ a: 1 }), dedupSet(UNCHANGED))
      .when(patch({ a: 1 }, NONE))
      .thenNothing();
  });

  test('brings its own window', () => {
    sensor(dedupSet({ strategy: 'window', seconds: 5 }))
      .when(patch({ a: 1 }, WINDOW))
      .thenEvents(patchedInWindow({ a: 1 }, 0, 5));
    sensor(dedupSet({ strategy: 'window', seconds: 5 }), patchedInWindow({ a: 1 }, 0, 5))
      .when(patch({ a: 1 }, WINDOW, { receivedAt: at(6) }))
      .thenEvents(patchedInWindow({ a: 1 }, 6, 5));
  });

  test('may be set before the first patch, which is then fresh', () => {
    sensor(dedupSet(UNCHANGED)).when(patch({}, NONE)).thenEvents(patched({}));
  });

  test('may change', () => {
    sensor(dedupSet(NONE)).when(setDedup(WINDOW)).thenEvents(dedupSet(WINDOW, 2));
    sensor(dedupSet({ strategy: 'window', seconds: 5 }))
      .when(setDedup(WINDOW))
      .thenEvents(dedupSet(WINDOW, 2));
  });

  test('the same again is recorded when there is something to forget', () => {
    sensor(dedupSet(WINDOW)).when(setDedup(WINDOW)).thenNothing();
    sensor(dedupSet(WINDOW), patched({ a: 1 }))
      .when(setDedup(WINDOW))
      .thenEvents(dedupSet(WINDOW, 2));
  });

  test('changes nothing of the state, and forgets what was remembered', () => {
    const { state } = sensor(patched({ a: 1 }, { sequence: 5 })).when(setDedup(SEQUENCE));

    expect(state).toMatchObject({ current: { a: 1 }, strategy: SEQUENCE });
    expect(state.lastSequence).toBeUndefined();
    sensor(dedupSet(SEQUENCE), patched({ a: 1 }, { sequence: 5 }), dedupSet(SEQUENCE, 2))
      .when(patch({ a: 2 }, NONE, { sequence: 1 }))
      .thenEvents(patched({ a: 2 }, { sequence: 1 }));
    sensor(dedupSet(WINDOW), patchedInWindow({ a: 1 }, 0), dedupSet(WINDOW, 2))
      .when(patch({ a: 1 }, NONE, { receivedAt: at(1) }))
      .thenEvents(patchedInWindow({ a: 1 }, 1));
  });
});

describe('the strategy of a project', () => {
  const set = (strategy: DedupStrategy, memory = 1) =>
    ({ type: 'ProjectDedupSet', data: { strategy, memory } }) as const;
  const judged = (sequence: number, projectMemory: number): SensorCommand => ({
    ...(patch({ a: 2 }, SEQUENCE, { sequence }) as Extract<SensorCommand, { type: 'patch' }>),
    projectMemory,
  });

  test('is recorded each time that it is set, since it forgets', () => {
    given(projectDedupDecider, []).when({ strategy: UNCHANGED }).thenEvents(set(UNCHANGED));
    given(projectDedupDecider, [set(WINDOW)])
      .when({ strategy: WINDOW })
      .thenEvents(set(WINDOW, 2));
  });

  test('that is set anew forgets what sensors without their own remember', () => {
    const before = [patched({ a: 1 }, { sequence: 5, memory: 1 })];
    sensor(...before)
      .when(judged(1, 1))
      .thenNothing();
    sensor(...before)
      .when(judged(1, 2))
      .thenEvents(patched({ a: 2 }, { sequence: 1, memory: 2 }));
    sensor(...before, patched({ a: 2 }, { sequence: 1, memory: 2 }))
      .when(judged(1, 2))
      .thenNothing();
    sensor(dedupSet(SEQUENCE), patched({ a: 1 }, { sequence: 5 }))
      .when(judged(1, 2))
      .thenNothing();
  });
});

describe('a state has a bound', () => {
  const BOUND = 256 * 1024;
  /** A state of exactly so many characters. */
  const stateOf = (size: number): JsonObject => ({ a: 'x'.repeat(size - '{"a":""}'.length) });
  const filled = (key: string): JsonObject => ({ [key]: 'x'.repeat(60_000) });

  test('it may be reached and not passed', () => {
    expect(JSON.stringify(stateOf(BOUND))).toHaveLength(BOUND);
    sensor()
      .when(patch(stateOf(BOUND), NONE))
      .thenEvents(patched(stateOf(BOUND)));
    sensor()
      .when(patch(stateOf(BOUND + 1), NONE))
      .thenRefused('state-too-large');
  });

  test('a patch that would pass it is refused, and the next one is judged without it', () => {
    const before = ['a', 'b', 'c', 'd'].map((key) => patched(filled(key)));

    sensor(...before)
      .when(patch(filled('e'), NONE))
      .thenRefused('state-too-large');
    sensor(...before)
      .when(patch({ e: 1 }, NONE))
      .thenEvents(patched({ e: 1 }));
  });

  test('what is removed makes room', () => {
    const before = ['a', 'b', 'c', 'd'].map((key) => patched(filled(key)));

    sensor(...before, patched({ a: null }))
      .when(patch(filled('e'), NONE))
      .thenEvents(patched(filled('e')));
    sensor(...before)
      .when(patch({ ...filled('e'), a: null }, NONE))
      .thenEvents(patched({ ...filled('e'), a: null }));
  });

  test('it is a bound of the state, not of all that was ever sent', () => {
    const many = Array.from({ length: 50 }, (_, count) =>
      patched({ a: `${count}`.repeat(10_000) }),
    );

    sensor(...many)
      .when(patch({ a: 'x' }, NONE))
      .thenEvents(patched({ a: 'x' }));
  });

  test('what a small state is counted as stays small, however often it was patched', () => {
    const many = Array.from({ length: 1_000 }, (_, count) => patched({ a: `${count}`.repeat(20) }));

    expect(sensor(...many).state.sizeBound).toBeLessThan(5_000);
  });

  test('a duplicate is a duplicate, however large the state', () => {
    sensor(patched(stateOf(BOUND)))
      .when(patch(stateOf(BOUND), UNCHANGED))
      .thenNothing();
  });
});

describe('the folded state', () => {
  test('decides the same after it was kept as JSON', () => {
    const strategy = fc.constantFrom(UNCHANGED, SEQUENCE, WINDOW, NONE);
    const content = fc.constantFrom<JsonObject>({}, { a: 1 }, { a: 2 }, { a: null, b: 1 });
    const step = fc.record({
      content,
      strategy,
      second: fc.nat(60),
      sequence: fc.option(fc.nat(5), { nil: undefined }),
      own: fc.option(strategy, { nil: undefined }),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 8 }), (steps) => {
        let state = sensorDecider.initialState;
        for (const { content: sent, strategy: ofProject, second, sequence, own } of steps) {
          const kept = JSON.parse(JSON.stringify(state)) as typeof state;
          const command =
            own === undefined
              ? patch(sent, ofProject, {
                  receivedAt: at(second),
                  ...(sequence !== undefined && { sequence }),
                })
              : setDedup(own);
          const decided = sensorDecider.decide(state, command);
          expect(sensorDecider.decide(kept, command)).toEqual(decided);
          for (const event of decided) state = sensorDecider.evolve(state, event);
        }
      }),
      { numRuns: 1_000 },
    );
  });
});
