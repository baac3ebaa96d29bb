import type { RecordedUsage, RecordName } from '../commands/usage/commands.ts';

/** More than a few records without ids: an older release may have read one or two otherwise. */
const MANY_WITHOUT_IDS = 3;
const MANY_IN_A_ROW = 20;

/**
 * Counts the records that are refused because other records have their names, and warns when these
 * are many.
 */
export class Refusals {
  #withoutIds = 0;
  #inARow = 0;

  note(outcome: RecordedUsage['outcome'], named: RecordName['kind']): void {
    if (outcome !== 'refused') this.#inARow = 0;
    else if (named === 'message') this.#withoutIds += 1;
    else this.#inARow += 1;
  }

  /** What is wrong with the topic; undefined while nothing is. */
  get warning(): string | undefined {
    // It stays: what was refused is not recorded until somebody sees to it.
    if (this.#withoutIds >= MANY_WITHOUT_IDS) {
      return (
        `${this.#withoutIds} records without ids were refused, since the topic had other records ` +
        'at their offsets before. If the topic was recreated, set KAFKA_SOURCE to another name ' +
        'and reset the consumer group.'
      );
    }
    if (this.#inARow >= MANY_IN_A_ROW) {
      return (
        `The last ${this.#inARow} records were refused, since their ids were used before by ` +
        'other records. See GET /usage/rejected.'
      );
    }
    return undefined;
  }
}
