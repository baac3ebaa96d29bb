import type { Database } from '../../database/database.ts';
import {
  BEGINNING,
  type Appended,
  type EventStore,
  type NewEvent,
  type Position,
  type Write,
} from '../../event-store/port.ts';
import { LedgerError } from '../../shared/errors.ts';
import type { AnsweringGenerations } from './answering.ts';
import { readCheckpoint } from './generations.ts';
import type { Projection } from './projection.ts';

/** How long a query waits for its read model to reach a position, unless the engine is told otherwise. */
const WAIT_FOR_MS = 5_000;
const POLL_INTERVAL_MS = 20;
/** Of one projection. Writes about those that are dropped count as about any. */
const MAX_SUBJECTS = 10_000;

interface Watched {
  readonly handles: ReadonlySet<string>;
  readonly subjectOf: ((event: NewEvent) => string | undefined) | undefined;
  /** The last event that this process appended and the projection handles. */
  ownWrite: Position;
  /** Of these, the last about each of the subjects that were written about last. */
  readonly ownWritesAbout: Map<string, Position>;
  /** What readers of any subject wait for: what is known of no one subject. */
  ownWriteAboutAny: Position;
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
  /** Waits for what was written about these subjects only. */
  readonly about?: readonly string[] | undefined;
  readonly waitForMs?: number | undefined;
}

function noteForAny(watched: Watched, position: Position): void {
  if (position > watched.ownWrite) watched.ownWrite = position;
  if (position > watched.ownWriteAboutAny) watched.ownWriteAboutAny = position;
}

function noteForSubject(watched: Watched, event: NewEvent, position: Position): void {
  const { ownWritesAbout, subjectOf } = watched;
  const subject = subjectOf?.(event);
  if (subject === undefined) return noteForAny(watched, position);
  const known = ownWritesAbout.get(subject) ?? BEGINNING;
  // Behind all others: the first of the map is then the one written about longest ago.
  ownWritesAbout.delete(subject);
  ownWritesAbout.set(subject, position > known ? position : known);
  if (ownWritesAbout.size <= MAX_SUBJECTS) return;
  for (const [oldest, its] of ownWritesAbout) {
    ownWritesAbout.delete(oldest);
    return noteForAny(watched, its);
  }
}

function ownWriteAbout(watched: Watched, subjects: readonly string[] | undefined): Position {
  if (subjects === undefined) return watched.ownWrite;
  return subjects
    .map((subject) => watched.ownWritesAbout.get(subject) ?? BEGINNING)
    .reduce((newest, its) => (its > newest ? its : newest), watched.ownWriteAboutAny);
}

/**
 * How far read models are, and waiting for them. A runner in this process tells at once; one in
 * another process is asked through the checkpoint, for as long as somebody waits.
 */
export class Freshness {
  readonly #database: Database;
  readonly #watched = new Map<string, Watched>();
  readonly #answering: Pick<AnsweringGenerations, 'of' | 'isMoving'>;
  readonly #hurry: (projection: string) => void;
  readonly #waitForMs: number;
  readonly #appendListeners: ((write: Write, position: Position) => void)[] = [];

