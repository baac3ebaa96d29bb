import type { BatchEvent } from '../../events/deveui.ts';
import { streamName, type StreamName } from '../../event-store/stream-name.ts';
import { LedgerError } from '../../shared/errors.ts';
import type { Decider } from '../core/decider.ts';
import { drawDevEui, shortCodesBehind } from './drawing.ts';

/** A DevEUI that was asked for, and of which it is not known how it ends. */
export interface OpenDevEui {
  readonly devEui: string;
  readonly attempt: number;
  /** `waiting`: no request is under way, another one is to follow. */
  readonly phase: 'in-flight' | 'waiting';
  readonly mayBeRegistered: boolean;
  /** Attempts in a row that failed, since the provider last answered the batch. */
  readonly failures: number;
}

interface Batch {
  readonly batchId: string;
  readonly size: number;
  readonly prefix: string;
  readonly seed: string;
  readonly provider: string;
  readonly concurrency: number;
  /** So many DevEUIs were drawn. */
  readonly drawn: number;
  readonly registered: number;
  /** So many DevEUIs in a row the provider found in use, since it last registered one. */
  readonly refusals: number;
  readonly open: readonly OpenDevEui[];
}

export type BatchState =
  | { readonly status: 'missing' }
  | ({ readonly status: 'processing' | 'stopped' | 'failed' | 'completed' | 'hidden' } & Batch);

/** What the provider said, or that it did not. */
export type AttemptOutcome =
  | { readonly kind: 'registered'; readonly providerStatus: number }
  | { readonly kind: 'in-use'; readonly providerStatus: number; readonly reason: string }
  | {
      readonly kind: 'failed';
      readonly providerStatus: number | null;
      readonly reason: string;
      readonly mayBeRegistered: boolean;
    }
  /** It was not sent after all: nobody failed. */
  | { readonly kind: 'not-sent' };

export type BatchCommand =
  | {
      readonly type: 'request';
      readonly batchId: string;
      readonly size: number;
      readonly prefix: string;
      readonly seed: string;
      readonly provider: string;
      readonly concurrency: number;
      readonly requestedAt: string;
    }
  /** Draws the next DevEUI, if one more is wanted. */
  | { readonly type: 'begin'; readonly sentAt: string }
  | { readonly type: 'retry'; readonly devEui: string; readonly sentAt: string }
  | {
      readonly type: 'settle';
      readonly devEui: string;
      readonly attempt: number;
      readonly outcome: AttemptOutcome;
      readonly endedAt: string;
      /** So many failures of one DevEUI in a row, without an answer to any other, end the batch. */
      readonly maxFailures: number;
      /** So many DevEUIs in a row that are in use, without a registered one, end it, too. */
      readonly maxConflicts: number;
      /** Given: the next DevEUI is drawn at once, so that outcome and intent are one append. */
      readonly nextSentAt?: string;
    }
  /** No process waits any more for what the log holds as in flight. */
  | { readonly type: 'interrupt'; readonly endedAt: string }
  | { readonly type: 'stop' }
  | { readonly type: 'hide'; readonly endedAt: string }
  | {
      readonly type: 'resume';
      readonly provider: string;
      readonly concurrency?: number;
      readonly resumedAt: string;
    };

/** What may be asked of a batch. */
export const BATCH_LIMITS = { maxSize: 10_000, defaultSize: 100, maxConcurrency: 10 } as const;

/**
 * However often a provider answers others: each time that it has not answered so many attempts for
 * one DevEUI, the batch ends, too.
 */
const ATTEMPTS_WITHOUT_ANSWER = 100;

/**
 * A batch of DevEUIs. Each is in one status at any position of the log: open (counted as in
 * flight), registered, conflicted or unconfirmed. Registered and open together are never more than
 * its size, so however the open ones end, it is never one too many.
 */
