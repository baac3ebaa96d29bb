import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  batchDecider,
  isDone,
  type AttemptOutcome,
  type BatchCommand,
  type BatchState,
  type OpenDevEui,
} from '../../../src/commands/deveui/decider.ts';
import { drawDevEui } from '../../../src/commands/deveui/drawing.ts';
import type { BatchEvent } from '../../../src/events/deveui.ts';
import { anyBatchHistory, MAX_REFUSALS, play } from './batch-histories.ts';
import { given } from '../core/given-when-then.ts';

const NOON = '2026-01-31T12:00:00.000Z';
const LATER = '2026-01-31T12:00:05.000Z';
const SEED = '5eed'.repeat(16);
const MAX_FAILURES = 3;
const MAX_CONFLICTS = 4;
const REFUSAL = 'the provider answered 422: taken';

const requestedOf = (size: number, more: { prefix?: string; concurrency?: number } = {}) => ({
  batchId: 'b1',
  size,
  prefix: '',
  seed: SEED,
  provider: 'http://one',
  concurrency: 10,
  requestedAt: NOON,
  ...more,
});
const requested = (...of: Parameters<typeof requestedOf>): BatchEvent => ({
  type: 'BatchRequested',
  data: requestedOf(...of),
});

/** The DevEUI at a place of the drawing. */
const devEui = (place: number, prefix = ''): string => drawDevEui(SEED, prefix, place);

const drawn = (place: number, prefix = ''): BatchEvent => ({
  type: 'DevEuiAttempted',
  data: {
    batchId: 'b1',
    devEui: devEui(place, prefix),
    candidate: place,
    attempt: 1,
    sentAt: NOON,
  },
});
const askedAgain = (place: number, attempt: number): BatchEvent => ({
  type: 'DevEuiAttempted',
  data: { batchId: 'b1', devEui: devEui(place), candidate: null, attempt, sentAt: NOON },
});
const answered = (
  type: 'DevEuiRegistered' | 'DevEuiConflicted' | 'DevEuiUnconfirmed',
  place: number,
  attempt = 1,
  prefix = '',
): BatchEvent => ({
  type,
  data: {
    batchId: 'b1',
    devEui: devEui(place, prefix),
    attempt,
    ...(type === 'DevEuiRegistered'
      ? { providerStatus: 200 }
      : { providerStatus: 422, reason: REFUSAL }),
    endedAt: LATER,
  },
});
const failed = (
  place: number,
  attempt: number,
  failures: number,
  more: { mayBeRegistered?: boolean; reason?: string; providerStatus?: number | null } = {},
): BatchEvent => ({
  type: 'DevEuiAttemptFailed',
  data: {
    batchId: 'b1',
    devEui: devEui(place),
    attempt,
    providerStatus: 503,
    reason: 'answered 503',
    mayBeRegistered: true,
    failures,
    endedAt: LATER,
    ...more,
  },
});
const stopped: BatchEvent = { type: 'BatchStopped', data: { batchId: 'b1' } };
const completed: BatchEvent = { type: 'BatchCompleted', data: { batchId: 'b1' } };
const hidden: BatchEvent = { type: 'BatchHidden', data: { batchId: 'b1' } };
const batchFailed = (reason: string): BatchEvent => ({
  type: 'BatchFailed',
  data: { batchId: 'b1', reason },
});
const resumed = (provider: string, concurrency = 10): BatchEvent => ({
  type: 'BatchResumed',
  data: { batchId: 'b1', provider, concurrency },
});

const REGISTERED: AttemptOutcome = { kind: 'registered', providerStatus: 200 };
const IN_USE: AttemptOutcome = { kind: 'in-use', providerStatus: 422, reason: REFUSAL };
const FAILED: AttemptOutcome = {
  kind: 'failed',
  providerStatus: 503,
  reason: 'answered 503',
  mayBeRegistered: true,
};
const NEVER_SENT: AttemptOutcome = {
  kind: 'failed',
  providerStatus: null,
  reason: 'connection refused',
  mayBeRegistered: false,
};

