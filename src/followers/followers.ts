import type { EventStore, Position, RecordedEvent } from '../event-store/port.ts';
import { SharedFeed } from '../event-store/shared-feed.ts';
import { publishedTypes } from '../events/published.ts';
import { FairSlots } from '../shared/fair-slots.ts';
import type { JsonObject } from '../shared/json.ts';
import { entryOf, type Entry } from './entry.ts';
import type { EventStream } from './event-stream.ts';
import { Selection, type Filter } from './selection.ts';

/**
 * What comes within this time is passed on together: a thousand streams are then written to 20
 * times a second.
 */
const PAUSE_MS = 50;
/** Each follower that catches up holds up to 2 MiB of events and a connection to the database. */
const CATCH_UP = { slots: 4, slotsPerShare: 2 };
/** In characters. A stream is given about so much at once. */
const WRITTEN_AT_ONCE = 16_384;
/**
 * A page is given after this time with what was found, however little of the log it has looked at.
 */
const PAGE_SEARCH_MS = 2_000;

/** Entries, and how far the log was looked at for them. */
export interface EntryPage {
  readonly entries: readonly Entry[];
  readonly position: Position;
  /** Whether there may be more after `position` by now. */
  readonly hasMore: boolean;
}

export interface PageQuery {
  readonly filter: Filter;
  readonly after: Position;
  readonly limit: number;
}

/**
 * Passes the events of the log on to any number of followers. One reading of the log serves all of
 * them.
 */
export class Followers {
  readonly feed: SharedFeed;
  readonly #store: EventStore;
  readonly #format: (position: Position) => string;
  readonly #slots = new FairSlots(CATCH_UP);
  /** An entry is written for all streams once. */
  readonly #texts = new WeakMap<Entry, string>();

  constructor(store: EventStore, format: (position: Position) => string) {
    this.#store = store;
    this.#format = format;
    this.feed = new SharedFeed(store, publishedTypes, {
      pauseMs: PAUSE_MS,
      catchUpSlots: this.#slots,
    });
  }

  head(): Promise<Position> {
    return this.#store.head();
  }

  /** The answer for clients. */
  shown(entry: Entry): JsonObject {
    return { position: this.#format(entry.position), ...entry.shown };
  }

  /** Writes to a stream what a filter selects after a position, until the stream ends. */
  async stream(stream: EventStream, filter: Filter, after: Position): Promise<void> {
    const { signal } = stream;
    const selection = await Selection.after(this.#store, filter, after);
    let position = after;
    while (!signal.aborted) {
      for await (const batch of this.#subscribe(filter, selection.types, position, signal)) {
        const written = await this.#writeBatch(stream, selection, batch.events);
        position = written ?? batch.position;
        // Held meanwhile, the events of each reader that does not keep up would fill the memory: it
        // lets go of them, and reads the log again from where it stands.
        if (written !== undefined) break;
        await stream.write('', this.#format(position));
      }
      await stream.drained();
    }
  }

  /**
   * The position up to which was written, when the reader did not keep up; undefined when all was.
   */
  async #writeBatch(
    stream: EventStream,
    selection: Selection,
    events: readonly RecordedEvent[],
  ): Promise<Position | undefined> {
    let text = '';
    for (const [index, event] of events.entries()) {
      const entry = entryOf(event);
      if (entry !== undefined && selection.has(entry)) text += this.#textOf(entry);
      const isLast = index === events.length - 1;
      if (text === '' || (!isLast && text.length < WRITTEN_AT_ONCE)) continue;
      const isTaken = await stream.write(text, this.#format(event.position), event.recordedAt);
      if (!isTaken) return event.position;
      text = '';
    }
    return undefined;
  }

  /**
   * The positions of batches that hold an event of the filter, which may have changed an answer.
   * Between two of them nothing is held, neither events nor a turn to catch up.
   */
  async *changes(filter: Filter, after: Position, signal: AbortSignal): AsyncIterable<Position> {
    const selection = await Selection.after(this.#store, filter, after);
    let position = after;
    while (!signal.aborted) {
      let isChanged = false;
      for await (const batch of this.#subscribe(filter, selection.types, position, signal)) {
        position = batch.position;
        const entries = batch.events.flatMap((event) => entryOf(event) ?? []);
        // Each must be looked at, as it may change what is linked.
        isChanged = entries.filter((entry) => selection.has(entry)).length > 0;
        if (isChanged) break;
      }
      if (isChanged) yield position;
    }
  }

  /** The next entries of a filter that are in the log already. */
  async page({ filter, after, limit }: PageQuery): Promise<EntryPage> {
    return await this.#slots.run(shareOf(filter), async () => {
      const selection = await Selection.after(this.#store, filter, after);
      const endsAtMs = performance.now() + PAGE_SEARCH_MS;
      const entries: Entry[] = [];
      let position = after;
      for await (const batch of this.#store.readAll({ after, types: selection.types })) {
        for (const event of batch.events) {
          const entry = entryOf(event);
          if (entry !== undefined && selection.has(entry)) entries.push(entry);
          if (entries.length === limit) return { entries, position: event.position, hasMore: true };
        }
        position = batch.position;
        if (performance.now() > endsAtMs) return { entries, position, hasMore: true };
      }
      return { entries, position, hasMore: false };
    });
  }

  /** As `page`, but waits for the first entry where there is none yet, until aborted. */
  async nextPage(query: PageQuery & { readonly signal: AbortSignal }): Promise<EntryPage> {
    const { filter, limit, signal } = query;
    let { entries, position, hasMore }: EntryPage = await this.page(query);
    if (entries.length > 0 || hasMore) return { entries, position, hasMore };
    const selection = await Selection.after(this.#store, filter, position);
    for await (const batch of this.#subscribe(filter, selection.types, position, signal)) {
      const found = batch.events.flatMap((event) => entryOf(event) ?? []);
      entries = found.filter((entry) => selection.has(entry));
      position = batch.position;
      if (entries.length === 0) continue;
      const last = entries[limit - 1];
      hasMore = last !== undefined && entries.length > limit;
      return { entries: entries.slice(0, limit), position: last?.position ?? position, hasMore };
    }
    return { entries: [], position, hasMore: false };
  }

  #subscribe(
    filter: Filter,
    types: readonly string[],
    after: Position,
    signal: AbortSignal,
  ): ReturnType<SharedFeed['subscribe']> {
    return this.feed.subscribe({ after, types, signal, share: shareOf(filter) });
  }

  #textOf(entry: Entry): string {
    let text = this.#texts.get(entry);
    if (text === undefined) {
      const data = JSON.stringify(this.shown(entry));
      text = `id: ${this.#format(entry.position)}\nevent: ${entry.type}\ndata: ${data}\n\n`;
      this.#texts.set(entry, text);
    }
    return text;
  }
}

function shareOf({ projectId = '' }: Filter): string {
  return projectId;
}