export const batchDecider: Decider<BatchState, BatchCommand, BatchEvent> = {
  fold: 'batch:3',
  initialState: { status: 'missing' },

  decide(batch, command) {
    if (command.type === 'request') {
      const { type: _type, ...requested } = command;
      return batch.status === 'missing' ? [{ type: 'BatchRequested', data: requested }] : [];
    }
    if (batch.status === 'missing') throw batchNotFound();
    const { batchId } = batch;
    switch (command.type) {
      case 'begin':
        return begin(batch, command.sentAt);
      case 'retry':
        return retry(batch, command.devEui, command.sentAt);
      case 'settle': {
        const settled = settle(batch, command);
        if (command.nextSentAt === undefined) return settled;
        const after = settled.reduce<BatchState>(evolve, batch);
        return after.status === 'missing'
          ? settled
          : [...settled, ...begin(after, command.nextSentAt)];
      }
      case 'interrupt':
        return batch.open
          .filter(({ phase }) => phase === 'in-flight')
          .map(({ devEui, attempt, failures }) => ({
            type: 'DevEuiAttemptFailed',
            data: {
              batchId,
              devEui,
              attempt,
              providerStatus: null,
              reason: 'interrupted: whoever sent it did not see the answer',
              mayBeRegistered: true,
              failures,
              endedAt: command.endedAt,
            },
          }));
      case 'stop':
        refuseHidden(batch);
        return batch.status === 'processing' ? [{ type: 'BatchStopped', data: { batchId } }] : [];
      case 'hide':
        refuseHidden(batch);
        // Nobody asks for them any more, and they may have been paid for.
        return isDone(batch)
          ? [...unconfirmed(batch, command.endedAt), { type: 'BatchHidden', data: { batchId } }]
          : [];
      case 'resume': {
        // One that was hidden before it was whole is shown again by it: there may have been a
        // mistake.
        if (batch.registered === batch.size) refuseHidden(batch);
        const { provider, concurrency = batch.concurrency } = command;
        if (batch.status === 'completed') return [];
        const isSame = batch.provider === provider && batch.concurrency === concurrency;
        if (batch.status === 'processing' && isSame) return [];
        const resumed: BatchEvent = {
          type: 'BatchResumed',
          data: { batchId, provider, concurrency },
        };
        // Another provider knows nothing of them, and would register them once more.
        return batch.provider === provider
          ? [resumed]
          : [...unconfirmed(batch, command.resumedAt), resumed];
      }
    }
  },

  evolve,

  sizeOf: (batch) => (batch.status === 'missing' ? 0 : 500 + 150 * batch.open.length),
};

/** What is open and may have been registered, as it is when nobody asks for it again. */
function unconfirmed({ batchId, open }: ExistingBatch, endedAt: string): BatchEvent[] {
  return open
    .filter(({ phase, mayBeRegistered }) => phase === 'in-flight' || mayBeRegistered)
    .map(({ devEui, attempt }) => ({
      type: 'DevEuiUnconfirmed',
      data: { batchId, devEui, attempt, providerStatus: null, endedAt },
    }));
}

/** Whether nothing is sent any more, nor on its way. */
export function isDone(batch: BatchState): boolean {
  if (batch.status === 'missing' || batch.status === 'processing') return false;
  return batch.open.every(({ phase }) => phase === 'waiting');
}

export type ExistingBatch = Exclude<BatchState, { status: 'missing' }>;

function begin(batch: ExistingBatch, sentAt: string): BatchEvent[] {
  const { status, batchId, size, prefix, seed, drawn, registered, open, concurrency } = batch;
  if (status !== 'processing' || open.length >= concurrency) return [];
  if (registered + open.length >= size) return [];
  if (drawn >= shortCodesBehind(prefix)) {
    // One that is open may be registered yet.
    if (open.length > 0) return [];
    const reason = `all ${drawn} DevEUIs that the prefix leaves have been tried`;
    return [{ type: 'BatchFailed', data: { batchId, reason } }];
  }
  const devEui = drawDevEui(seed, prefix, drawn);
  return [
    { type: 'DevEuiAttempted', data: { batchId, devEui, candidate: drawn, attempt: 1, sentAt } },
  ];
}

function retry(batch: ExistingBatch, devEui: string, sentAt: string): BatchEvent[] {
  const { status, batchId, open } = batch;
  const found = open.find((candidate) => candidate.devEui === devEui);
  if (status !== 'processing' || found?.phase !== 'waiting') return [];
  const attempt = found.attempt + 1;
  return [{ type: 'DevEuiAttempted', data: { batchId, devEui, candidate: null, attempt, sentAt } }];
}