const begin: BatchCommand = { type: 'begin', sentAt: NOON };
const retry = (place: number): BatchCommand => ({
  type: 'retry',
  devEui: devEui(place),
  sentAt: NOON,
});
const settle = (
  place: number,
  outcome: AttemptOutcome,
  { attempt = 1, prefix = '' }: { attempt?: number; prefix?: string } = {},
): BatchCommand => ({
  type: 'settle',
  devEui: devEui(place, prefix),
  attempt,
  outcome,
  endedAt: LATER,
  maxFailures: MAX_FAILURES,
  maxConflicts: MAX_CONFLICTS,
});
const interrupt: BatchCommand = { type: 'interrupt', endedAt: LATER };
const stop: BatchCommand = { type: 'stop' };
const hide: BatchCommand = { type: 'hide', endedAt: LATER };
const resume = (provider = 'http://one', concurrency?: number): BatchCommand => ({
  type: 'resume',
  provider,
  resumedAt: LATER,
  ...(concurrency !== undefined && { concurrency }),
});

const batch = (...events: readonly BatchEvent[]) => given(batchDecider, events);

function openOf(state: BatchState): readonly OpenDevEui[] {
  if (state.status === 'missing') throw new Error('there is no batch');
  return state.open;
}

describe('a batch', () => {
  test('is requested once', () => {
    const request: BatchCommand = { type: 'request', ...requestedOf(3) };
    batch().when(request).thenEvents(requested(3));
    batch(requested(3)).when(request).thenNothing();
  });

  test.each<BatchCommand>([
    begin,
    retry(0),
    settle(0, REGISTERED),
    interrupt,
    stop,
    hide,
    resume(),
  ])('that was never requested takes no command: $type', (command) => {
    batch().when(command).thenRefused('not-found');
  });

  test('draws its DevEUIs in turn, each with the intent to ask for it', () => {
    batch(requested(3)).when(begin).thenEvents(drawn(0));
    batch(requested(3), drawn(0)).when(begin).thenEvents(drawn(1));
    batch(requested(3), drawn(0), answered('DevEuiConflicted', 0)).when(begin).thenEvents(drawn(1));
  });

  test('draws no more than are still wanted, however the open ones end', () => {
    batch(requested(2), drawn(0), drawn(1)).when(begin).thenNothing();
    batch(requested(2), drawn(0), answered('DevEuiRegistered', 0), drawn(1))
      .when(begin)
      .thenNothing();
    batch(requested(2), drawn(0), drawn(1), answered('DevEuiConflicted', 1))
      .when(begin)
      .thenEvents(drawn(2));
    batch(requested(2), drawn(0), drawn(1), failed(1, 1, 1))
      .when(begin)
      .thenNothing();
  });

  test('has no more open than its concurrency, those that wait counted', () => {
    const before = [requested(9, { concurrency: 2 }), drawn(0), drawn(1)];
    batch(...before)
      .when(begin)
      .thenNothing();
    batch(...before, failed(0, 1, 1))
      .when(begin)
      .thenNothing();
    batch(...before, answered('DevEuiRegistered', 0))
      .when(begin)
      .thenEvents(drawn(2));
  });

  test('is completed by the last DevEUI that is registered', () => {
    batch(requested(2), drawn(0), drawn(1), answered('DevEuiRegistered', 1))
      .when(settle(0, REGISTERED))
      .thenEvents(answered('DevEuiRegistered', 0), completed);
  });

  test('is completed also when it was stopped, or had failed, with the last one in flight', () => {
    for (const end of [stopped, batchFailed('answered 503')]) {
      batch(requested(1), drawn(0), end)
        .when(settle(0, REGISTERED))
        .thenEvents(answered('DevEuiRegistered', 0), completed);
    }
  });

  test('does not fail for want of DevEUIs while one that is open may be registered', () => {
    const prefix = 'FFA45722AA73824';
    const before = [
      requested(16, { prefix }),
      ...Array.from({ length: 16 }, (_, place) => drawn(place, prefix)),
      ...Array.from({ length: 15 }, (_, place) => answered('DevEuiConflicted', place, 1, prefix)),
    ];
    batch(...before)
      .when(begin)
      .thenNothing();
  });

  test('fails when its prefix leaves no DevEUI that was not tried', () => {
    const prefix = 'FFA45722AA73824';
    const before = [
      requested(16, { prefix }),
      ...Array.from({ length: 16 }, (_, place) => drawn(place, prefix)),
    ].concat(
      Array.from({ length: 16 }, (_, place) =>
        answered(place === 7 ? 'DevEuiConflicted' : 'DevEuiRegistered', place, 1, prefix),
      ),
    );
    const reason = 'all 16 DevEUIs that the prefix leaves have been tried';
    batch(...before)
      .when(begin)
      .thenEvents(batchFailed(reason));
    batch(...before, batchFailed(reason))
      .when(begin)
      .thenNothing();
  });
});

