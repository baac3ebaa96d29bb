import type { EventStore, Position, RecordedEvent } from './port.ts';
import type { StreamName } from './stream-name.ts';

export interface LogFilter {
  /** The whole name of one stream. */
  readonly stream?: string | undefined;
  readonly types?: readonly string[] | undefined;
  readonly correlationId?: string | undefined;
  /** Exclusive. */
  readonly after: Position;
  /** Inclusive. */
  readonly until: Position;
}

/** The raw log, oldest first, for who wants to see what really happened. */
export class LogReader {
  readonly #store: EventStore;

  constructor(store: EventStore) {
    this.#store = store;
  }

  head(): Promise<Position> {
    return this.#store.head();
  }

  /** `fromRevision`: where in its stream, if one is asked for, the reading may begin. */
  async *read(filter: LogFilter, fromRevision = 0n): AsyncIterable<RecordedEvent> {
    const { stream, types, correlationId, after, until } = filter;
    if (stream === undefined) {
      const batches = this.#store.readAll({
        after,
        until,
        ...(types !== undefined && { types }),
        ...(correlationId !== undefined && { correlationId }),
      });
      for await (const { events } of batches) yield* events;
      return;
    }
    // A name that no stream has is the name of one without events.
    for await (const event of this.#store.readStream(stream as StreamName, {
      from: fromRevision,
    })) {
      if (event.position > until) return;
      const isWanted =
        event.position > after &&
        (types?.includes(event.type) ?? true) &&
        (correlationId === undefined || event.metadata.correlationId === correlationId);
      if (isWanted) yield event;
    }
  }
}
