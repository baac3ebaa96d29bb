import type { Database } from '../../../database/database.ts';
import { BEGINNING, type NewEvent, type Position, type Write } from '../../../event-store/port.ts';
import { INSTALLATION_PROJECT, parseStreamName } from '../../../event-store/stream-name.ts';
import { LedgerError } from '../../../shared/errors.ts';
import type { ActiveGenerations } from './active-generations.ts';
import { readCheckpoint } from '../generations/checkpoint.ts';
import { LastWrites } from './last-writes.ts';
import type { Projection } from '../projection.ts';

/**
 * How long a query waits by default until its read model has reached a position.
 */
const WAIT_FOR_MS = 5_000;
const POLL_INTERVAL_MS = 20;

interface Watched {
  readonly handles: ReadonlySet<string>;
  readonly subjectOf: ((event: NewEvent) => string | undefined) | undefined;
  /** The last event that this process appended and the projection handles. */
  ownWrite: Position;
  /** The last of these events in each project. */
  readonly ownWritesIn: LastWrites;
  /**
   * The last of these events about each subject. The entry of a project is the last of its events
   * that is not about one subject.
   */
  readonly ownWritesAbout: LastWrites;
  /** What is known of the checkpoint; it may be further. */
  checkpoint: Position;
  /** The newest that was answered from it. */
  shown: Position;
  readonly waiters: Set<Waiter>;
  polling: NodeJS.Timeout | undefined;
}

interface Waiter {
  readonly position: Position;
  readonly resolve: () => void;
}

export interface WaitOptions {
  /** Waits for what was written in this project only. */
  readonly projectId?: string | undefined;
  /** Waits for what was written about these subjects of the project only. */
  readonly about?: readonly string[] | undefined;
  readonly waitForMs?: number | undefined;
}

function noteForAny(watched: Watched, position: Position): void {
  if (position > watched.ownWrite) watched.ownWrite = position;
  watched.ownWritesIn.noteAny(position);
  watched.ownWritesAbout.noteAny(position);
}

/** @param subject undefined: what was written may be about any subject of the project. */
function noteInProject(
  watched: Watched,
  projectId: string,
  subject: string | undefined,
  position: Position,
): void {
  // An event of the installation may show in any project.
  if (projectId === INSTALLATION_PROJECT) return noteForAny(watched, position);
  if (position > watched.ownWrite) watched.ownWrite = position;
  watched.ownWritesIn.note(projectId, position);
  watched.ownWritesAbout.note(subject ?? projectId, position);
}

function noteEvent(watched: Watched, event: NewEvent, stream: string, position: Position): void {
  const subject = watched.subjectOf?.(event);
  const { projectId } = event.metadata;
  // Read models take the project from the stream or from the metadata. Where the two differ, both
  // projects may show the event.
  const itsProject = parseStreamName(stream)?.projectId ?? INSTALLATION_PROJECT;
  for (const project of new Set([projectId, itsProject])) {
    noteInProject(watched, project, subject, position);
  }
}

function ownWriteFor(watched: Watched, { projectId, about }: WaitOptions): Position {
  if (projectId === undefined) return watched.ownWrite;
  const inProject = watched.ownWritesIn.to([projectId]);
  if (about === undefined) return inProject;
  const aboutSubjects = watched.ownWritesAbout.to([...about, projectId]);
  return aboutSubjects < inProject ? aboutSubjects : inProject;
}

/**
 * Knows how far read models are, and waits for them. A runner in this process reports at once; for
 * one in another process, the checkpoint is read again and again while a query waits.
 */
export class Freshness {
  readonly #database: Database;
  readonly #watched = new Map<string, Watched>();
  readonly #active: Pick<ActiveGenerations, 'of' | 'onActive' | 'isMoving'>;
  readonly #wake: (projection: string) => void;
  readonly #waitForMs: number;