describe('an answer', () => {
  test('of 200 registers the DevEUI, and one of 422 is a conflict', () => {
    const before = [requested(3), drawn(0)];
    batch(...before)
      .when(settle(0, REGISTERED))
      .thenEvents(answered('DevEuiRegistered', 0));
    batch(...before)
      .when(settle(0, IN_USE))
      .thenEvents(answered('DevEuiConflicted', 0));
  });

  test.each([REGISTERED, IN_USE, FAILED])('counts once: $kind', (outcome) => {
    const command = settle(0, outcome);
    const once = batch(requested(3), drawn(0)).when(command);
    batch(requested(3), drawn(0), ...once.events)
      .when(command)
      .thenNothing();
    batch(requested(3), drawn(0), ...once.events)
      .when(settle(0, outcome, { attempt: 2 }))
      .thenNothing();
  });

  test('of a DevEUI that was never drawn is nothing', () => {
    batch(requested(3), drawn(0)).when(settle(7, REGISTERED)).thenNothing();
  });

  test('of 422 after an unknown outcome is unconfirmed, and not counted towards the size', () => {
    const before = [requested(1), drawn(0), failed(0, 1, 1), askedAgain(0, 2)];
    const outcome = batch(...before).when(settle(0, IN_USE, { attempt: 2 }));
    outcome.thenEvents(answered('DevEuiUnconfirmed', 0, 2));
    expect(outcome.state).toMatchObject({ status: 'processing', registered: 0, open: [] });

    batch(...before, ...outcome.events)
      .when(begin)
      .thenEvents(drawn(1));
  });

  test('of 422 after a request that cannot have arrived is a conflict', () => {
    const unsent = { mayBeRegistered: false, providerStatus: null, reason: 'connection refused' };
    batch(requested(1), drawn(0), failed(0, 1, 1, unsent), askedAgain(0, 2))
      .when(settle(0, IN_USE, { attempt: 2 }))
      .thenEvents(answered('DevEuiConflicted', 0, 2));
  });

  test('of 422 is unconfirmed also when the unknown outcome was not the last', () => {
    const unsent = { mayBeRegistered: false, providerStatus: null, reason: 'connection refused' };
    const before = [requested(1), drawn(0), failed(0, 1, 1), askedAgain(0, 2)];
    batch(...before, failed(0, 2, 2, unsent), askedAgain(0, 3))
      .when(settle(0, IN_USE, { attempt: 3 }))
      .thenEvents(answered('DevEuiUnconfirmed', 0, 3));
  });

  test('of 422 to one of two requests is unconfirmed: the other may have registered it', () => {
    const unsent = { mayBeRegistered: false, providerStatus: null, reason: 'connection refused' };
    batch(requested(1), drawn(0), failed(0, 1, 1, unsent), askedAgain(0, 2))
      .when(settle(0, IN_USE, { attempt: 1 }))
      .thenEvents(answered('DevEuiUnconfirmed', 0, 1));
  });

  test('of 200 that comes late, to the one before the last request, registers it', () => {
    const before = [requested(2), drawn(0), failed(0, 1, 1), askedAgain(0, 2)];
    const late = batch(...before).when(settle(0, REGISTERED, { attempt: 1 }));
    late.thenEvents(answered('DevEuiRegistered', 0, 1));

    batch(...before, ...late.events)
      .when(settle(0, REGISTERED, { attempt: 2 }))
      .thenNothing();
  });

  test('may be recorded together with the intent that follows it', () => {
    batch(requested(3), drawn(0))
      .when({ ...settle(0, IN_USE), nextSentAt: NOON } as BatchCommand)
      .thenEvents(answered('DevEuiConflicted', 0), drawn(1));
    batch(requested(1), drawn(0))
      .when({ ...settle(0, REGISTERED), nextSentAt: NOON } as BatchCommand)
      .thenEvents(answered('DevEuiRegistered', 0), completed);
    batch(requested(3), drawn(0), stopped)
      .when({ ...settle(0, IN_USE), nextSentAt: NOON } as BatchCommand)
      .thenEvents(answered('DevEuiConflicted', 0));
  });
});

