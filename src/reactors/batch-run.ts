import pRetry from 'p-retry';
import type { AttemptOutcome, ExistingBatch } from '../commands/deveui/decider.ts';
import type { HandledBatch } from '../commands/deveui/batch-tracker.ts';
import type { BatchWork, DevEuiCommands } from '../commands/deveui/commands.ts';
import type { BatchEvent } from '../events/deveui.ts';
import type { LorawanProvider, ProviderAnswer, Register } from '../lorawan/provider.ts';
import type { Clock } from '../shared/clock.ts';
import { isTransient, LedgerError } from '../shared/errors.ts';
import type { Logger } from '../shared/logger.ts';
import { retryDelayMs, type Backoff } from '../shared/backoff.ts';
import type { OpenBatch } from './open-batches.ts';
import { sleep } from '../shared/sleep.ts';

export interface BatchRunParts {
  readonly commands: DevEuiCommands;
  readonly provider: LorawanProvider;
  readonly backoff: Backoff;
  /**
   * So many failures of one DevEUI in a row, with no answer to any other, and the batch has failed.
   */
  readonly maxFailures: number;
  /** So many DevEUIs in a row that are in use, without a registered one, and it has failed, too. */
  readonly maxConflicts: number;
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

interface Ended {
  readonly sent: Sent;
  readonly outcome: AttemptOutcome;
  readonly retryAfterMs?: number | undefined;
}

const RESTART_AFTER_MS = 1_000;

/**
 * Works on one batch, for as long as this process is the only one that does: workers ask for one
 * DevEUI after the other, each intent in the log before its request leaves, each outcome behind it.
 *
 * Nothing but the log is remembered. Whenever a command's outcome is unknown (the log was
 * unavailable) all workers end, and the next round begins from what the log says, as after a crash:
 * no process waits then for what it holds as in flight, which is asked for again.
 */
export class BatchRun {
  readonly done: Promise<void>;
  readonly #parts: BatchRunParts;
  readonly #batch: OpenBatch;
  readonly #work: BatchWork;
  /** Aborted when outcomes that cannot be recorded are to be given up. */
  readonly #givingUp: AbortSignal;
  readonly #halting = new AbortController();
  /** Open DevEUIs of earlier rounds that no worker has taken up yet. */
  #inherited: Task[] = [];

  constructor(parts: BatchRunParts, batch: OpenBatch, givingUp: AbortSignal) {
    // Each batch under the path that it was asked for; projects share the slots.
    const provider = parts.provider.at(batch.provider, batch.projectId);
    this.#parts = { ...parts, provider };
    this.#batch = batch;
    this.#givingUp = givingUp;
    const { projectId, correlationId } = batch;
    const context = { projectId, correlationId, actor: 'system:provisioning' };
    this.#work = parts.commands.work(batch.stream, context);
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
        await this.#round();
        if ((await this.#toBeWorkedOn()) === undefined) return;
      } catch (error) {
        const { stream } = this.#batch;
        this.#parts.logger.warn({ err: error, stream }, 'batch waits for a retry');
      }
      await sleep(RESTART_AFTER_MS, signal);
    }
  }

