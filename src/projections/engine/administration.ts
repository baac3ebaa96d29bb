import type { Database } from '../../database/database.ts';
import { BEGINNING, type EventStore, type Position } from '../../event-store/port.ts';
import { LedgerError } from '../../shared/errors.ts';
import type { ProjectionEngine } from './engine.ts';
import { readCheckpoint } from './generations/checkpoint.ts';
import { liveGenerations, type Generation } from './generations/generations.ts';
import { ProjectionLock } from './generations/state-machine.ts';
import { clearStop, readStop, type Stop } from './running/stops.ts';
import { clearPaused, isPaused, setPaused } from './running/paused-projections.ts';
import type { Projection } from './projection.ts';
import {
  endReplay,
  findReplay,
  listReplays,
  requestReplay,
  runningReplayOf,
  type Replay,
  type ReplayKind,
  type ReplayPlace,
  type ReplayRequest,
} from './replaying/replays.ts';

/** How a projection is doing, whichever process runs it. */
export interface ProjectionStatus {
  readonly name: string;
  /** The version of the tables that are read: not this release's while those are being built. */
  readonly version: number;
  readonly generation: number;
  readonly status: 'live' | 'paused' | 'stopped';
  readonly position: Position;
  readonly head: Position;
  /** About how many events lie beyond the position: counted when they are few. */
  readonly lagEvents: number;
  /** How long the first of them has been waiting; 0 at the head. */
  readonly lagSeconds: number;
  /** Whether the position has not moved for long, though there is something to move it. */
  readonly isStalled: boolean;
  /** Whether tables of this release are being built, and those of another one answer until then. */
  readonly isBeingBuilt: boolean;
  readonly eventsPerSecond: number;
  readonly lastError: Stop | undefined;
}

const STALLED_AFTER_MS = 5_000;

/** What admins see of the projections, and do with them: the same in every process. */
export class ProjectionAdministration {
  readonly #database: Database;
  readonly #store: EventStore;
  readonly #projections: readonly Projection[];
  readonly #engine: ProjectionEngine;

  constructor(
    database: Database,
    store: EventStore,
    projections: readonly Projection[],
    engine: ProjectionEngine,
  ) {
    this.#database = database;
    this.#store = store;
    this.#projections = projections;
    this.#engine = engine;
  }

  get names(): readonly string[] {
    return this.#projections.map(({ name }) => name);
  }

  /** @throws LedgerError `not-found` */
  handledBy(name: string): readonly string[] {
    return this.#projection(name).handles;
  }

  async statuses(): Promise<ProjectionStatus[]> {
    const head = await this.#store.head();
    return Promise.all(this.#projections.map((projection) => this.#statusAt(projection, head)));
  }

  /** @throws LedgerError `not-found` */
  async status(name: string): Promise<ProjectionStatus> {
    return this.#statusAt(this.#projection(name), await this.#store.head());
  }

  /** From now on it moves no further, in no process. Pausing it again changes nothing. */
  async pause(name: string, actor: string): Promise<void> {
    const { name: known } = this.#projection(name);
    await this.#database.transaction(async (tx) => {
      // A swap that is in progress must not move the position after the pause.
      await ProjectionLock.take(tx, known);
      await setPaused(tx, known, actor);
    });
    for (const generation of await liveGenerations(this.#database, known)) {
      await this.#engine.leases.revoke(generation);
    }
  }