describe('a request without an answer', () => {
  test('leaves the DevEUI open, and is followed by another for the same', () => {
    const outcome = batch(requested(3), drawn(0)).when(settle(0, FAILED));
    outcome.thenEvents(failed(0, 1, 1));
    expect(openOf(outcome.state)).toMatchObject([{ devEui: devEui(0), phase: 'waiting' }]);

    batch(requested(3), drawn(0), ...outcome.events)
      .when(retry(0))
      .thenEvents(askedAgain(0, 2));
  });

  test('is followed by one request at a time', () => {
    batch(requested(3), drawn(0)).when(retry(0)).thenNothing();
    batch(requested(3), drawn(0), failed(0, 1, 1), askedAgain(0, 2))
      .when(retry(0))
      .thenNothing();
    batch(requested(3)).when(retry(0)).thenNothing();
  });

  test('says nothing when another for the same DevEUI is under way', () => {
    batch(requested(3), drawn(0), failed(0, 1, 1), askedAgain(0, 2))
      .when(settle(0, FAILED, { attempt: 1 }))
      .thenNothing();
  });

  test('that cannot have arrived says so', () => {
    batch(requested(3), drawn(0))
      .when(settle(0, NEVER_SENT))
      .thenEvents(
        failed(0, 1, 1, {
          mayBeRegistered: false,
          providerStatus: null,
          reason: 'connection refused',
        }),
      );
  });

  test('ends the batch when it is one too many in a row, with the reason', () => {
    const before = [
      requested(3),
      drawn(0),
      failed(0, 1, 1),
      askedAgain(0, 2),
      failed(0, 2, 2),
      askedAgain(0, 3),
    ];
    const outcome = batch(...before).when(settle(0, FAILED, { attempt: 3 }));
    outcome.thenEvents(failed(0, 3, 3), batchFailed('answered 503'));

    const after = [...before, ...outcome.events];
    batch(...after)
      .when(begin)
      .thenNothing();
    batch(...after)
      .when(retry(0))
      .thenNothing();
  });

  test('is not in a row with others when the provider answers in between', () => {
    const before = [requested(3), drawn(0), drawn(1), failed(0, 1, 1), askedAgain(0, 2)];
    batch(...before, failed(0, 2, 2), answered('DevEuiConflicted', 1), askedAgain(0, 3))
      .when(settle(0, FAILED, { attempt: 3 }))
      .thenEvents(failed(0, 3, 1));
  });

  test('ends the batch also when others are answered, after so many for one DevEUI', () => {
    const before = [requested(9), drawn(0), drawn(1)];
    for (let attempt = 1; attempt < 100; attempt += 1) {
      before.push(failed(0, attempt, 1), askedAgain(0, attempt + 1));
      before.push(answered('DevEuiConflicted', attempt), drawn(attempt + 1));
    }
    batch(...before)
      .when(settle(0, FAILED, { attempt: 100 }))
      .thenEvents(failed(0, 100, 1), batchFailed('answered 503'));
  });

  test('of a batch that is stopped already does not make it fail', () => {
    batch(requested(3), drawn(0), failed(0, 1, 2), askedAgain(0, 2), stopped)
      .when(settle(0, FAILED, { attempt: 2 }))
      .thenEvents(failed(0, 2, 3));
  });
});

