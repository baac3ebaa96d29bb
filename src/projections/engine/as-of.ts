import { setTimeout as delay } from 'node:timers/promises';
import { formatPosition, parsePosition } from '../../event-store/position.ts';
import { BEGINNING, type EventStore, type Position } from '../../event-store/port.ts';
import { LedgerError } from '../../shared/errors.ts';
import { canonicalTime } from '../../shared/time.ts';

const RFC3339 = /^(\d{4}-\d{2}-\d{2})T([01]\d|2[0-3]):\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2})$/;

/**
 * A node of a cluster that is not its leader shows an event a moment after the event was acknowledged,
 * so a position beyond the end that it sees is looked for again, this long.
 */
const END_GRACE_MS = 500;
const END_POLL_MS = 50;

/** Positions as clients write them: of this log, by themselves or by a time. */
export class Positions {
  readonly #store: EventStore;
  /** Up to here the log is known to reach. */
  #reached: Position = BEGINNING;

  constructor(store: EventStore) {
    this.#store = store;
  }

  /** What names the log in positions and cursors. */
  get logId(): string {
    return this.#store.logId;
  }

  format(position: Position): string {
    return formatPosition(this.#store.logId, position);
  }

  /** A position that was kept as text. */
  formatText(position: string): string {
    return this.format(BigInt(position) as Position);
  }

  /**
   * @throws LedgerError `validation-failed`; `position-of-another-log`, also for a position beyond the
   *   end of this one
   */
  async parse(text: string): Promise<Position> {
    const position = parsePosition(this.#store.logId, text);
    await this.requireReached(position);
    return position;
  }

  /**
   * Refuses a position beyond the end of the log: no read model would ever reach it.
   * @throws LedgerError `position-of-another-log`
   */
  async requireReached(position: Position): Promise<void> {
    const endsAtMs = performance.now() + END_GRACE_MS;
    while (position > this.#reached) {
      const end = await this.#store.end();
      if (end > this.#reached) this.#reached = end;
      if (position <= end) return;
      if (performance.now() >= endsAtMs) throw beyondEnd();
      await delay(END_POLL_MS);
    }
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
    const position = await this.parse(text);
    return position === BEGINNING ? BEGINNING : ((position - 1n) as Position);
  }
}

function beyondEnd(): LedgerError {
  return new LedgerError(
    'position-of-another-log',
    'Send a position that this ledger gave: the log ends before this one.',
  );
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
