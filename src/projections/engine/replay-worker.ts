import { isPassing, type Database } from '../../database/database.ts';
import type { EventStore } from '../../event-store/port.ts';
import type { Logger } from '../../shared/logger.ts';
import { LeaseLostError } from './generation-writer.ts';
import { dropUnused } from './generations.ts';
import type { Leases } from './lease.ts';
import { Pause } from './pause.ts';
import type { Projection } from './projection.ts';
import { carryOut } from './replaying.ts';
import { endReplay, generationOfReplay, runningReplays, type Replay } from './replays.ts';

export interface ReplayWorkerOptions {
  readonly database: Database;
  readonly store: EventStore;
  readonly leases: Leases;
  readonly projections: readonly Projection[];
  readonly logger: Logger;
  /** Called when a replay has ended in this process: the live generation may be another. */
  readonly onEnded: () => Promise<void>;
}

const LOOK_INTERVAL_MS = 500;

/**
 * Carries out the replays of this installation, one at a time, in whichever process gets the lease.
 * One whose process has died is taken up again where it stood.
 */
export class ReplayWorker {
  readonly #options: ReplayWorkerOptions;
  readonly #stopping = new AbortController();
  readonly #pause = new Pause(this.#stopping.signal);
  #done: Promise<void> = Promise.resolve();

  constructor(options: ReplayWorkerOptions) {
    this.#options = options;
  }

  start(): void {
    this.#done = this.#run();
  }

  /** Finishes the batch at hand. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#done;
  }

  /** A replay has been requested: no need to wait until the next look. */
  lookAround(): void {
    this.#pause.end();
  }

  async #run(): Promise<void> {
    const { database, logger } = this.#options;
    while (!this.#stopping.signal.aborted) {
      let hasWorked = false;
      try {
        for (const replay of await runningReplays(database)) {
          if (this.#stopping.signal.aborted) return;
          hasWorked = (await this.#take(replay)) || hasWorked;
        }
      } catch (error) {
        // Lost: cancelled, or taken over by another process.
        if (!(error instanceof LeaseLostError)) {
          logger.warn({ err: error }, 'a replay waits, and then goes on');
        }
      }
      if (!hasWorked) await this.#pause.for(LOOK_INTERVAL_MS);
    }
  }

  /** Whether it was ours to carry out. */
  async #take(replay: Replay): Promise<boolean> {
    const { database, store, leases, projections } = this.#options;
    const projection = projections.find(
      ({ name, version }) => name === replay.projection && version === replay.version,
    );
    const generation = await generationOfReplay(database, replay);
    // Of another release, or of another log: for a process that has that.
    if (projection === undefined || generation?.logId !== store.logId) return false;
    const lease = await leases.tryAcquire(generation);
    if (lease === undefined) return false;
    const signal = AbortSignal.any([this.#stopping.signal, lease.signal]);
    try {
      const error = await carryOut({
        ...this.#options,
        projection,
        replay,
        generation,
        lease,
        signal,
      }).catch((thrown: unknown) => {
        if (isPassing(thrown) || thrown instanceof LeaseLostError) throw thrown;
        return thrown instanceof Error ? thrown.message : String(thrown);
      });
      if (error === undefined) return true;
      // Not if it was taken over: what failed here may be what the other one has done.
      const target = await store.head();
      const end = { status: 'failed', error, target } as const;
      if (await endReplay(database, replay, end, lease.token)) {
        this.#options.logger.error({ ...replay, error }, 'a replay has failed');
      }
    } finally {
      await lease.release().catch(() => undefined);
      await dropUnused(database, projection);
      await this.#options.onEnded();
    }
    return true;
  }
}
