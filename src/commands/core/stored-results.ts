import { requestsContract } from '../../events/requests.ts';
import { revisionBeyond } from '../../event-store/log-went-back.ts';
import type { EventStore, NewEvent, Position, RecordedEvent } from '../../event-store/port.ts';
import { formatPosition } from '../../event-store/position-text.ts';
import type { StreamName } from '../../event-store/stream-name.ts';
import type { Json } from '../../shared/json.ts';
import type { KeyKind } from '../tenancy/api-keys.ts';
import { appendOne } from './append.ts';
import {
  apartIfLarge,
  PartsOfValues,
  positionHere,
  refuseOther,
  requestEvent,
  type RequestOrigin,
} from './request-events.ts';

/** What became of one item of a request. */
export interface ItemOutcome {
  readonly result: Json;
  /** Whether a repetition of the request is answered the same; otherwise it runs the item again. */
  readonly isFinal: boolean;
  readonly position?: Position | undefined;
  /** A key that the result shows. */
  readonly shownKey?: ShownItemKey;
}

/** A key that the result of an item shows, and how its secret is derived again. */
export interface ShownItemKey {
  readonly kind: KeyKind;
  readonly keyId: string;
  readonly label: string;
}

/** The next items of a request. */
export interface ItemPart {
  readonly count: number;
  /** The content of the items, where the digest of the request does not cover it. */
  readonly digest?: string;
}

/** Runs the items at these places of a part, and gives an outcome for each of them. */
export type RunItems = (places: readonly number[]) => Promise<readonly ItemOutcome[]>;

/** The results of the items of one request, part by part. */
export interface ItemResults {
  /** How many items the next part has, where an earlier run of the request has reserved it. */
  nextPartSize(): Promise<number | undefined>;
  /**
   * The outcomes of the next items. Those that have a final one already are not run.
   * @throws LedgerError `idempotency-key-reused` for other items than those of the first time;
   *   `store-unavailable`, `overloaded`: nothing may be given out of this part
   */
  next(part: ItemPart, run: RunItems): Promise<readonly ItemOutcome[]>;
}

/** The results of a request without an idempotency key. */
export const UNKEPT_RESULTS: ItemResults = {
  nextPartSize: () => Promise.resolve(undefined),
  next: ({ count }, run) => run(Array.from({ length: count }, (_, place) => place)),
};

const EVENTS_PER_READ = 16;
/**
 * How many results of later parts are held, so that a copy far ahead is not read once for each
 * part.
 */
const MAX_HELD_AHEAD = 10_000;

interface Reserved extends Required<ItemPart> {
  readonly first: number;
}

/**
 * Keeps the final result of every item in the stream of its request, before it is given out, so
 * that a repetition gives it again and runs only the items that never got one. In memory are the
 * results of the part that is being answered, and at most 10,000 behind it: of a copy that is
 * further ahead, the others are read again when their parts come.
 *
 * Copies of a request that run at the same time append to one stream with the expected revision.
 * The result that is kept first is the result: the copy that comes later gives out that one.
 */
export class StoredResults implements ItemResults {
  readonly #store: EventStore;
  readonly #stream: StreamName;
  readonly #origin: RequestOrigin;
  /** Whether other runs of the request append to the stream, or have. */
  #hasCopies: boolean;
  /** Whether the stream may hold events beyond those that were read. */
  #mayHoldMore: boolean;
  #revision = 0n;
  /** What the last append was refused for: the stream can be read up to there. */
  #refusedFor = 0n;
  #unread: RecordedEvent[] = [];
  /** The newest event with results that was read. */
  #lastResultsRevision = 0n;
  #first = 0;
  /** Results of this item and later ones are not held. */
  #heldUntil = 0;
  /** Where the reading resumes to find results that were not held. */
  #unheldAfter: bigint | undefined;
  readonly #reserved = new Map<number, Reserved>();
  readonly #kept = new Map<number, ItemOutcome>();
  readonly #parts = new PartsOfValues();