  constructor(
    database: Database,
    projections: readonly Projection[],
    active: Pick<ActiveGenerations, 'of' | 'onActive' | 'isMoving'>,
    wake: (projection: string) => void,
    waitForMs = WAIT_FOR_MS,
  ) {
    this.#database = database;
    this.#active = active;
    this.#wake = wake;
    this.#waitForMs = waitForMs;
    for (const { name, handles, subjectOf } of projections) {
      this.#watched.set(name, {
        handles: new Set(handles),
        subjectOf,
        ownWrite: BEGINNING,
        ownWritesIn: new LastWrites(),
        ownWritesAbout: new LastWrites(),
        checkpoint: BEGINNING,
        shown: BEGINNING,
        waiters: new Set(),
        polling: undefined,
      });
    }
  }

  /** The newest position that this process has written, or seen in a checkpoint. */
  get newestKnown(): Position {
    let newest = BEGINNING;
    for (const { ownWrite, checkpoint } of this.#watched.values()) {
      if (ownWrite > newest) newest = ownWrite;
      if (checkpoint > newest) newest = checkpoint;
    }
    return newest;
  }

  /**
   * The last event that this process wrote, as far as `wait` asks for it, and the projection
   * handles.
   */
  ownWrite(projection: string, wait: WaitOptions = {}): Position {
    return ownWriteFor(this.#watch(projection), wait);
  }

  /** Notes a write that this process appended. */
  appended(write: Write, position: Position): void {
    for (const watched of this.#watched.values()) {
      const handled = write.events.filter(({ type }) => watched.handles.has(type));
      for (const event of handled) noteEvent(watched, event, write.stream, position);
    }
  }

  /**
   * Counts what an earlier process acknowledged as written by this one: clients do not know that it
   * was restarted.
   */
  inherit(projection: string, position: Position): void {
    noteForAny(this.#watch(projection), position);
  }

  /**
   * A position that this process has answered to a caller of a project as the outcome of a command,
   * which another process may have run.
   */
  answered(position: Position, projectId: string): void {
    for (const watched of this.#watched.values()) {
      noteInProject(watched, projectId, undefined, position);
    }
  }

  moved(projection: string, checkpoint: Position): void {
    const watched = this.#watch(projection);
    watched.checkpoint = checkpoint;
    for (const waiter of watched.waiters) {
      if (waiter.position <= checkpoint) waiter.resolve();
    }
  }

  /** Another generation answers from now on. It must not answer less than the one before has. */
  changed(projection: string): void {
    const watched = this.#watch(projection);
    noteForAny(watched, watched.shown);
    watched.checkpoint = BEGINNING;
  }

  /** A position that was given with rows of the projection. */
  shown(projection: string, position: Position): void {
    const watched = this.#watch(projection);
    if (position > watched.shown) watched.shown = position;
  }

  isAwaited(projection: string): boolean {
    return this.#watch(projection).waiters.size > 0;
  }

  /**
   * Waits until the read model holds what this process wrote (in a project and about some subjects,
   * if `wait` says which), and `position` if one is given.
   * @throws LedgerError `read-model-behind` when that takes too long.
   */
  async reached(
    projection: string,
    position: Position = BEGINNING,
    wait: WaitOptions = {},
  ): Promise<void> {
    const watched = this.#watch(projection);
    // Waiting is useless where no process applies events: the answer then says how old it is.
    const isMoving = this.#active.isMoving(projection);
    const ownWrite = isMoving ? ownWriteFor(watched, wait) : BEGINNING;
    const target = position > ownWrite ? position : ownWrite;
    if (watched.checkpoint >= target) return;
    let waiter: Waiter | undefined;
    let timer: NodeJS.Timeout | undefined;
    const reached = new Promise<boolean>((resolve) => {
      waiter = { position: target, resolve: () => resolve(true) };
      timer = setTimeout(() => resolve(false), wait.waitForMs ?? this.#waitForMs);
      watched.waiters.add(waiter);
    });
    this.#wake(projection);
    this.#poll(projection, watched);
    const isReached = await reached;
    clearTimeout(timer);
    if (waiter !== undefined) watched.waiters.delete(waiter);
    if (isReached) return;
    throw new LedgerError(
      'read-model-behind',
      `The read model '${projection}' has not reached this position yet: try again in a moment.`,
    );
  }

  /**
   * Waits as `reached`, until several read models hold what this process wrote to any of them. A
   * query that joins them then does not see a newer state in one than in another.
   * @throws LedgerError `read-model-behind`
   */
  async allReached(
    projections: readonly string[],
    position: Position = BEGINNING,
    wait: WaitOptions = {},
  ): Promise<void> {
    const writes = projections
      .filter((projection) => this.#active.isMoving(projection))
      .map((projection) => this.ownWrite(projection, wait));
    const target = writes.reduce((newest, write) => (write > newest ? write : newest), position);
    await Promise.all(projections.map((projection) => this.reached(projection, target, wait)));
  }

  #poll(projection: string, watched: Watched): void {
    if (watched.polling !== undefined || watched.waiters.size === 0) return;
    watched.polling = setTimeout(() => {
      void this.#readCheckpoint(projection)
        // The database is unavailable or the tables do not exist yet: the wait ends when
        // its time is over.
        .catch(() => undefined)
        .finally(() => {
          watched.polling = undefined;
          this.#poll(projection, watched);
        });
    }, POLL_INTERVAL_MS);
  }

  async #readCheckpoint(projection: string): Promise<void> {
    const { generation, position } = await this.#active.onActive([projection], async ([active]) => {
      if (active === undefined) return undefined;
      const checkpoint = await readCheckpoint(this.#database, active.schema);
      return checkpoint.isRetired ? undefined : { ...active, ...checkpoint };
    });
    // Another generation may be active by now, which may not have reached this position.
    if (this.#active.of(projection).generation === generation) this.moved(projection, position);
  }

  #watch(projection: string): Watched {
    const watched = this.#watched.get(projection);
    if (watched === undefined) throw new Error(`no projection is called ${projection}`);
    return watched;
  }
}
