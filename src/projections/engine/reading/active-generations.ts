import { randomUUID } from 'node:crypto';
import type { Database } from '../../../database/database.ts';
import { LedgerError } from '../../../shared/errors.ts';
import { addProgressColumns } from '../generations/checkpoint.ts';
import { createGeneration } from '../generations/generation-tables.ts';
import {
  isHeld,
  isMissingTable,
  liveGenerations,
  markUsed,
  type Generation,
} from '../generations/generations.ts';
import { ProjectionLock } from '../generations/state-machine.ts';
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
 * The generation of each projection that this process reads: the live one of its own version. Until
 * that is built, it is the live one of another release, for as long as its tables fit the queries.
 *
 * This is a pointer in memory, which a swap in any process makes stale. `onActive` notices that.
 */
export class ActiveGenerations {
  readonly #database: Database;
  readonly #projections: readonly Projection[];
  readonly #logId: string;
  readonly #onChanged: (projection: string) => void;
  readonly #active = new Map<string, Generation>();
  /**
   * Projections whose generation some process writes; one of this release always counts as such.
   */
  readonly #moving = new Set<string>();
  #timer: NodeJS.Timeout | undefined;
  #refreshing: Promise<void> = Promise.resolve();
  /** A refresh that has not begun: whoever asks for one meanwhile shares it. */
  #nextRefresh: Promise<void> | undefined;
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

  /** Makes the tables that are missing, or requests that they are built beside those that exist. */
  async prepare(): Promise<void> {
    for (const projection of this.#projections) await this.#prepare(projection);
    await this.refresh();
    this.#timer = setInterval(() => {
      const isDue = performance.now() - this.#markedAtMs >= MARK_INTERVAL_MS;
      // A swap between generations of this release is noticed by the next read.
      if (isDue || !this.#areAllOwn()) this.refresh().catch(() => undefined);
    }, LOOK_INTERVAL_MS);
    this.#timer.unref();
  }

  /**
   * Reads which generations are live. Refreshes run one after the other, so that none overwrites
   * the result of a later one.
   */
  refresh(): Promise<void> {
    this.#nextRefresh ??= this.#refreshing
      .catch(() => undefined)
      .then(() => {
        this.#nextRefresh = undefined;
        this.#refreshing = this.#refresh();
        return this.#refreshing;
      });
    return this.#nextRefresh;
  }

  async #refresh(): Promise<void> {
    for (const { name, version } of this.#projections) {
      const live = await liveGenerations(this.#database, name);
      const readable = live.filter(({ logId }) => logId === this.#logId);
      const active = readable.find((found) => found.version === version) ?? readable[0];
      const isOwn = active?.version === version;
      if (isOwn || (active && (await isHeld(this.#database, active)))) this.#moving.add(name);
      else this.#moving.delete(name);
      const before = this.#active.get(name);
      if (active !== undefined && active.generation !== before?.generation) {
        await addProgressColumns(this.#database, active.schema);
      }
      if (active === undefined) this.#active.delete(name);
      else this.#active.set(name, active);
      if (before !== undefined && before.generation !== active?.generation) this.#onChanged(name);
    }
    if (performance.now() - this.#markedAtMs < MARK_INTERVAL_MS) return;
    this.#markedAtMs = performance.now();
    await markUsed(this.#database, [...this.#active.values()], this.#projections);
  }

  /** Undefined while the first generation of this log is being built. */
  find(projection: string): Generation | undefined {
    return this.#active.get(projection);
  }

  /**
   * @throws LedgerError `read-model-behind` while the first generation of this log is being built.
   */
  of(projection: string): Generation {
    const active = this.find(projection);
    if (active !== undefined) return active;
    throw new LedgerError(
      'read-model-behind',
      `The read model '${projection}' is being built: try again in a moment.`,
    );
  }

  /**
   * Reads the tables of the active generations, and reads again from those that took their place
   * when `read` meets one that is retired, or dropped by now. Each further reading needs another
   * swap.
   * @param read gives undefined when the checkpoint beside its rows is retired.
   * @throws LedgerError `read-model-behind` where there are no tables that fit; what `read` throws
   */
  async onActive<Result extends object>(
    projections: readonly string[],
    read: (generations: readonly Generation[]) => Promise<Result | undefined>,
  ): Promise<Result> {
    for (;;) {
      const generations = projections.map((projection) => this.of(projection));
      let failure: unknown;
      const result = await read(generations).catch((error: unknown) => {
        if (!isMissingTable(error)) throw error;
        failure = error;
        return undefined;
      });
      if (result !== undefined) return result;
      await this.refresh();
      const isReplaced = generations.some(
        ({ projection, generation }) => this.find(projection)?.generation !== generation,
      );
      if (!isReplaced) throw beingRebuilt(projections, failure);
    }
  }

  /**
   * Whether some process applies new events to the generation that is read. It may be of a release
   * that no process runs any more.
   */
  isMoving(projection: string): boolean {
    return this.#moving.has(projection);
  }

  close(): void {
    clearInterval(this.#timer);
  }

  #areAllOwn(): boolean {
    return this.#projections.every(
      ({ name, version }) => this.#active.get(name)?.version === version,
    );
  }

  // Processes that start at the same time wait for the lock, so only one of them does it.
  async #prepare(projection: Projection): Promise<void> {
    await this.#endOfAnotherLog(projection);
    await this.#database.transaction(async (tx) => {
      const lock = await ProjectionLock.take(tx, projection.name);
      const live = await liveGenerations(tx, projection.name);
      const own = live.find(({ version }) => version === projection.version);
      if (own?.logId === this.#logId) return;
      if (live.length === 0) {
        await createGeneration(lock, projection, this.#logId, 'createFirst');
        return;
      }
      if ((await runningReplayOf(tx, projection)) !== undefined) return;
      await insertReplay(lock, projection, this.#logId, {
        replayId: randomUUID(),
        kind: 'rebuild',
        actor: 'system:start',
      });
    });
  }

  /** A rebuild from a log that this installation does not use any more would block all others. */
  async #endOfAnotherLog(projection: Projection): Promise<void> {
    const running = await runningReplayOf(this.#database, projection);
    const generation = running && (await generationOfReplay(this.#database, running));
    if (running === undefined || generation?.logId === this.#logId) return;
    const error = 'the installation has another log now';
    await endReplay(this.#database, running, 'fail', { error });
  }
}

function beingRebuilt(projections: readonly string[], cause: unknown): LedgerError {
  return new LedgerError(
    'read-model-behind',
    `The read model '${projections.join("', '")}' is being rebuilt for this release: ` +
      'try again in a moment.',
    { cause },
  );
}