  constructor(
    store: EventStore,
    stream: StreamName,
    { origin, isFound }: { readonly origin: RequestOrigin; readonly isFound: boolean },
  ) {
    this.#store = store;
    this.#stream = stream;
    this.#origin = origin;
    this.#hasCopies = isFound;
    this.#mayHoldMore = isFound;
  }

  async nextPartSize(): Promise<number | undefined> {
    await this.#readUntil(() => this.#reserved.has(this.#first));
    return this.#reserved.get(this.#first)?.count;
  }

  async next({ count, digest }: ItemPart, run: RunItems): Promise<readonly ItemOutcome[]> {
    // A copy may have been answering this part while this one waited for its turn.
    this.#mayHoldMore ||= this.#hasCopies;
    this.#holdUntil(this.#first + count);
    if (digest !== undefined) await this.#reserve({ first: this.#first, count, digest });
    await this.#readUntil(() => this.#missing(count).length === 0);
    const missing = this.#missing(count);
    const unkept = new Map<number, ItemOutcome>();
    if (missing.length > 0) {
      const outcomes = await run(missing);
      for (const [index, place] of missing.entries()) {
        const outcome = outcomes[index];
        if (outcome !== undefined) unkept.set(this.#first + place, outcome);
      }
      await this.#keep(unkept);
    }
    return this.#take(count, unkept);
  }

  /** The results up to here can be held from now on: those that were passed over are read again. */
  #holdUntil(end: number): void {
    if (end <= this.#heldUntil) return;
    this.#heldUntil = end + MAX_HELD_AHEAD;
    if (this.#unheldAfter === undefined) return;
    this.#revision = this.#lastResultsRevision = this.#unheldAfter;
    this.#unheldAfter = undefined;
    this.#unread = [];
    this.#parts.forget();
    this.#mayHoldMore = true;
  }

  #missing(count: number): number[] {
    const places = Array.from({ length: count }, (_, place) => place);
    return places.filter((place) => !this.#kept.has(this.#first + place));
  }

  #take(count: number, unkept: ReadonlyMap<number, ItemOutcome>): ItemOutcome[] {
    const outcomes: ItemOutcome[] = [];
    this.#reserved.delete(this.#first);
    for (let index = this.#first; index < this.#first + count; index += 1) {
      const outcome = this.#kept.get(index) ?? unkept.get(index);
      if (outcome === undefined) throw new Error(`item ${index} has no outcome`);
      outcomes.push(outcome);
      this.#kept.delete(index);
    }
    this.#first += count;
    return outcomes;
  }

  /**
   * Before any effect of a part the log holds what its items are, as of a request that is read
   * whole.
   */
  async #reserve(part: Reserved): Promise<void> {
    for (;;) {
      await this.#readUntil(() => this.#reserved.has(part.first));
      const reserved = this.#reserved.get(part.first);
      if (reserved !== undefined) {
        refuseOther(reserved.digest, part.digest);
        return;
      }
      const data = { first: part.first, count: part.count, digest: part.digest };
      await this.#append(requestEvent(this.#origin, { type: 'RequestItemsReserved', data }));
    }
  }