  /**
   * Until no worker finds anything to do. Each open DevEUI has a worker, which continues with
   * another one if that is refused: a round ends with the batch, unless another process has drawn
   * one. Then there is another round.
   */
  async #round(): Promise<void> {
    const { clock, backoff } = this.#parts;
    await this.#work.interrupt(clock().toISOString());
    const state = await this.#toBeWorkedOn();
    if (state === undefined) return;
    this.#inherited = state.open.map(({ devEui, failures }): Task => {
      const delayMs = failures === 0 ? 0 : retryDelayMs(backoff, failures);
      return { type: 'retry', devEui, delayMs };
    });
    const round = new AbortController();
    const signal = AbortSignal.any([this.#halting.signal, round.signal]);
    const workers = Array.from({ length: state.concurrency }, () =>
      this.#runWorker(signal).catch((error: unknown) => {
        // The others have less to do than there is room for, until they begin anew together.
        round.abort();
        throw error;
      }),
    );
    const ended = await Promise.allSettled(workers);
    const failed = ended.find((outcome) => outcome.status === 'rejected');
    if (failed !== undefined) throw failed.reason;
  }

  /** The batch, while it is processing, and with this provider. */
  async #toBeWorkedOn(): Promise<ExistingBatch | undefined> {
    const { commands, provider } = this.#parts;
    const state = await commands.state(this.#batch.stream);
    return state.status === 'processing' && provider.isAt(state.provider) ? state : undefined;
  }

  async #runWorker(signal: AbortSignal): Promise<void> {
    const { provider } = this.#parts;
    let task: Task | undefined = BEGIN;
    while (task !== undefined) {
      const current: Task = (task.type === 'begin' && this.#inherited.shift()) || task;
      // Not within the slot, where others would wait for it, too.
      if (current.type === 'retry') await sleep(current.delayMs, signal);
      if (signal.aborted) return;
      const last: Ended | undefined = await provider.inSlot((register) =>
        this.#askOn(register, current, signal),
      );
      if (last !== undefined) task = await this.#afterwards(last);
      // Somebody else has settled what was to be asked for again: there may be another one to ask
      // for.
      else task = current.type === 'retry' ? BEGIN : undefined;
    }
  }

  /**
   * Asks for one DevEUI after the other while nobody else waits for the slot: then an outcome and
   * the next intent are one append. Gives the last outcome, which is not in the log yet; undefined
   * when no DevEUI was wanted.
   */
  async #askOn(register: Register, task: Task, signal: AbortSignal): Promise<Ended | undefined> {
    if (signal.aborted) return undefined;
    const sentAt = this.#parts.clock().toISOString();
    const begun =
      task.type === 'begin'
        ? await this.#work.begin(sentAt)
        : await this.#work.retry(task.devEui, sentAt);
    let sent = sentIn(this.#eventsOf(begun));
    while (sent !== undefined) {
      // The append may have taken its time, and another process may lead by now.
      if (signal.aborted) return { sent, outcome: { kind: 'not-sent' } };
      const answer = await register(sent.devEui);
      const ended = { sent, ...endOf(answer) };
      if (answer.outcome === 'failed' || !this.#mayGoOn(signal)) return ended;
      const settlement = this.#settlementOf(ended);
      try {
        const next = { ...settlement, nextSentAt: settlement.endedAt };
        sent = sentIn(this.#eventsOf(await this.#work.settle(next)));
      } catch (error) {
        // Whether the next one is in the log is not known, but this outcome must be.
        await this.#settle(ended);
        throw error;
      }
    }
    return undefined;
  }

  #mayGoOn(signal: AbortSignal): boolean {
    const isAlone = this.#parts.provider.waiting === 0 && this.#inherited.length === 0;
    return isAlone && !signal.aborted;
  }

  /** Records the outcome, and says what comes next. */
  async #afterwards(ended: Ended): Promise<Task> {
    const events = await this.#settle(ended);
    const failed = events.find((event) => event.type === 'DevEuiAttemptFailed');
    if (failed === undefined) return BEGIN;
    const { devEui, failures } = failed.data;
    const delayMs = retryDelayMs(this.#parts.backoff, failures, ended.retryAfterMs);
    return { type: 'retry', devEui, delayMs };
  }

  /**
   * What the provider said is tried until it is stored, however long that takes and whatever the
   * error is: forgotten, it would be asked again for a DevEUI that is paid for, and be told that it
   * is in use.
   */
  #settle(ended: Ended): Promise<readonly BatchEvent[]> {
    const settle = async (): Promise<readonly BatchEvent[]> =>
      this.#eventsOf(await this.#work.settle(this.#settlementOf(ended)));
    return pRetry(settle, {
      retries: Number.POSITIVE_INFINITY,
      minTimeout: 200,
      maxTimeout: 2_000,
      signal: this.#givingUp,
      shouldRetry: ({ error }) => isTransient(error) || !(error instanceof LedgerError),
      onFailedAttempt: ({ error }) => {
        const { devEui, attempt, outcome } = { ...ended.sent, outcome: ended.outcome.kind };
        const about = { err: error, stream: this.#batch.stream, devEui, attempt, outcome };
        this.#parts.logger.warn(about, 'cannot store the outcome of a request yet: retrying');
      },
    });
  }

  #settlementOf({ sent, outcome }: Ended): Parameters<BatchWork['settle']>[0] {
    const { clock, maxFailures, maxConflicts } = this.#parts;
    return { ...sent, outcome, endedAt: clock().toISOString(), maxFailures, maxConflicts };
  }

  #eventsOf({ events }: HandledBatch): readonly BatchEvent[] {
    const failed = events.find((event) => event.type === 'BatchFailed');
    if (failed !== undefined) {
      const { stream } = this.#batch;
      this.#parts.logger.warn({ stream, reason: failed.data.reason }, 'batch failed');
    }
    return events;
  }
}

function endOf(answer: ProviderAnswer): Pick<Ended, 'outcome' | 'retryAfterMs'> {
  if (answer.outcome === 'registered') {
    return { outcome: { kind: 'registered', providerStatus: answer.status } };
  }
  if (answer.outcome === 'in-use') {
    const { status: providerStatus, reason } = answer;
    return { outcome: { kind: 'in-use', providerStatus, reason } };
  }
  const { status, reason, mayBeRegistered, retryAfterMs } = answer;
  const outcome = { kind: 'failed', providerStatus: status, reason, mayBeRegistered } as const;
  return { outcome, retryAfterMs };
}

function sentIn(events: readonly BatchEvent[]): Sent | undefined {
  return events.find((event) => event.type === 'DevEuiAttempted')?.data;
}
