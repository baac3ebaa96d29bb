import type { Database } from '../../database/database.ts';
import type { EventStore } from '../../event-store/port.ts';
import type { Logger } from '../../shared/logger.ts';
import { ActiveGenerations } from './reading/active-generations.ts';
import { Freshness } from './reading/freshness.ts';
import { Leases } from './running/lease.ts';
import type { Projection } from './projection.ts';
import { ReplayWorker } from './replaying/replay-worker.ts';
import { Runner } from './running/runner.ts';
import { SharedFeed } from '../../event-store/shared-feed.ts';

export interface EngineOptions {
  readonly database: Database;
  readonly store: EventStore;
  readonly projections: readonly Projection[];
  readonly logger: Logger;
  /** Names this process among the holders of leases. */
  readonly processId: string;
  /** How long a query waits for its read model to reach a position. */
  readonly waitForMs?: number;
  /**
   * A batch of events that is not applied within this time is halved, down to one event (decision
   * 21). 30 s by default.
   */
  readonly applyTimeoutMs?: number;
  /** How long a replay works before another one may; a minute unless it is given. */
  readonly replayTurnMs?: number;
}

/** The projections of this installation: their tables, and what runs them in this process. */
export class ProjectionEngine {
  readonly freshness: Freshness;
  readonly active: ActiveGenerations;
  readonly leases: Leases;
  readonly #options: EngineOptions;
  readonly #runners = new Map<string, Runner>();
  #worker: ReplayWorker | undefined;

  constructor(options: EngineOptions) {
    const { database, store, projections, logger, processId, waitForMs } = options;
    this.#options = options;
    this.leases = new Leases(database, processId, logger);
    this.active = new ActiveGenerations(database, projections, store.logId, (projection) =>
      this.freshness.changed(projection),
    );
    this.freshness = new Freshness(
      database,
      projections,
      this.active,
      (projection) => this.#runners.get(projection)?.wake(),
      waitForMs,
    );
  }

  /** Makes the tables, so that queries find them, also where no projection runs. */
  async prepare(): Promise<void> {
    await this.active.prepare();
  }

  start(): void {
    const { database, store, projections, logger, applyTimeoutMs } = this.#options;
    const feed = new SharedFeed(store, [...new Set(projections.flatMap(({ handles }) => handles))]);
    for (const projection of projections) {
      const { name } = projection;
      const runner = new Runner({
        database,
        store,
        feed,
        leases: this.leases,
        projection,
        logger,
        applyTimeoutMs,
        onMoved: ({ generation }, position) => {
          // The generation that this process reads may be another one, until it looks again.
          if (this.active.find(name)?.generation === generation) {
            this.freshness.moved(name, position);
          } else void this.active.refresh().catch(() => undefined);
        },
        isAwaited: () => this.freshness.isAwaited(name),
      });
      this.#runners.set(name, runner);
      runner.start();
    }
    this.startReplays();
  }

  /** Carries out replays only, for a tool that waits for one. */
  startReplays(): void {
    const { database, store, projections, logger, applyTimeoutMs, replayTurnMs } = this.#options;
    this.#worker = new ReplayWorker({
      database,
      store,
      leases: this.leases,
      projections,
      logger,
      applyTimeoutMs,
      turnMs: replayTurnMs,
      onEnded: async () => {
        await this.active.refresh();
        this.checkForWork();
      },
    });
    this.#worker.start();
  }

  /** Runners and the worker look for work from time to time; this makes them look now. */
  checkForWork(): void {
    for (const runner of this.#runners.values()) runner.checkForWork();
    this.#worker?.checkForWork();
  }

  async stop(): Promise<void> {
    this.active.close();
    await Promise.all([
      this.#worker?.stop(),
      ...[...this.#runners.values()].map((runner) => runner.stop()),
    ]);
  }
}