describe('an interruption', () => {
  const interrupted = (place: number, attempt: number, failures = 0): BatchEvent =>
    failed(place, attempt, failures, {
      providerStatus: null,
      reason: 'interrupted: whoever sent it did not see the answer',
    });

  test('ends what is in flight, and nothing else', () => {
    batch(requested(9), drawn(0), drawn(1), drawn(2), failed(1, 1, 1))
      .when(interrupt)
      .thenEvents(interrupted(0, 1), interrupted(2, 1));
  });

  test('happens once', () => {
    const before = [requested(9), drawn(0)];
    const { events } = batch(...before).when(interrupt);
    batch(...before, ...events)
      .when(interrupt)
      .thenNothing();
  });

  test('is no failure of the provider', () => {
    const before = [requested(9), drawn(0), failed(0, 1, 2), askedAgain(0, 2)];
    batch(...before)
      .when(interrupt)
      .thenEvents(interrupted(0, 2, 2));
  });

  test('makes a later 422 unconfirmed: the request may have arrived', () => {
    batch(requested(9), drawn(0), interrupted(0, 1), askedAgain(0, 2))
      .when(settle(0, IN_USE, { attempt: 2 }))
      .thenEvents(answered('DevEuiUnconfirmed', 0, 2));
  });
});

describe('a provider that refuses every DevEUI', () => {
  const conflicted = (place: number): BatchEvent => answered('DevEuiConflicted', place);
  const refused = [
    requested(9),
    ...[0, 1, 2].flatMap((place) => [drawn(place), conflicted(place)]),
    drawn(3),
  ];
  const failedBy = batchFailed(
    `4 DevEUIs in a row were refused and none was registered: ${REFUSAL}`,
  );

  test('fails the batch, with what it said', () => {
    batch(...refused)
      .when({ ...settle(3, IN_USE), nextSentAt: NOON } as BatchCommand)
      .thenEvents(conflicted(3), failedBy);
  });

  test('fails it also when what it refuses may be ours', () => {
    batch(...refused, failed(3, 1, 1), askedAgain(3, 2))
      .when(settle(3, IN_USE, { attempt: 2 }))
      .thenEvents(answered('DevEuiUnconfirmed', 3, 2), failedBy);
  });

  test('is counted from the last DevEUI that it registered', () => {
    batch(...refused, drawn(4), answered('DevEuiRegistered', 4))
      .when(settle(3, IN_USE))
      .thenEvents(conflicted(3));
  });

  test('is counted from anew when the batch is resumed', () => {
    batch(...refused, conflicted(3), failedBy, resumed('http://one'), drawn(4))
      .when(settle(4, IN_USE))
      .thenEvents(conflicted(4));
  });

  test('fails no batch that is stopped: what was in flight is recorded', () => {
    batch(...refused, stopped)
      .when(settle(3, IN_USE))
      .thenEvents(conflicted(3));
  });
});

describe('a stop', () => {
  test('ends a batch that is processing, once', () => {
    batch(requested(3)).when(stop).thenEvents(stopped);
    batch(requested(3), stopped).when(stop).thenNothing();
  });

  test.each([completed, batchFailed('answered 503')])('of one that is over: $type', (end) => {
    batch(requested(3), end).when(stop).thenNothing();
  });

  test('sends nothing new, and what is in flight is recorded', () => {
    const before = [requested(3), drawn(0), drawn(1), failed(1, 1, 1), stopped];
    batch(...before)
      .when(begin)
      .thenNothing();
    batch(...before)
      .when(retry(1))
      .thenNothing();
    batch(...before)
      .when(settle(0, REGISTERED))
      .thenEvents(answered('DevEuiRegistered', 0));
  });

  test('is done when nothing is in flight any more', () => {
    const before = [requested(3), drawn(0), drawn(1), failed(1, 1, 1)];
    expect(isDone(batch(...before).state)).toBe(false);
    expect(isDone(batch(...before, stopped).state)).toBe(false);
    expect(isDone(batch(...before, stopped, failed(0, 1, 1)).state)).toBe(true);
    expect(isDone(batchDecider.initialState)).toBe(false);
  });
});

