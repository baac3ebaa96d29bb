import { formatPosition, parsePosition } from '../../event-store/position.ts';
import { BEGINNING, type EventStore, type Position } from '../../event-store/port.ts';
import { LedgerError } from '../../shared/errors.ts';
import { canonicalTime } from '../../shared/time.ts';

const RFC3339 = /^(\d{4}-\d{2}-\d{2})T([01]\d|2[0-3]):\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2})$/;

/** Positions as clients write them: of this log, by themselves or by a time. */
export class Positions {
  readonly #store: EventStore;

  constructor(store: EventStore) {
    this.#store = store;
  }

  format(position: Position): string {
    return formatPosition(this.#store.logId, position);
  }

  /** A position that was kept as text. */
  formatText(position: string): string {
    return this.format(BigInt(position) as Position);
  }

  /** @throws LedgerError `validation-failed`, `position-of-another-log` */
  parse(text: string): Position {
    return parsePosition(this.#store.logId, text);
  }

  /**
   * `as_of`: a time is turned into the position of the last event recorded by then, once, and
   * everything answers by position.
   * @throws LedgerError as `parse`
   */
  async asOf(text: string): Promise<Position> {
    const time = timeIn(text);
    return time === undefined ? this.parse(text) : this.#store.positionAt(time);
  }

  /**
   * `as_of` with its time: that of the event at a position which is given as such; undefined when there is none.
   * @throws LedgerError as `parse`
   */
  async momentOf(text: string): Promise<{ position: Position; time: Date | undefined }> {
    const position = await this.asOf(text);
    const time = timeIn(text);
    if (time !== undefined || position === BEGINNING) return { position, time };
    const after = (position - 1n) as Position;
    for await (const { events } of this.#store.readAll({ after, until: position })) {
      const [event] = events;
      if (event !== undefined) return { position, time: event.recordedAt };
    }
    return { position, time };
  }

  /**
   * Where to begin so that the first that follows is at a position, or recorded at a time, or later.
   * @throws LedgerError as `parse`
   */
  async before(text: string | undefined): Promise<Position> {
    if (text === undefined) return BEGINNING;
    const time = timeIn(text);
    // The log's own times have milliseconds.
    if (time !== undefined) return this.#store.positionAt(new Date(time.getTime() - 1));
    const position = this.parse(text);
    return position === BEGINNING ? BEGINNING : ((position - 1n) as Position);
  }
}

/**
 * The time that a text gives; undefined when it is no time at all.
 * @throws LedgerError `validation-failed` for one that looks like a time, and is none
 */
function timeIn(text: string): Date | undefined {
  const canonical = canonicalTime(text);
  const [, day] = RFC3339.exec(canonical) ?? [];
  if (day === undefined) return undefined;
  const time = new Date(canonical);
  if (!isDay(day) || Number.isNaN(time.getTime())) {
    throw new LedgerError(
      'validation-failed',
      `'${text}' is no time: send one as RFC 3339 has it.`,
    );
  }
  return time;
}

/** Whether the calendar has it: `Date` reads the 30th of February as the 2nd of March. */
function isDay(day: string): boolean {
  const start = new Date(`${day}T00:00:00Z`);
  return !Number.isNaN(start.getTime()) && start.toISOString().startsWith(day);
}