function settle(
  batch: ExistingBatch,
  command: Extract<BatchCommand, { type: 'settle' }>,
): BatchEvent[] {
  const { batchId, status, size, registered, open } = batch;
  const { devEui, attempt, outcome, endedAt, maxFailures } = command;
  const found = open.find((candidate) => candidate.devEui === devEui);
  // Settled before: by this command, or by whoever took over and asked again.
  if (found === undefined) return [];
  const answered = { batchId, devEui, attempt, endedAt };
  if (outcome.kind === 'registered') {
    const { providerStatus } = outcome;
    const events: BatchEvent[] = [
      { type: 'DevEuiRegistered', data: { ...answered, providerStatus } },
    ];
    const isFull = registered + 1 === size && status !== 'hidden';
    if (isFull) events.push({ type: 'BatchCompleted', data: { batchId } });
    return events;
  }
  // There were two requests for it: one may have registered it before the other was answered.
  const isAnother = attempt !== found.attempt;
  if (outcome.kind === 'in-use') {
    const { providerStatus, reason } = outcome;
    const type = found.mayBeRegistered || isAnother ? 'DevEuiUnconfirmed' : 'DevEuiConflicted';
    const refused: BatchEvent = { type, data: { ...answered, providerStatus, reason } };
    const refusals = batch.refusals + 1;
    if (refusals < command.maxConflicts || status !== 'processing') return [refused];
    const why = `${refusals} DevEUIs in a row were refused and none was registered: ${reason}`;
    return [refused, { type: 'BatchFailed', data: { batchId, reason: why } }];
  }
  if (isAnother || found.phase === 'waiting') return [];
  if (outcome.kind === 'not-sent') {
    const { failures } = found;
    const notSent = { providerStatus: null, reason: 'not sent', mayBeRegistered: false, failures };
    return [{ type: 'DevEuiAttemptFailed', data: { ...answered, ...notSent } }];
  }
  const { providerStatus, reason, mayBeRegistered } = outcome;
  const failures = found.failures + 1;
  const failed: BatchEvent = {
    type: 'DevEuiAttemptFailed',
    data: { ...answered, providerStatus, reason, mayBeRegistered, failures },
  };
  const isHopeless = failures >= maxFailures || attempt % ATTEMPTS_WITHOUT_ANSWER === 0;
  return isHopeless && status === 'processing'
    ? [failed, { type: 'BatchFailed', data: { batchId, reason } }]
    : [failed];
}

function evolve(batch: BatchState, event: BatchEvent): BatchState {
  if (event.type === 'BatchRequested') {
    const { requestedAt: _requestedAt, ...requested } = event.data;
    return {
      status: 'processing',
      ...requested,
      drawn: 0,
      registered: 0,
      refusals: 0,
      open: [],
    };
  }
  if (batch.status === 'missing') return batch;
  switch (event.type) {
    case 'BatchResumed': {
      const { provider, concurrency } = event.data;
      // Its failures were those of then.
      const open = batch.open.map((devEui) => ({ ...devEui, failures: 0 }));
      return { ...batch, status: 'processing', provider, concurrency, refusals: 0, open };
    }
    case 'BatchStopped':
      return { ...batch, status: 'stopped' };
    case 'BatchCompleted':
      return { ...batch, status: 'completed' };
    case 'BatchFailed':
      return { ...batch, status: 'failed' };
    case 'BatchHidden':
      return { ...batch, status: 'hidden' };
    case 'DevEuiAttempted': {
      const { devEui, candidate, attempt } = event.data;
      if (candidate === null) return withOpen(batch, devEui, { attempt, phase: 'in-flight' });
      const begun = { devEui, attempt, phase: 'in-flight', mayBeRegistered: false, failures: 0 };
      return { ...batch, drawn: candidate + 1, open: [...batch.open, begun as OpenDevEui] };
    }
    case 'DevEuiAttemptFailed': {
      const { devEui, failures } = event.data;
      const before = batch.open.find((candidate) => candidate.devEui === devEui);
      const mayBeRegistered = before?.mayBeRegistered === true || event.data.mayBeRegistered;
      return withOpen(batch, devEui, { phase: 'waiting', failures, mayBeRegistered });
    }
    case 'DevEuiRegistered':
      return {
        ...answered(batch, event.data.devEui),
        registered: batch.registered + 1,
        refusals: 0,
      };
    case 'DevEuiConflicted':
    case 'DevEuiUnconfirmed': {
      // Without a status, the provider was not asked.
      const isRefused = event.data.providerStatus !== null;
      const refusals = batch.refusals + (isRefused ? 1 : 0);
      return { ...answered(batch, event.data.devEui), refusals };
    }
  }
}

function withOpen(
  batch: ExistingBatch,
  devEui: string,
  change: Partial<OpenDevEui>,
): ExistingBatch {
  return {
    ...batch,
    open: batch.open.map((found) => (found.devEui === devEui ? { ...found, ...change } : found)),
  };
}

/** The DevEUI is no longer open; and as the provider answers, no failure was the last word. */
function answered(batch: ExistingBatch, devEui: string): ExistingBatch {
  return {
    ...batch,
    open: batch.open
      .filter((found) => found.devEui !== devEui)
      .map((found) => ({ ...found, failures: 0 })),
  };
}

function refuseHidden({ status }: ExistingBatch): void {
  if (status === 'hidden') throw batchNotFound();
}

function batchNotFound(): LedgerError {
  return new LedgerError('not-found', 'No batch has this id: check the id.');
}

export function batchStream(projectId: string, batchId: string): StreamName {
  return streamName('batch', projectId, batchId);
}