describe('a resumption', () => {
  test.each([stopped, batchFailed('answered 503')])('follows $type', (end) => {
    const before = [requested(3), drawn(0), failed(0, 1, MAX_FAILURES), end];
    batch(...before)
      .when(resume())
      .thenEvents(resumed('http://one'));
    batch(...before, resumed('http://one'))
      .when(resume())
      .thenNothing();
  });

  test('continues where the batch was: the same DevEUI again, then the next ones', () => {
    const before = [requested(3), drawn(0), failed(0, 1, 1), stopped, resumed('http://one')];
    batch(...before)
      .when(retry(0))
      .thenEvents(askedAgain(0, 2));
    batch(...before)
      .when(begin)
      .thenEvents(drawn(1));
  });

  test('forgets the failures of then', () => {
    const before = [requested(3), drawn(0), failed(0, 1, MAX_FAILURES), batchFailed('503')];
    batch(...before, resumed('http://one'), askedAgain(0, 2))
      .when(settle(0, FAILED, { attempt: 2 }))
      .thenEvents(failed(0, 2, 1));
  });

  test('may name another provider, also while the batch is processing, and a concurrency', () => {
    batch(requested(3)).when(resume('http://two')).thenEvents(resumed('http://two'));
    batch(requested(3), stopped).when(resume('http://two', 2)).thenEvents(resumed('http://two', 2));
    batch(requested(9, { concurrency: 3 }), stopped)
      .when(resume())
      .thenEvents(resumed('http://one', 3));
  });

  test('of a batch that is complete is nothing', () => {
    batch(requested(1), drawn(0), answered('DevEuiRegistered', 0), completed)
      .when(resume('http://two'))
      .thenNothing();
  });
});

describe('a batch that is hidden', () => {
  test('is one that is done', () => {
    batch(requested(3), stopped).when(hide).thenEvents(hidden);
    batch(requested(3)).when(hide).thenNothing();
    batch(requested(3), drawn(0), stopped).when(hide).thenNothing();
  });

  test.each([stop, hide])('takes no command: $type', (command) => {
    batch(requested(3), stopped, hidden).when(command).thenRefused('not-found');
  });

  test('is shown again when it is resumed, unless it was whole', () => {
    batch(requested(3), stopped, hidden).when(resume()).thenEvents(resumed('http://one'));
    batch(requested(1), drawn(0), answered('DevEuiRegistered', 0), completed, hidden)
      .when(resume())
      .thenRefused('not-found');
  });

  test('sends nothing, and still records what comes late', () => {
    const before = [requested(1), drawn(0), failed(0, 1, 1), stopped, hidden];
    batch(...before)
      .when(begin)
      .thenNothing();
    batch(...before)
      .when(retry(0))
      .thenNothing();
    batch(...before)
      .when(settle(0, REGISTERED))
      .thenEvents(answered('DevEuiRegistered', 0));
  });
});

