import { formatPosition, isPositionText, parsePosition } from './position-text.ts';
import { BEGINNING, type EventStore, type Position } from './port.ts';
import { LedgerError } from '../shared/errors.ts';
import { canonicalTime } from '../shared/time.ts';
import { sleep } from '../shared/sleep.ts';

const RFC3339 = /^(\d{4}-\d{2}-\d{2})T([01]\d|2[0-3]):\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2})$/;
const DATE = /^\d{4}-\d{2}-\d{2}$/;

/**
 * How long a position beyond the visible end is looked for again: a node that is not the leader of
 * its cluster shows an event a moment after the event was acknowledged.
 */
const END_GRACE_MS = 500;
const END_POLL_MS = 50;

/** What `as_of` stands for. */
export interface AsOf {
  readonly position: Position;
  /** The time that was given; undefined where a position was. */
  readonly time: Date | undefined;
}

/** Positions of this log as clients write them, as such or as a time. */
export class Positions {
  readonly #store: EventStore;
  /** The log is known to reach up to here. */
  #reached: Position = BEGINNING;

  constructor(store: EventStore) {
    this.#store = store;
  }

  /** The id of the log in positions and cursors. */
  get logId(): string {
    return this.#store.logId;
  }

  format(position: Position): string {
    return formatPosition(this.#store.logId, position);
  }

  /** Formats a position that was stored as a decimal number. */
  formatText(position: string): string {
    return this.format(BigInt(position) as Position);
  }

  /**
   * @throws LedgerError `validation-failed`; `position-of-another-log`, also for a position beyond
   * the
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
      await sleep(END_POLL_MS);
    }
  }

  /**
   * Resolves `as_of`: a time or a date becomes the position of the last event recorded by then,
   * once, and everything answers by position. A date stands for the end of that day in UTC.
   * @throws LedgerError as `parse`
   */
  async asOf(text: string): Promise<AsOf> {
    const span = spanIn(text);
    return span === undefined
      ? { position: await this.parse(text), time: undefined }
      : { position: await this.#store.positionAt(span.last), time: span.last };
  }

  /** When the event at a position was recorded; undefined when there is none. */
  async timeOf(position: Position): Promise<Date | undefined> {
    if (position === BEGINNING) return undefined;
    const after = (position - 1n) as Position;
    for await (const { events } of this.#store.readAll({ after, until: position })) {
      const [event] = events;
      if (event !== undefined) return event.recordedAt;
    }
    return undefined;
  }

  /**
   * The position to read after, so that the first event is at the given position, or recorded at
   * the given time, or later. A date stands for the start of that day in UTC.
   * @throws LedgerError as `parse`
   */
  async before(text: string | undefined): Promise<Position> {
    if (text === undefined) return BEGINNING;
    const span = spanIn(text);
    if (span !== undefined) return this.#store.positionAt(new Date(span.first.getTime() - 1));
    const position = await this.parse(text);
    return position === BEGINNING ? BEGINNING : ((position - 1n) as Position);
  }
}

function beyondEnd(): LedgerError {
  return new LedgerError(
    'position-of-another-log',
    'The position is beyond the end of the log: send one that an answer gave in ' +
      'Fleetledger-Position.',
  );
}

/**
 * The first and the last millisecond that a text stands for. The times of the log have
 * milliseconds.
 */
interface Span {
  readonly first: Date;
  readonly last: Date;
}

/**
 * The span of a time, or of a date: the whole day in UTC. Undefined for a position, whose log is
 * not checked here.
 * @throws LedgerError `validation-failed` for a text that is none of the three
 */
function spanIn(text: string): Span | undefined {
  if (isPositionText(text)) return undefined;
  const canonical = canonicalTime(text);
  const [, day] = RFC3339.exec(canonical) ?? [];
  if (day !== undefined && isDay(day)) {
    const time = new Date(canonical);
    if (!Number.isNaN(time.getTime())) return { first: time, last: time };
  }
  if (DATE.test(text) && isDay(text)) {
    return { first: new Date(`${text}T00:00:00.000Z`), last: new Date(`${text}T23:59:59.999Z`) };
  }
  throw new LedgerError(
    'validation-failed',
    `'${text.slice(0, 64)}' is not a time, a date or a position: send a time such as ` +
      '2026-11-27T04:00:00Z, a date such as 2026-11-27, or a position as an answer gave it ' +
      'in Fleetledger-Position.',
  );
}

/** Whether the calendar has it: `Date` reads the 30th of February as the 2nd of March. */
function isDay(day: string): boolean {
  const start = new Date(`${day}T00:00:00Z`);
  return !Number.isNaN(start.getTime()) && start.toISOString().startsWith(day);
}