  async resume(name: string): Promise<void> {
    await clearPaused(this.#database, this.#projection(name).name);
    this.#engine.checkForWork();
  }

  /**
   * The event at which it is stopped.
   * @throws LedgerError `projection-not-stopped`
   */
  async stopOf(name: string): Promise<Stop> {
    const stop = await readStop(
      this.#database,
      await this.#activeOrThrow(this.#projection(name).name),
    );
    if (stop !== undefined) return stop;
    throw new LedgerError(
      'projection-not-stopped',
      `The projection '${name}' is not stopped: it has no event to retry or to skip.`,
    );
  }

  /** Lets it try again the event at which it is stopped, unless that is skipped by now. */
  async clearStop(name: string, stop: Stop): Promise<void> {
    // In the generations of every release: what one cannot apply, another can hardly apply.
    for (const generation of await liveGenerations(this.#database, this.#projection(name).name)) {
      await clearStop(this.#database, generation, stop);
    }
    this.#engine.checkForWork();
  }

  /** @throws LedgerError `projection-busy` while another of it is running */
  async requestReplay(name: string, request: ReplayRequest): Promise<Replay> {
    const projection = this.#projection(name);
    const { logId } = this.#store;
    const replay = await requestReplay(this.#database, projection, logId, request);
    this.#engine.checkForWork();
    return replay;
  }

  /** @throws LedgerError `not-found` */
  async replay(kind: ReplayKind, id: string): Promise<Replay> {
    const replay = await findReplay(this.#database, kind, id);
    if (replay !== undefined) return replay;
    throw new LedgerError('not-found', `No ${kind} has this id: check the id.`);
  }

  replays(
    kind: ReplayKind,
    page: { readonly after?: ReplayPlace | undefined; readonly limit: number },
  ): Promise<Replay[]> {
    return listReplays(this.#database, kind, page);
  }

  /** False when it had ended before. What it has built is dropped. */
  async cancel(replay: Replay): Promise<boolean> {
    // The head is what it had to reach; it grows afterwards.
    const target = await this.#store.head();
    const isCancelled = await endReplay(this.#database, replay, 'cancel', { target });
    this.#engine.checkForWork();
    return isCancelled;
  }

  async head(): Promise<Position> {
    return this.#store.head();
  }

  async #statusAt(projection: Projection, head: Position): Promise<ProjectionStatus> {
    const { name, version } = projection;
    if ((await this.#active(name)) === undefined) return notAnswering({ name, version, head });
    return this.#engine.active.onActive([name], async ([generation]) =>
      generation === undefined ? undefined : this.#statusOf(projection, generation, head),
    );
  }

  /** Undefined when the generation is retired. */
  async #statusOf(
    projection: Projection,
    generation: Generation,
    head: Position,
  ): Promise<ProjectionStatus | undefined> {
    const [stop, isHeld, checkpoint, running] = await Promise.all([
      readStop(this.#database, generation),
      isPaused(this.#database, projection.name),
      readCheckpoint(this.#database, generation.schema),
      runningReplayOf(this.#database, projection),
    ]);
    const { position, readAt, updatedAt, eventsPerSecond } = checkpoint;
    if (checkpoint.isRetired) return undefined;
    const { lagEvents, lagSeconds } = await this.#lag(position, head, readAt);
    const unmovedMs = readAt.getTime() - updatedAt.getTime();
    return {
      name: projection.name,
      version: generation.version,
      generation: generation.generation,
      status: isHeld ? 'paused' : stop === undefined ? 'live' : 'stopped',
      position,
      // The head was read first: the projection may have moved on since.
      head: head > position ? head : position,
      lagEvents,
      lagSeconds,
      isStalled: lagSeconds * 1_000 > STALLED_AFTER_MS && unmovedMs > STALLED_AFTER_MS,
      isBeingBuilt: generation.version !== projection.version && running !== undefined,
      eventsPerSecond,
      lastError: stop,
    };
  }

  /**
   * Positions do not count events in every log, so the first events are read and counted, and the
   * rest is assumed to be as dense.
   */
  async #lag(
    position: Position,
    head: Position,
    now: Date,
  ): Promise<Pick<ProjectionStatus, 'lagEvents' | 'lagSeconds'>> {
    if (position >= head) return { lagEvents: 0, lagSeconds: 0 };
    for await (const batch of this.#store.readAll({ after: position, until: head })) {
      const [first] = batch.events;
      if (first === undefined) continue;
      const waitingMs = now.getTime() - first.recordedAt.getTime();
      const share = Number(head - position) / Number(batch.position - position);
      return {
        lagEvents: Math.round(batch.events.length * share),
        lagSeconds: Math.max(0, waitingMs / 1_000),
      };
    }
    return { lagEvents: 0, lagSeconds: 0 };
  }

  /** Asked anew: another process may have put another generation in its place. */
  async #active(name: string): Promise<Generation | undefined> {
    await this.#engine.active.refresh();
    return this.#engine.active.find(name);
  }

  async #activeOrThrow(name: string): Promise<Generation> {
    await this.#active(name);
    return this.#engine.active.of(name);
  }

  /** @throws LedgerError `not-found` */
  #projection(name: string): Projection {
    const projection = this.#projections.find((candidate) => candidate.name === name);
    if (projection !== undefined) return projection;
    throw new LedgerError(
      'not-found',
      `No projection is called '${name}': use one of ${this.names.join(', ')}.`,
    );
  }
}

/** The log is another one, and its first tables are still being built. */
function notAnswering(
  known: Pick<ProjectionStatus, 'name' | 'version' | 'head'>,
): ProjectionStatus {
  return {
    ...known,
    generation: 0,
    status: 'live',
    position: BEGINNING,
    lagEvents: 0,
    lagSeconds: 0,
    isStalled: true,
    isBeingBuilt: true,
    eventsPerSecond: 0,
    lastError: undefined,
  };
}
