import fc from 'fast-check';
import {
  batchDecider,
  type AttemptOutcome,
  type BatchCommand,
  type BatchState,
} from '../../../src/commands/deveui/decider.ts';
import type { BatchEvent } from '../../../src/events/deveui.ts';
import { LedgerError } from '../../../src/shared/errors.ts';

// Histories of a batch that can have happened: what the decider makes of any commands.

export interface BatchHistory {
  readonly size: number;
  readonly prefix: string;
  readonly concurrency: number;
  readonly steps: readonly BatchStep[];
}

/** What is asked next. Which DevEUI it is about is known when it is that far. */
interface BatchStep {
  readonly type: 'begin' | 'retry' | 'settle' | 'interrupt' | 'stop' | 'hide' | 'resume';
  readonly pick: number;
  readonly outcome: AttemptOutcome;
  /** Whether the sender of the request before the last one does it. */
  readonly isLate: boolean;
  readonly isFollowedByNext: boolean;
  readonly provider: string;
}

/** So many refusals in a row fail a batch. */
export const MAX_REFUSALS = 5;

const outcome: fc.Arbitrary<AttemptOutcome> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.constant<AttemptOutcome>({ kind: 'registered', providerStatus: 200 }),
  },
  {
    weight: 3,
    arbitrary: fc.constant<AttemptOutcome>({
      kind: 'in-use',
      providerStatus: 422,
      reason: 'answered 422',
    }),
  },
  {
    weight: 3,
    arbitrary: fc.constantFrom<AttemptOutcome[]>(
      { kind: 'failed', providerStatus: 503, reason: 'answered 503', mayBeRegistered: true },
      { kind: 'failed', providerStatus: null, reason: 'timed out', mayBeRegistered: true },
      { kind: 'failed', providerStatus: null, reason: 'refused', mayBeRegistered: false },
    ),
  },
);

const step: fc.Arbitrary<BatchStep> = fc.record({
  type: fc.oneof(
    { weight: 8, arbitrary: fc.constant('begin' as const) },
    { weight: 6, arbitrary: fc.constant('retry' as const) },
    { weight: 12, arbitrary: fc.constant('settle' as const) },
    { weight: 2, arbitrary: fc.constantFrom('interrupt' as const, 'resume' as const) },
    { weight: 1, arbitrary: fc.constantFrom('stop' as const, 'hide' as const) },
  ),
  pick: fc.nat(9),
  outcome,
  isLate: fc.nat(4).map((one) => one === 0),
  isFollowedByNext: fc.boolean(),
  provider: fc.constantFrom('http://one', 'http://two'),
});

export const anyBatchHistory: fc.Arbitrary<BatchHistory> = fc.record({
  size: fc.integer({ min: 1, max: 12 }),
  // The longer one leaves 16 DevEUIs, so that they run out.
  prefix: fc.constantFrom('', 'FFA45722AA73824'),
  concurrency: fc.integer({ min: 1, max: 5 }),
  steps: fc.array(step, { minLength: 1, maxLength: 60, size: 'max' }),
});

export interface Played {
  readonly command: BatchCommand;
  readonly before: BatchState;
  readonly events: readonly BatchEvent[];
  readonly after: BatchState;
}

/** Each command in turn, with what came of it; one that is refused leads to nothing. */
export function* play(batchId: string, history: BatchHistory): Generator<Played> {
  let before: BatchState = batchDecider.initialState;
  for (const command of [requestOf(batchId, history), ...history.steps]) {
    const asked = 'pick' in command ? commandOf(command, before) : command;
    if (asked === undefined) continue;
    const events = decided(before, asked);
    const after = events.reduce((state, event) => batchDecider.evolve(state, event), before);
    yield { command: asked, before, events, after };
    before = after;
  }
}

export function eventsOf(batchId: string, history: BatchHistory): BatchEvent[] {
  return [...play(batchId, history)].flatMap(({ events }) => events);
}

function requestOf(batchId: string, { size, prefix, concurrency }: BatchHistory): BatchCommand {
  return {
    type: 'request',
    batchId,
    size,
    prefix,
    concurrency,
    seed: '5eed'.repeat(16),
    provider: 'http://one',
    requestedAt: '2026-01-31T12:00:00.000Z',
  };
}

function commandOf(step: BatchStep, state: BatchState): BatchCommand | undefined {
  const sentAt = '2026-01-31T12:00:01.000Z';
  const endedAt = '2026-01-31T12:00:02.000Z';
  const open = state.status === 'missing' ? [] : state.open;
  const picked = open[step.pick % Math.max(1, open.length)];
  switch (step.type) {
    case 'begin':
      return { type: 'begin', sentAt };
    case 'retry':
      return picked && { type: 'retry', devEui: picked.devEui, sentAt };
    case 'settle':
      return (
        picked && {
          type: 'settle',
          devEui: picked.devEui,
          attempt: step.isLate && picked.attempt > 1 ? picked.attempt - 1 : picked.attempt,
          outcome: step.outcome,
          endedAt,
          maxFailures: 3,
          maxConflicts: MAX_REFUSALS,
          ...(step.isFollowedByNext && { nextSentAt: endedAt }),
        }
      );
    case 'interrupt':
      return { type: 'interrupt', endedAt };
    case 'stop':
      return { type: 'stop' };
    case 'hide':
      return { type: 'hide', endedAt };
    case 'resume':
      return { type: 'resume', provider: step.provider, resumedAt: endedAt };
  }
}

function decided(state: BatchState, command: BatchCommand): readonly BatchEvent[] {
  try {
    return batchDecider.decide(state, command);
  } catch (error) {
    if (error instanceof LedgerError) return [];
    throw error;
  }
}
