import { setTimeout as delay } from 'node:timers/promises';
import pRetry from 'p-retry';
import { batchDecider, type AttemptOutcome, type BatchCommand } from '../commands/deveui.ts';
import type { CommandContext, CommandHandler } from '../commands/handler.ts';
import type { BatchEvent } from '../events/deveui.ts';
import type { LorawanProvider, ProviderAnswer, Register } from '../lorawan/provider.ts';
import type { Clock } from '../shared/clock.ts';
import { LedgerError } from '../shared/errors.ts';
import type { Logger } from '../shared/logger.ts';
import { retryDelayMs, type Backoff } from './backoff.ts';
import type { OpenBatch } from './open-batches.ts';

export interface BatchRunParts {
  readonly handler: CommandHandler;
  readonly provider: LorawanProvider;
  readonly backoff: Backoff;
  /** So many failures of one DevEUI in a row, with no answer to any other, and the batch has failed. */
  readonly maxFailures: number;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** What is to be asked for next: a new DevEUI, or one that was asked for before. */
type Task =
  | { readonly type: 'begin' }
  | { readonly type: 'retry'; readonly devEui: string; readonly delayMs: number };
const BEGIN: Task = { type: 'begin' };

/** A request whose intent is in the log. */
interface Sent {
  readonly devEui: string;
  readonly attempt: number;
}

interface Answered {
  readonly sent: Sent;
  readonly answer: ProviderAnswer;
}

const RESTART_AFTER_MS = 1_000;
/** So many workers at most, whatever the log says. */
const MAX_WORKERS = 10;

/**
 * Works on one batch, for as long as this process is the only one that does: workers ask for one DevEUI after
 * the other, each intent in the log before its request leaves, each outcome behind it.
 *
 * Nothing but the log is remembered. Whenever a command's outcome is unknown (the log was away) all workers
 * end, and the run begins anew from what the log says, as after a crash: what it holds as in flight is then
 * nobody's, and is asked for again.
 */
export class BatchRun {
  readonly done: Promise<void>;
  readonly #parts: BatchRunParts;
  readonly #batch: OpenBatch;
  readonly #context: CommandContext;
  readonly #halting = new AbortController();
  /** Open DevEUIs of earlier runs that no worker has taken up yet. */
  #inherited: Task[] = [];

  constructor(parts: BatchRunParts, batch: OpenBatch) {
    this.#parts = parts;
    this.#batch = batch;
    const { projectId, correlationId } = batch;
    this.#context = { projectId, correlationId, actor: 'system:provisioning' };
    this.done = this.#run();
  }

  /** No new requests; `done` when those in flight have ended, and are in the log. */
  halt(): void {
    this.#halting.abort();
  }

  async #run(): Promise<void> {
    const { signal } = this.#halting;
    while (!signal.aborted) {
      try {
        await this.#workToTheEnd();
        return;
      } catch (error) {
        const { stream } = this.#batch;
        this.#parts.logger.warn({ err: error, stream }, 'the batch waits, and then goes on');
        await pause(RESTART_AFTER_MS, signal);
      }
    }
  }

