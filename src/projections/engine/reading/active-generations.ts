import { randomUUID } from 'node:crypto';
import type { Database } from '../../../database/database.ts';
import { LedgerError } from '../../../shared/errors.ts';
import {
  createGeneration,
  isHeld,
  liveGenerations,
  lockGenerations,
  markUsed,
  type Generation,
} from '../generations/generations.ts';
import type { Projection } from '../projection.ts';
import {
  endReplay,
  generationOfReplay,
  insertReplay,
  runningReplayOf,
} from '../replaying/replays.ts';

const LOOK_INTERVAL_MS = 300;
const MARK_INTERVAL_MS = 60_000;

/**
 * Which generation answers queries in this process: the live one of its own version. Until that is
 * built, the live one of another release does, for as long as its tables fit the queries.
 */
export class ActiveGenerations {
  readonly #database: Database;
  readonly #projections: readonly Projection[];
  readonly #logId: string;
  readonly #onChanged: (projection: string) => void;
  readonly #answering = new Map<string, Generation>();
  /** Those whose tables some process moves on; its own it moves itself, or another of its release. */
  readonly #moving = new Set<string>();
  #timer: NodeJS.Timeout | undefined;
  #refreshing: Promise<void> = Promise.resolve();
  #markedAtMs = Number.NEGATIVE_INFINITY;

  constructor(
    database: Database,
    projections: readonly Projection[],
    logId: string,
    onChanged: (projection: string) => void,
  ) {
    this.#database = database;
    this.#projections = projections;
    this.#logId = logId;
    this.#onChanged = onChanged;
  }

  /** Makes the tables that are missing, or sees to it that they are built beside those that are there. */
  async prepare(): Promise<void> {
    for (const projection of this.#projections) await this.#prepare(projection);
    await this.refresh();
    this.#timer = setInterval(() => {
      const isDue = performance.now() - this.#markedAtMs >= MARK_INTERVAL_MS;
      // Own tables keep their name: once they are there, they are only to be marked as used.
      if (isDue || !this.#areAllOwn()) this.refresh().catch(() => undefined);
    }, LOOK_INTERVAL_MS);
    this.#timer.unref();
  }

  /** Looks again which generations are live. One look after the other: they must not cross. */
  refresh(): Promise<void> {
    this.#refreshing = this.#refreshing.catch(() => undefined).then(() => this.#refresh());
    return this.#refreshing;
  }

  async #refresh(): Promise<void> {
    for (const { name, version } of this.#projections) {
      const live = await liveGenerations(this.#database, name);
      const readable = live.filter(({ logId }) => logId === this.#logId);
      const answering = readable.find((found) => found.version === version) ?? readable[0];
      const isOwn = answering?.version === version;
      if (isOwn || (answering && (await isHeld(this.#database, answering)))) this.#moving.add(name);
      else this.#moving.delete(name);
      const before = this.#answering.get(name);
      if (answering === undefined) this.#answering.delete(name);
      else this.#answering.set(name, answering);
      if (before !== undefined && before.schema !== answering?.schema) this.#onChanged(name);
    }
    if (performance.now() - this.#markedAtMs < MARK_INTERVAL_MS) return;
    this.#markedAtMs = performance.now();
    await markUsed(this.#database, [...this.#answering.values()], this.#projections);
  }

  /** Undefined while the first of this log is being built. */
  find(projection: string): Generation | undefined {
    return this.#answering.get(projection);
  }

  /** @throws LedgerError `read-model-behind` while the first of this log is being built. */
  of(projection: string): Generation {
    const answering = this.find(projection);
    if (answering !== undefined) return answering;
    throw new LedgerError(
      'read-model-behind',
      `The read model '${projection}' is being built: try again in a moment.`,
    );
  }

  /** Whether the tables are those of this release. */
  isOwn(projection: string): boolean {
    const own = this.#projections.find(({ name }) => name === projection);
    return own !== undefined && this.#answering.get(projection)?.version === own.version;
  }

  /** Whether what is written shows in time: tables of another release may have nobody who runs them. */
  isMoving(projection: string): boolean {
    return this.#moving.has(projection);
  }

  close(): void {
    clearInterval(this.#timer);
  }

  #areAllOwn(): boolean {
    return this.#projections.every(({ name }) => this.isOwn(name));
  }

  // Processes that start at once meet at the lock, so one of them does it.
  async #prepare(projection: Projection): Promise<void> {
    await this.#endOfAnotherLog(projection);
    await this.#database.transaction(async (tx) => {
      await lockGenerations(tx, projection.name);
      const live = await liveGenerations(tx, projection.name);
      const own = live.find(({ version }) => version === projection.version);
      if (own?.logId === this.#logId) return;
      if (live.length === 0) {
        await createGeneration(tx, projection, this.#logId, 'live');
        return;
      }
      if ((await runningReplayOf(tx, projection)) !== undefined) return;
      await insertReplay(tx, projection, this.#logId, {
        replayId: randomUUID(),
        kind: 'rebuild',
        actor: 'system:start',
      });
    });
  }

  /** A rebuild from a log that is no longer this installation's would stand in the way for ever. */
  async #endOfAnotherLog(projection: Projection): Promise<void> {
    const running = await runningReplayOf(this.#database, projection);
    const generation = running && (await generationOfReplay(this.#database, running));
    if (running === undefined || generation?.logId === this.#logId) return;
    const error = 'the installation has another log now';
    await endReplay(this.#database, running, { status: 'failed', error });
  }
}