  constructor(
    database: Database,
    projections: readonly Projection[],
    answering: Pick<AnsweringGenerations, 'of' | 'isMoving'>,
    hurry: (projection: string) => void,
    waitForMs = WAIT_FOR_MS,
  ) {
    this.#database = database;
    this.#answering = answering;
    this.#hurry = hurry;
    this.#waitForMs = waitForMs;
    for (const { name, handles, subjectOf } of projections) {
      this.#watched.set(name, {
        handles: new Set(handles),
        subjectOf,
        ownWrite: BEGINNING,
        ownWritesAbout: new Map(),
        ownWriteAboutAny: BEGINNING,
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

  /** The last event that this process wrote (about some subjects), and the projection handles. */
  ownWrite(projection: string, about?: readonly string[]): Position {
    return ownWriteAbout(this.#watch(projection), about);
  }

  /** Calls `listener` for each write that this process appends, before the append is answered. */
  onAppended(listener: (write: Write, position: Position) => void): void {
    this.#appendListeners.push(listener);
  }

  /** The log, with note taken of what this process writes. */
  tracking(store: EventStore): EventStore {
    return {
      logId: store.logId,
      append: async (writes) => {
        const answers = await store.append(writes);
        for (const [index, answer] of answers.entries()) this.#note(writes[index], answer);
        return answers;
      },
      readStream: (stream, options) => store.readStream(stream, options),
      readAll: (options) => store.readAll(options),
      subscribe: (options) => store.subscribe(options),
      head: () => store.head(),
      end: () => store.end(),
      positionAt: (time) => store.positionAt(time),
    };
  }

  /** What an earlier process acknowledged counts as this one's: its clients do not know of the restart. */
  inherit(projection: string, position: Position): void {
    noteForAny(this.#watch(projection), position);
  }

  /** A position that this process has answered as the outcome of a command, which another may have run. */
  answered(position: Position): void {
    for (const watched of this.#watched.values()) {
      noteForAny(watched, position);
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
   * Waits until the read model holds what this process wrote (about some subjects, if `about` says
   * which), and `position` if one is given.
   * @throws LedgerError `read-model-behind` when that takes too long.
   */
  async reached(
    projection: string,
    position: Position = BEGINNING,
    { about, waitForMs = this.#waitForMs }: WaitOptions = {},
  ): Promise<void> {
    const watched = this.#watch(projection);
    // Tables that nobody moves on will not hold it, however long one waits: they say how old they are.
    const isMoving = this.#answering.isMoving(projection);
    const ownWrite = isMoving ? ownWriteAbout(watched, about) : BEGINNING;
    const target = position > ownWrite ? position : ownWrite;
    if (watched.checkpoint >= target) return;
    let waiter: Waiter | undefined;
    let timer: NodeJS.Timeout | undefined;
    const reached = new Promise<boolean>((resolve) => {
      waiter = { position: target, resolve: () => resolve(true) };
      timer = setTimeout(() => resolve(false), waitForMs);
      watched.waiters.add(waiter);
    });
    this.#hurry(projection);
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
   * Waits until several read models hold what this process wrote to any of them: what is read of
   * them together is then not older in one than in the other.
   * @throws LedgerError `read-model-behind`
   */
  async allReached(projections: readonly string[], position: Position = BEGINNING): Promise<void> {
    const writes = projections
      .filter((projection) => this.#answering.isMoving(projection))
      .map((projection) => this.#watch(projection).ownWrite);
    const target = writes.reduce((newest, write) => (write > newest ? write : newest), position);
    await Promise.all(projections.map((projection) => this.reached(projection, target)));
  }

  #note(write: Write | undefined, answer: Appended): void {
    if (write === undefined || answer.outcome !== 'appended') return;
    for (const listener of this.#appendListeners) listener(write, answer.position);
    for (const watched of this.#watched.values()) {
      const handled = write.events.filter(({ type }) => watched.handles.has(type));
      if (handled.length === 0) continue;
      if (answer.position > watched.ownWrite) watched.ownWrite = answer.position;
      for (const event of handled) noteForSubject(watched, event, answer.position);
    }
  }

  #poll(projection: string, watched: Watched): void {
    if (watched.polling !== undefined || watched.waiters.size === 0) return;
    watched.polling = setTimeout(() => {
      void this.#readCheckpoint(projection)
        // Away, or not made yet: whoever waits is told when the time is up.
        .catch(() => undefined)
        .finally(() => {
          watched.polling = undefined;
          this.#poll(projection, watched);
        });
    }, POLL_INTERVAL_MS);
  }

  async #readCheckpoint(projection: string): Promise<void> {
    const { schema } = this.#answering.of(projection);
    const { position } = await readCheckpoint(this.#database, schema);
    // Other tables may answer by now, which do not stand there yet.
    if (this.#answering.of(projection).schema === schema) this.moved(projection, position);
  }

  #watch(projection: string): Watched {
    const watched = this.#watched.get(projection);
    if (watched === undefined) throw new Error(`no projection is called ${projection}`);
    return watched;
  }
}
