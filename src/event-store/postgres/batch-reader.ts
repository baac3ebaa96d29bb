import type { Queryable } from '../../database/database.ts';
import { sql } from '../../database/sql.ts';
import type { Batch, Position, ReadAllOptions } from '../port.ts';
import { RECORDED_COLUMNS, recordedEvent, type RecordedRow } from './recorded-row.ts';

const MAX_WINDOW = 5_000;
const FIRST_WINDOW = 200;
/**
 * In bytes of data: a batch ends with the event that reaches it, whatever the size of the events.
 */
const TARGET_SIZE = 2 * 1024 * 1024;

/**
 * Reads the log by windows of positions. Positions are dense, so a window is a bounded number of
 * events. Its bytes are bounded by the server; its width follows the size of what the last one
 * held, so that the server seldom reads what it then leaves out.
 */
export class BatchReader {
  readonly #database: Queryable;
  readonly #filter: Pick<ReadAllOptions, 'types' | 'correlationId'>;
  #window = FIRST_WINDOW;

  constructor(database: Queryable, filter: Pick<ReadAllOptions, 'types' | 'correlationId'>) {
    this.#database = database;
    this.#filter = filter;
  }

  /** The batch after a position, undefined at the head. */
  async read(after: Position, until?: Position): Promise<Batch | undefined> {
    const [head] = await this.#database.query<{ head: bigint | null }>(sql`
      select max(position) as head
      from ledger.events
      where position > ${after}
        and position <= ${windowEnd(after, this.#window, until)}`);
    const end = head?.head ?? null;
    if (end === null) return undefined;
    const { types, correlationId } = this.#filter;
    // Only where it is needed: without it the plan does not depend on the parameters.
    const isFiltered = types !== undefined || correlationId !== undefined;
    const filter = sql`
      and (${types}::text[] is null or e.type = any(${types}))
      and (
        ${correlationId}::text is null
        or e.metadata ->> 'correlationId' = ${correlationId}
      )`;
    const rows = await this.#database.query<RecordedRow & { size_before: bigint }>(sql`
      select *
      from (
        select ${RECORDED_COLUMNS},
          sum(octet_length(e.data::text)) over (order by e.position)
            - octet_length(e.data::text) as size_before
        from ledger.events e
        where e.position > ${after}
          and e.position <= ${end}
          ${isFiltered ? filter : sql``}
      ) sized
      where sized.size_before < ${TARGET_SIZE}
      order by sized.position`);
    const size = rows.reduce((sum, { data }) => sum + Buffer.byteLength(data), 0);
    this.#adapt(size);
    // Cut off by its size, a batch ends at its last event: the next begins there.
    const last = size >= TARGET_SIZE ? rows.at(-1)?.position : undefined;
    const events = rows.map(({ size_before: _size, ...row }) => recordedEvent(row));
    return { events, position: (last ?? end) as Position };
  }

  #adapt(size: number): void {
    if (size >= TARGET_SIZE) this.#window = Math.max(1, Math.floor(this.#window / 4));
    else if (size < TARGET_SIZE / 4) this.#window = Math.min(MAX_WINDOW, this.#window * 2);
  }
}

function windowEnd(after: Position, window: number, until: Position | undefined): bigint {
  const end = after + BigInt(window);
  return until !== undefined && until < end ? until : end;
}
