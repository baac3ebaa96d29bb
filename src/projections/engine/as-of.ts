import { formatPosition, parsePosition } from '../../event-store/position.ts';
import type { EventStore, Position } from '../../event-store/port.ts';
import { LedgerError } from '../../shared/errors.ts';

const RFC3339 = /^\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}(\.\d+)?([Zz]|[+-]\d{2}:\d{2})$/;

/** Positions as clients write them: of this log, by themselves or by a time. */
export class Positions {
  readonly #store: EventStore;

  constructor(store: EventStore) {
    this.#store = store;
  }

  format(position: Position): string {
    return formatPosition(this.#store.logId, position);
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
    if (!RFC3339.test(text)) return this.parse(text);
    const time = new Date(text.replace(' ', 'T'));
    if (Number.isNaN(time.getTime())) {
      throw new LedgerError(
        'validation-failed',
        `'${text}' is no time: send one as RFC 3339 has it.`,
      );
    }
    return this.#store.positionAt(time);
  }
}
