import type { Queryable } from '../../src/database/database.ts';
import type { RecordedEvent } from '../../src/event-store/port.ts';
import type { Projection } from '../../src/projections/engine/projection.ts';

export interface NotesOptions {
  readonly name: string;
  /** The one type of events that it handles. */
  readonly type: string;
  /** Who applies: noted in each row. */
  readonly writer: string;
  /** Whether a row may be there once only. */
  readonly isUnique?: boolean;
  before?(events: readonly RecordedEvent[], tx: Queryable): Promise<void>;
  /** Still in the transaction. */
  after?(events: readonly RecordedEvent[], tx: Queryable): Promise<void>;
}

/** A projection that notes each event it is given, and who gave it: what is applied twice shows. */
export function notesProjection(options: NotesOptions): Projection {
  return {
    name: options.name,
    version: 1,
    handles: [options.type],
    tables: `
      create table notes (
        position bigint not null,
        note     text   not null,
        writer   text   not null
      );
      ${options.isUnique === true ? 'alter table notes add primary key (position)' : ''}`,
    indexes: '',
    async apply(events, tx) {
      await options.before?.(events, tx);
      await tx.query({
        text: `
          insert into notes (position, note, writer)
          select position, note, $3 /* writer */
          from unnest(
            $1::bigint[], /* positions */
            $2::text[]    /* notes */
          ) as noted (position, note)`,
        values: [
          events.map(({ position }) => position),
          events.map(({ data }) => data['note']),
          options.writer,
        ],
      });
      await options.after?.(events, tx);
    },
  };
}
