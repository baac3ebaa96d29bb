import type { Database } from '../../database/database.ts';
import type { EventStore, Position } from '../../event-store/port.ts';
import type { Logger } from '../../shared/logger.ts';
import { Freshness } from './freshness.ts';
import { ensureLiveGeneration, readCheckpoint, readStop, type Stop } from './generations.ts';
import { Leases } from './lease.ts';
import { liveSchema, type Projection } from './projection.ts';
import { Runner } from './runner.ts';

export interface EngineOptions {
  readonly database: Database;
  readonly store: EventStore;
  readonly projections: readonly Projection[];
  readonly logger: Logger;
  /** Names this process among the holders of leases. */
  readonly processId: string;
  /** How long a query waits for its read model to reach a position. */
  readonly waitForMs?: number;
}

/** How a projection is doing, whichever process runs it. */
export interface ProjectionHealth {
  readonly name: string;
  readonly version: number;
  readonly generation: number;
  readonly status: 'live' | 'stopped';
  readonly position: Position;
  readonly head: Position;
  /** How long the first event beyond the position has been waiting; 0 at the head. */
  readonly lagSeconds: number;
  readonly lastError: Stop | undefined;
}

/** The projections of this installation: their tables, their runners in this process, their state. */
export class ProjectionEngine {
  readonly freshness: Freshness;
  readonly #options: EngineOptions;
  readonly #runners = new Map<string, Runner>();

  constructor(options: EngineOptions) {
    this.#options = options;
    this.freshness = new Freshness(
      options.database,
      options.projections,
      (projection) => this.#runners.get(projection)?.hurry(),
      options.waitForMs,
    );
  }

  /** Makes the tables, so that queries find them, also where no projection runs. */
  async prepare(): Promise<void> {
    const { database, projections, store } = this.#options;
    for (const projection of projections) {
      await ensureLiveGeneration(database, projection, store.logId);
    }
  }

  start(): void {
    const { database, store, projections, logger, processId } = this.#options;
    const leases = new Leases(database, processId, logger);
    for (const projection of projections) {
      const { name } = projection;
      const runner = new Runner({
        database,
        store,
        leases,
        projection,
        logger,
        onMoved: (position) => this.freshness.moved(name, position),
        isAwaited: () => this.freshness.isAwaited(name),
      });
      this.#runners.set(name, runner);
      runner.start();
    }
  }

  async stop(): Promise<void> {
    await Promise.all([...this.#runners.values()].map((runner) => runner.stop()));
  }

  async health(): Promise<ProjectionHealth[]> {
    const { database, projections, store } = this.#options;
    const head = await store.head();
    return Promise.all(
      projections.map(async (projection) => {
        const generation = await ensureLiveGeneration(database, projection, store.logId);
        const stop = await readStop(database, generation);
        const position = await readCheckpoint(database, liveSchema(projection.name));
        return {
          name: projection.name,
          version: generation.version,
          generation: generation.generation,
          status: stop === undefined ? ('live' as const) : ('stopped' as const),
          position,
          head,
          lagSeconds: await lagSeconds(store, position, head),
          lastError: stop,
        };
      }),
    );
  }
}

async function lagSeconds(store: EventStore, position: Position, head: Position): Promise<number> {
  if (position >= head) return 0;
  for await (const { events } of store.readAll({ after: position, until: head })) {
    const [first] = events;
    if (first !== undefined) return Math.max(0, (Date.now() - first.recordedAt.getTime()) / 1_000);
  }
  return 0;
}