describe('whatever is asked, in whatever order', () => {
  test('registered and open together are never more than the size', () => {
    fc.assert(
      fc.property(anyBatchHistory, (history) => {
        for (const { after } of play('b1', history)) {
          if (after.status === 'missing') continue;
          expect(after.registered + after.open.length).toBeLessThanOrEqual(history.size);
          expect(after.open.length).toBeLessThanOrEqual(history.concurrency);
        }
      }),
      { numRuns: 1_000 },
    );
  });

  test('each DevEUI is drawn once, asked for once at a time and answered once', () => {
    fc.assert(
      fc.property(anyBatchHistory, (history) => {
        const attempts = new Map<string, number>();
        const ended = new Set<string>();
        for (const { type, data } of [...play('b1', history)].flatMap(({ events }) => events)) {
          if (type === 'DevEuiAttempted') {
            expect(data.attempt).toBe((attempts.get(data.devEui) ?? 0) + 1);
            expect(data.candidate === null).toBe(data.attempt > 1);
            expect(ended).not.toContain(data.devEui);
            attempts.set(data.devEui, data.attempt);
          } else if (/^DevEui(Registered|Conflicted|Unconfirmed)$/.test(type)) {
            const { devEui } = data as { devEui: string };
            expect(attempts.has(devEui)).toBe(true);
            expect(ended).not.toContain(devEui);
            ended.add(devEui);
          }
        }
      }),
      { numRuns: 1_000 },
    );
  });

  test('no more than the limit of DevEUIs are refused in a row while it is processing', () => {
    fc.assert(
      fc.property(anyBatchHistory, (history) => {
        let refused = 0;
        for (const { command, events, after } of play('b1', history)) {
          if (events.some(({ type }) => type === 'BatchResumed')) refused = 0;
          if (events.some(({ type }) => type === 'DevEuiRegistered')) refused = 0;
          const isRefused = events.some(({ type }) => /Conflicted|Unconfirmed/.test(type));
          if (isRefused && command.type === 'settle') refused += 1;
          if (after.status === 'processing') expect(refused).toBeLessThan(MAX_REFUSALS);
        }
      }),
      { numRuns: 1_000 },
    );
  });

  test('it is completed when as many are registered as were wanted, and only then', () => {
    fc.assert(
      fc.property(anyBatchHistory, (history) => {
        let isCompleted = false;
        for (const { events, after } of play('b1', history)) {
          isCompleted ||= events.some(({ type }) => type === 'BatchCompleted');
          if (after.status === 'missing' || after.status === 'hidden') continue;
          expect(after.status === 'completed').toBe(isCompleted);
          expect(isCompleted).toBe(after.registered === history.size);
        }
      }),
      { numRuns: 1_000 },
    );
  });

  test('an answer that is given twice changes nothing the second time', () => {
    fc.assert(
      fc.property(anyBatchHistory, (history) => {
        for (const { command, after } of play('b1', history)) {
          if (command.type !== 'settle') continue;
          const { nextSentAt: _nextSentAt, ...again } = command;
          expect(batchDecider.decide(after, again)).toEqual([]);
        }
      }),
      { numRuns: 1_000 },
    );
  });

  test('the state decides the same after it was kept as JSON', () => {
    fc.assert(
      fc.property(anyBatchHistory, (history) => {
        for (const { command, before, events } of play('b1', history)) {
          if (events.length === 0) continue;
          const kept = JSON.parse(JSON.stringify(before)) as BatchState;
          expect(batchDecider.decide(kept, command)).toEqual(events);
        }
      }),
      { numRuns: 300 },
    );
  });
});

describe('what may have been registered, and nobody asks for again', () => {
  const open = [requested(9), drawn(0), drawn(1), failed(1, 1, 1), drawn(2)];
  const notKnown = (place: number): BatchEvent => ({
    type: 'DevEuiUnconfirmed',
    data: {
      batchId: 'b1',
      devEui: devEui(place),
      attempt: 1,
      providerStatus: null,
      endedAt: LATER,
    },
  });

  test('is unconfirmed when the batch continues with another provider', () => {
    const outcome = batch(...open, stopped).when(resume('http://two'));
    outcome.thenEvents(notKnown(0), notKnown(1), notKnown(2), resumed('http://two'));
    expect(openOf(outcome.state)).toEqual([]);
  });

  test('stays open when it continues with the same one', () => {
    batch(...open, stopped)
      .when(resume('http://one'))
      .thenEvents(resumed('http://one'));
  });

  test('is unconfirmed when the batch is hidden', () => {
    const before = [requested(9), drawn(0), failed(0, 1, 1), stopped];
    batch(...before)
      .when(hide)
      .thenEvents(notKnown(0), { type: 'BatchHidden', data: { batchId: 'b1' } });
  });

  test('is not what was never sent: that is asked for again, of whomever', () => {
    const notSent = batch(requested(9), drawn(0)).when(settle(0, { kind: 'not-sent' }));
    expect(openOf(notSent.state)).toMatchObject([
      { phase: 'waiting', mayBeRegistered: false, failures: 0 },
    ]);
    batch(requested(9), drawn(0), ...notSent.events, stopped)
      .when(resume('http://two'))
      .thenEvents(resumed('http://two'));
  });
});
