import type { Database, Queryable } from '../../database/database.ts';
import { rowsAs } from '../../database/rows.ts';
import { sql } from '../../database/sql.ts';
import { LOCKS } from '../../database/locks.ts';
import {
  CopyRefusedError,
  type CopyTarget,
  type Position,
  type RecordedEvent,
  type Taken,
} from '../port.ts';

interface OriginRow {
  /** The head of the log; 0 when it is empty. */
  readonly head: bigint;
  readonly logId: string | null;
  readonly position: Position | null;
  readonly copiedTo: bigint | null;
}

/** Writes rows of events, and in the same transaction how far the copy has come. */
export function postgresCopyTarget(database: Database): CopyTarget {
  return {
    taken: () => takenBy(database),
    async take(from, events) {
      const last = events.at(-1);
      if (last === undefined) return;
      await database.transaction(async (tx) => {
        // Appends wait, and find the log as it is then.
        await tx.query(sql`select pg_advisory_xact_lock(${LOCKS.appender}, 1)`);
        const taken = await takenBy(tx);
        const isOwn = taken.kind === 'copied' && taken.from === from;
        if (taken.kind !== 'nothing' && !isOwn) {
          throw new CopyRefusedError(
            'Something else was written to the log while it was being copied to.',
          );
        }
        await insert(tx, events);
        await noteClockSteps(tx, events.length);
        await tx.query(sql`
          insert into ledger.origin (log_id, position, copied_to)
          select ${from}, ${last.position}, max(e.position)
          from ledger.events e
          on conflict (singleton) do update
          set position = excluded.position,
              copied_to = excluded.copied_to`);
      });
    },
  };
}

/**
 * Notes where the time of an event is before its predecessor's: times are searched between these.
 */
async function noteClockSteps(tx: Queryable, count: number): Promise<void> {
  await tx.query(sql`
    insert into ledger.clock_steps (position)
    select position
    from (
      select position, recorded_at,
        lag(recorded_at) over (order by position) as before
      from ledger.events
      where position >= (select max(position) from ledger.events) - ${count}::bigint
    ) as copied
    where recorded_at < before
    on conflict do nothing`);
}

async function takenBy(database: Queryable): Promise<Taken> {
  const [row] = await database.query<OriginRow>(sql`
    select
      coalesce((select max(e.position) from ledger.events e), 0) as head,
      o.log_id as "logId",
      o.position,
      o.copied_to as "copiedTo"
    from ledger.log
    left join ledger.origin o on true`);
  if (row === undefined) throw new Error('ledger.log holds no row: the schema is damaged');
  if (row.head === 0n) return { kind: 'nothing' };
  const { head, logId, position, copiedTo } = row;
  if (logId === null || position === null || head !== copiedTo) return { kind: 'own-events' };
  return { kind: 'copied', from: logId, position };
}

async function insert(tx: Queryable, events: readonly RecordedEvent[]): Promise<void> {
  const copied = rowsAs(
    'copied',
    {
      ordinal: ['integer', ([index]) => index + 1],
      stream: ['text', ([, { stream }]) => stream],
      revision: ['bigint', ([, { revision }]) => revision],
      event_id: ['uuid', ([, { id }]) => id],
      type: ['text', ([, { type }]) => type],
      data: ['json', ([, { data }]) => data],
      metadata: ['json', ([, { metadata }]) => metadata],
      recorded_at: ['timestamptz', ([, { recordedAt }]) => recordedAt],
    },
    [...events.entries()],
  );
  await tx.query(sql`
    insert into ledger.events
      (position, stream, revision, event_id, type, data, metadata, recorded_at)
    select
      head.position + copied.ordinal, copied.stream, copied.revision, copied.event_id,
      copied.type, copied.data, copied.metadata, copied.recorded_at
    from ${copied}
    cross join (select coalesce(max(position), 0) as position from ledger.events) as head`);
}
