import type { Database } from '../../../database/database.ts';
import type { EventStore } from '../../../event-store/port.ts';
import type { Logger } from '../../../shared/logger.ts';
import { dropUnused } from '../generations/clean-up.ts';
import { endAbandonedReplays } from './abandoned.ts';
import { LeaseLostError, type BatchLimit } from '../running/generation-writer.ts';
import type { Lease, Leases } from '../running/lease.ts';
import { Pause } from '../running/pause.ts';
import type { Projection } from '../projection.ts';
import { carryOut, type TurnOutcome } from './replay-turn.ts';
import { endReplay, generationOfReplay, runningReplays, type Replay } from './replays.ts';
import { Turns } from './turns.ts';
import { errorMessage, isTransient } from '../../../shared/errors.ts';

export interface ReplayWorkerOptions {
  readonly database: Database;
  readonly store: EventStore;
  readonly leases: Leases;
  readonly projections: readonly Projection[];
  readonly logger: Logger;
  readonly applyTimeoutMs?: number | undefined;
  readonly turnMs?: number | undefined;
  /** Called when a replay has ended in this process: the live generation may be another. */
  readonly onEnded: () => Promise<void>;
}

const LOOK_INTERVAL_MS = 500;
const CLEAN_UP_INTERVAL_MS = 5_000;
/** How long a replay works before another one may. */
const TURN_MS = 60_000;
/** How long a rebuild of a paused projection waits before it looks again. */
const PAUSED_MS = 1_000;

/**
 * Carries out the replays of this installation, in whichever process gets the lease: one at a time,
 * and each for a turn, so that one that hangs or fails does not block the others. A replay whose
 * process has died is resumed from its checkpoint.
 */
export class ReplayWorker {
  readonly #options: ReplayWorkerOptions;
  readonly #stopping = new AbortController();
  readonly #pause = new Pause(this.#stopping.signal);
  readonly #turns = new Turns();
  /** The batch limits of the replays that this process has worked on, by their ids. */
  readonly #batchLimits = new Map<string, BatchLimit>();
  #cleanedUpAtMs = Number.NEGATIVE_INFINITY;
  #done: Promise<void> = Promise.resolve();

  constructor(options: ReplayWorkerOptions) {
    this.#options = options;
  }

  start(): void {
    this.#done = this.#run();
  }

  /** Finishes the current batch. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#done;
  }

  /** Looks for work now: a replay has been requested. */
  checkForWork(): void {
    this.#pause.end();
  }

  async #run(): Promise<void> {
    const { database, logger } = this.#options;
    while (!this.#stopping.signal.aborted) {
      let hasWorked = false;
      try {
        const running = await runningReplays(database);
        this.#forgetOthers(running);
        for (const replay of this.#turns.due(running, ({ replayId }) => replayId)) {
          if (this.#stopping.signal.aborted) return;
          hasWorked = await this.#take(replay);
          // Another one may have been requested meanwhile, or may be due now.
          if (hasWorked) break;
        }
      } catch (error) {
        logger.warn({ err: error }, 'cannot list running replays yet');
      }
      await this.#cleanUpAll();
      if (!hasWorked) await this.#pause.for(LOOK_INTERVAL_MS);
    }
  }

  async #cleanUpAll(): Promise<void> {
    if (performance.now() - this.#cleanedUpAtMs < CLEAN_UP_INTERVAL_MS) return;
    for (const projection of this.#options.projections) await this.#cleanUp(projection);
    this.#cleanedUpAtMs = performance.now();
  }

  /** Ends replays that no release carries out any more, and drops tables that nobody uses. */
  async #cleanUp(projection: Projection): Promise<void> {
    const { database, logger } = this.#options;
    try {
      await endAbandonedReplays(database, projection);
      await dropUnused(database, projection);
    } catch (error) {
      logger.debug({ err: error }, 'cannot drop unused tables yet: retrying');
    }
  }

  #forgetOthers(running: readonly Replay[]): void {
    const ids = new Set(running.map(({ replayId }) => replayId));
    for (const id of this.#batchLimits.keys()) if (!ids.has(id)) this.#batchLimits.delete(id);
  }

  #batchLimitOf({ replayId }: Replay): BatchLimit {
    const known = this.#batchLimits.get(replayId);
    const limit = known ?? { events: Number.POSITIVE_INFINITY };
    this.#batchLimits.set(replayId, limit);
    return limit;
  }

  /** Whether this process could work on it. */
  async #take(replay: Replay): Promise<boolean> {
    const { replayId } = replay;
    try {
      const outcome = await this.#takeTurn(replay);
      if (outcome === undefined) return false;
      this.#turns.ended(replayId, outcome === 'paused' ? PAUSED_MS : 0);
    } catch (error) {
      this.#turns.failed(replayId);
      // The lease is lost when the replay was cancelled, or another process took it over.
      if (!(error instanceof LeaseLostError)) {
        const { projection, kind } = replay;
        this.#options.logger.warn({ err: error, projection, kind }, 'replay waits for a retry');
      }
    }
    return true;
  }

  /** Undefined where this process cannot carry it out, or another one does. */
  async #takeTurn(replay: Replay): Promise<TurnOutcome | undefined> {
    const { database, store, leases, projections, turnMs = TURN_MS } = this.#options;
    const projection = projections.find(
      ({ name, version }) => name === replay.projection && version === replay.version,
    );
    const generation = await generationOfReplay(database, replay);
    // A replay of another release or another log is left to a process that has that.
    if (projection === undefined || generation?.logId !== store.logId) return undefined;
    const lease = await leases.tryAcquire(generation);
    if (lease === undefined) return undefined;
    // Not `AbortSignal.timeout`: Node.js 20 collects it as garbage when only `AbortSignal.any`
    // refers to it, and it then never aborts. The timer refers to the controller, and is cleared
    // below.
    const turn = new AbortController();
    const timer = setTimeout(() => turn.abort(), turnMs);
    const signal = AbortSignal.any([this.#stopping.signal, lease.signal, turn.signal]);
    try {
      const outcome = await carryOut({
        ...this.#options,
        projection,
        replay,
        generation,
        lease,
        signal,
        stopping: this.#stopping.signal,
        batchLimit: this.#batchLimitOf(replay),
      }).catch((thrown: unknown): TurnOutcome => {
        if (this.#stopping.signal.aborted) return 'unfinished';
        if (signal.aborted && thrown === signal.reason) return 'unfinished';
        if (isTransient(thrown) || thrown instanceof LeaseLostError) throw thrown;
        return { reason: errorMessage(thrown) };
      });
      if (typeof outcome === 'object') await this.#fail(replay, outcome.reason, lease);
      return outcome;
    } finally {
      clearTimeout(timer);
      await lease.release().catch(() => undefined);
      await this.#options.onEnded();
      await this.#cleanUp(projection);
    }
  }

  async #fail(replay: Replay, error: string, { token }: Lease): Promise<void> {
    const { database, store, logger } = this.#options;
    const target = await store.head();
    // Nothing is recorded if it was taken over: maybe it failed because the other process works.
    if (await endReplay(database, replay, 'fail', { error, target }, token)) {
      logger.error({ ...replay, error }, 'replay failed');
    }
  }
}