  async #workToTheEnd(): Promise<void> {
    const { handler, clock, backoff } = this.#parts;
    await this.#execute({ type: 'interrupt', endedAt: clock().toISOString() });
    const { state } = await handler.peek(batchDecider, this.#batch.stream, 0);
    if (state.situation !== 'processing') return;
    this.#inherited = state.open.map(({ devEui, failures }): Task => {
      const delayMs = failures === 0 ? 0 : retryDelayMs(backoff, failures);
      return { type: 'retry', devEui, delayMs };
    });
    // A worker ends when no further DevEUI is wanted: then each open one has a worker, which goes on if it
    // has to be replaced. So none has to be called back.
    const workers = Array.from({ length: Math.min(state.concurrency, MAX_WORKERS) }, () =>
      this.#work(),
    );
    const ended = await Promise.allSettled(workers);
    const failed = ended.find((outcome) => outcome.status === 'rejected');
    if (failed !== undefined) throw failed.reason;
  }

  async #work(): Promise<void> {
    const { provider } = this.#parts;
    const { signal } = this.#halting;
    let task: Task | undefined = BEGIN;
    while (task !== undefined) {
      const current: Task = (task.type === 'begin' && this.#inherited.shift()) || task;
      // Not within the slot, where others would wait for it, too.
      if (current.type === 'retry') await pause(current.delayMs, signal);
      if (signal.aborted) return;
      const last: Answered | undefined = await provider.inSlot((register) =>
        this.#askOn(register, current),
      );
      if (last !== undefined) task = await this.#afterwards(last);
      // Somebody else has settled what was to be asked for again: there may be another one to ask for.
      else task = current.type === 'retry' ? BEGIN : undefined;
    }
  }

  /**
   * Asks for one DevEUI after the other while nobody else waits for the slot: then an outcome and the next
   * intent are one append. Gives the last answer, which is not in the log yet; undefined when no DevEUI was
   * wanted.
   */
  async #askOn(register: Register, task: Task): Promise<Answered | undefined> {
    if (this.#halting.signal.aborted) return undefined;
    const sentAt = this.#parts.clock().toISOString();
    const { type } = task;
    let sent = sentIn(
      await this.#execute(
        type === 'begin' ? { type, sentAt } : { type, sentAt, devEui: task.devEui },
      ),
    );
    while (sent !== undefined) {
      const answered = { sent, answer: await register(sent.devEui) };
      if (answered.answer.outcome === 'failed' || !this.#mayGoOn()) return answered;
      try {
        const command = this.#settling(answered);
        sent = sentIn(await this.#execute({ ...command, nextSentAt: command.endedAt }));
      } catch (error) {
        // Whether the next one is in the log is not known, but this outcome must be.
        await this.#settle(answered);
        throw error;
      }
    }
    return undefined;
  }

  #mayGoOn(): boolean {
    const isAlone = this.#parts.provider.waiting === 0 && this.#inherited.length === 0;
    return isAlone && !this.#halting.signal.aborted;
  }

  /** Records the outcome, and says what comes next. */
  async #afterwards(answered: Answered): Promise<Task> {
    const events = await this.#settle(answered);
    const { sent, answer } = answered;
    const failed = events.find((event) => event.type === 'DevEuiAttemptFailed');
    if (answer.outcome !== 'failed' || failed === undefined) return BEGIN;
    const { backoff } = this.#parts;
    const delayMs = retryDelayMs(backoff, failed.data.failures, answer.retryAfterMs);
    return { type: 'retry', devEui: sent.devEui, delayMs };
  }

  /** What the provider has said must not be forgotten because the log is away for a moment. */
  #settle(answered: Answered): Promise<readonly BatchEvent[]> {
    return pRetry(() => this.#execute(this.#settling(answered)), {
      retries: 20,
      minTimeout: 200,
      maxTimeout: 2_000,
      shouldRetry: ({ error }) => isPassing(error),
    });
  }

  #settling({ sent, answer }: Answered): Extract<BatchCommand, { type: 'settle' }> {
    const { clock, maxFailures } = this.#parts;
    const endedAt = clock().toISOString();
    return { type: 'settle', ...sent, outcome: outcomeOf(answer), endedAt, maxFailures };
  }

  async #execute(command: BatchCommand): Promise<readonly BatchEvent[]> {
    const { handler } = this.#parts;
    const { stream } = this.#batch;
    const handled = await handler.execute(batchDecider, stream, command, this.#context);
    return handled.outcome === 'recorded' ? (handled.events as unknown as BatchEvent[]) : [];
  }
}

function outcomeOf(answer: ProviderAnswer): AttemptOutcome {
  if (answer.outcome !== 'failed') return { kind: answer.outcome, providerStatus: answer.status };
  const { status, reason, mayBeRegistered } = answer;
  return { kind: 'failed', providerStatus: status, reason, mayBeRegistered };
}

function sentIn(events: readonly BatchEvent[]): Sent | undefined {
  return events.find((event) => event.type === 'DevEuiAttempted')?.data;
}

function isPassing(error: unknown): boolean {
  return (
    error instanceof LedgerError &&
    (error.code === 'store-unavailable' || error.code === 'overloaded')
  );
}

async function pause(durationMs: number, signal: AbortSignal): Promise<void> {
  await delay(durationMs, undefined, { signal }).catch(() => undefined);
}