  /** Keeps the final ones of some outcomes, but for those that another copy has kept meanwhile. */
  async #keep(outcomes: ReadonlyMap<number, ItemOutcome>): Promise<void> {
    let events = this.#eventsThatKeep(outcomes);
    while (events.length > 0) {
      const [event] = events;
      if (event === undefined || (await this.#append(event))) {
        events = events.slice(1);
        continue;
      }
      const before = this.#lastResultsRevision;
      await this.#readUntil(() => false);
      // Readers drop the parts of a value at the next results, whosever they are, and there may be
      // less to keep now. Otherwise the parts stay good: copies that both began again at each
      // other's parts would never end.
      if (this.#lastResultsRevision !== before) events = this.#eventsThatKeep(outcomes);
    }
    for (const [index, outcome] of outcomes) {
      if (outcome.isFinal && !this.#kept.has(index)) this.#kept.set(index, outcome);
    }
  }

  #eventsThatKeep(outcomes: ReadonlyMap<number, ItemOutcome>): readonly NewEvent[] {
    const kept = [...outcomes].filter(([index, { isFinal }]) => isFinal && !this.#kept.has(index));
    const [first, last] = [kept[0]?.[0], kept.at(-1)?.[0]];
    if (first === undefined || last === undefined) return [];
    const results: Json[] = Array.from({ length: last - first + 1 }, () => null);
    for (const [index, { result }] of kept) results[index - first] = result;
    const positions = kept.flatMap(([, { position }]) =>
      position === undefined ? [] : [position],
    );
    const newest = positions.reduce<Position | undefined>(
      (a, b) => (a === undefined || b > a ? b : a),
      undefined,
    );
    const apart = apartIfLarge(this.#origin, results);
    const answered = requestEvent(this.#origin, {
      type: 'RequestItemsAnswered',
      data: {
        first,
        ...(apart === undefined ? { results } : { results: [], resultsId: apart.id }),
        shownKeys: kept.flatMap(([index, { shownKey }]) =>
          shownKey === undefined ? [] : [{ index, ...shownKey }],
        ),
        position: newest === undefined ? null : formatPosition(this.#store.logId, newest),
      },
    });
    return [...(apart?.parts ?? []), answered];
  }

  /**
   * Whether it was appended: otherwise a copy was faster, and what it appended is to be read first.
   */
  async #append(event: NewEvent): Promise<boolean> {
    const write = { stream: this.#stream, expectedRevision: this.#revision, events: [event] };
    const appended = await appendOne(this.#store, write);
    if (appended.outcome !== 'appended') {
      this.#refusedFor = revisionBeyond(this.#stream, this.#revision, appended.actualRevision);
      this.#hasCopies = true;
      this.#mayHoldMore = true;
      return false;
    }
    this.#revision = appended.revision;
    if (event.type === 'RequestItemsReserved') this.#note(event.data as unknown as Reserved);
    return true;
  }

  #note(part: Reserved): void {
    // What is read again holds the parts that were answered meanwhile, too.
    if (part.first < this.#first) return;
    if (!this.#reserved.has(part.first)) this.#reserved.set(part.first, part);
  }

  /** Reads the stream on until `isEnough`, or to its end. */
  async #readUntil(isEnough: () => boolean): Promise<void> {
    while (!isEnough()) {
      const event = this.#unread.shift();
      if (event !== undefined) {
        this.#read(event);
        continue;
      }
      if (!this.#mayHoldMore) {
        // What was not read up to there is another application's, and counts as nothing.
        if (this.#refusedFor > this.#revision) this.#revision = this.#refusedFor;
        return;
      }
      const options = { from: this.#revision + 1n, limit: EVENTS_PER_READ };
      for await (const recorded of this.#store.readStream(this.#stream, options)) {
        this.#unread.push(recorded);
      }
      if (this.#unread.length < EVENTS_PER_READ) this.#mayHoldMore = false;
    }
  }

  #read(recorded: RecordedEvent): void {
    this.#revision = recorded.revision;
    const event = requestsContract.read(recorded);
    if (event.type === 'RequestItemsReserved') this.#note(event.data);
    if (event.type === 'RequestBodyPartKept') this.#parts.add(event.data);
    if (event.type !== 'RequestItemsAnswered') return;
    const before = this.#lastResultsRevision;
    this.#lastResultsRevision = recorded.revision;
    const { first, resultsId, shownKeys } = event.data;
    const results = (this.#parts.value(resultsId) as Json[] | undefined) ?? event.data.results;
    // Parts of a value stand before the event that it belongs to: the others belong to none.
    this.#parts.forget();
    const position = positionHere(this.#store, event.data.position, recorded) ?? undefined;
    const keys = new Map(shownKeys.map(({ index, ...shownKey }) => [index, shownKey]));
    for (const [place, result] of results.entries()) {
      const index = first + place;
      if (result === null || index < this.#first || this.#kept.has(index)) continue;
      if (index >= this.#heldUntil) {
        // With the parts of these results, which stand before them.
        this.#unheldAfter ??= before;
        break;
      }
      const shownKey = keys.get(index);
      this.#kept.set(index, {
        result,
        isFinal: true,
        position,
        ...(shownKey !== undefined && { shownKey }),
      });
    }
  }
}
