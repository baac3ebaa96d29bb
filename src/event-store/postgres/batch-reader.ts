import type { Queryable } from '../../database/database.ts';
import type { Batch, Position } from '../port.ts';
import { RECORDED_COLUMNS, recordedEvent, type RecordedRow } from './recorded-row.ts';

const MAX_WINDOW = 2_000;
const FIRST_WINDOW = 200;
/** In characters of JSON: what a batch should hold at most, whatever the size of the events. */
const TARGET_SIZE = 2 * 1024 * 1024;

/**
 * Reads the log by windows of positions. Positions are dense, so a window is a bounded number of
 * events; its width follows the size of what the last one held, so that memory is bounded by bytes.
 */
export class BatchReader {
  readonly #database: Queryable;
  readonly #types: readonly string[] | undefined;
  #window = FIRST_WINDOW;

  constructor(database: Queryable, types: readonly string[] | undefined) {
    this.#database = database;
    this.#types = types;
  }

  /** The batch after a position, undefined at the head. */
  async read(after: Position, until?: Position): Promise<Batch | undefined> {
    const [head] = await this.#database.query<{ head: bigint | null }>({
      name: 'batch-end',
      text: `
        select max(position) as head
        from ledger.events
        where position > $1 /* after */
          and position <= $2 /* window end */`,
      values: [after, windowEnd(after, this.#window, until)],
    });
    const end = head?.head ?? null;
    if (end === null) return undefined;
    const rows = await this.#database.query<RecordedRow>({
      name: this.#types === undefined ? 'batch' : 'batch-of-types',
      text: `
        select ${RECORDED_COLUMNS}
        from ledger.events e
        where e.position > $1 /* after */
          and e.position <= $2 /* end */
          ${this.#types === undefined ? '' : 'and e.type = any($3 /* types */)'}
        order by e.position`,
      values: this.#types === undefined ? [after, end] : [after, end, this.#types],
    });
    this.#adapt(rows);
    return { events: rows.map(recordedEvent), position: end as Position };
  }

  #adapt(rows: readonly RecordedRow[]): void {
    const size = rows.reduce((sum, row) => sum + row.data.length + row.metadata.length, 0);
    if (size > TARGET_SIZE) this.#window = Math.max(1, Math.floor(this.#window / 4));
    else if (size < TARGET_SIZE / 4) this.#window = Math.min(MAX_WINDOW, this.#window * 2);
  }
}

function windowEnd(after: Position, window: number, until: Position | undefined): bigint {
  const end = after + BigInt(window);
  return until !== undefined && until < end ? until : end;
}
