import type { Database, Queryable } from '../../database/database.ts';
import { LOCKS } from '../../database/locks.ts';
import {
  CopyRefusedError,
  type CopyTarget,
  type Position,
  type RecordedEvent,
  type Taken,
} from '../port.ts';

interface OriginRow {
  /** 0 of an empty log. */
  readonly head: bigint;
  readonly log_id: string | null;
  readonly position: bigint | null;
  readonly copied_to: bigint | null;
}

/** Events go in by their rows, with how far the copying has come in the same transaction. */
export function postgresCopyTarget(database: Database): CopyTarget {
  return {
    taken: () => takenBy(database),
    async take(from, events) {
      const last = events.at(-1);
      if (last === undefined) return;
      await database.transaction(async (tx) => {
        // Whoever appends waits, and finds the log as it then is.
        await tx.query({ text: `select pg_advisory_xact_lock(${LOCKS.appender}, 1)` });
        const taken = await takenBy(tx);
        const isOwn = taken.kind === 'copied' && taken.from === from;
        if (taken.kind !== 'nothing' && !isOwn) {
          throw new CopyRefusedError(
            'Something else was written to the log while it was being copied to.',
          );
        }
        await insert(tx, events);
        await noteClockSteps(tx, events.length);
        await tx.query({
          text: `
            insert into ledger.origin (log_id, position, copied_to)
            select
              $1, /* log */
              $2, /* position there */
              max(e.position)
            from ledger.events e
            on conflict (singleton) do update
            set position = excluded.position,
                copied_to = excluded.copied_to`,
          values: [from, last.position],
        });
      });
    },
  };
}

/** Where the times of the last events fall: a time is searched for between such steps. */
async function noteClockSteps(tx: Queryable, count: number): Promise<void> {
  await tx.query({
    text: `
      insert into ledger.clock_steps (position)
      select position
      from (
        select position, recorded_at,
          lag(recorded_at) over (order by position) as before
        from ledger.events
        where position >= (select max(position) from ledger.events) - $1::bigint /* count */
      ) as copied
      where recorded_at < before
      on conflict do nothing`,
    values: [count],
  });
}

async function takenBy(database: Queryable): Promise<Taken> {
  const [row] = await database.query<OriginRow>({
    text: `
      select
        coalesce((select max(e.position) from ledger.events e), 0) as head,
        o.log_id, o.position, o.copied_to
      from ledger.log
      left join ledger.origin o on true`,
  });
  if (row === undefined) throw new Error('ledger.log holds no row: the schema is damaged');
  if (row.head === 0n) return { kind: 'nothing' };
  if (row.log_id === null || row.head !== row.copied_to) return { kind: 'own-events' };
  return { kind: 'copied', from: row.log_id, position: row.position as Position };
}

async function insert(tx: Queryable, events: readonly RecordedEvent[]): Promise<void> {
  await tx.query({
    name: 'copy-events',
    text: `
      insert into ledger.events
        (position, stream, revision, event_id, type, data, metadata, recorded_at)
      select
        head.position + v.ordinal,
        v.stream, v.revision, v.event_id, v.type, v.data::json, v.metadata::json, v.recorded_at
      from
        (select coalesce(max(position), 0) as position from ledger.events) as head,
        unnest(
          $1::text[],       /* streams */
          $2::bigint[],     /* revisions */
          $3::uuid[],       /* event ids */
          $4::text[],       /* types */
          $5::text[],       /* data */
          $6::text[],       /* metadata */
          $7::timestamptz[] /* recorded at */
        ) with ordinality
          as v (stream, revision, event_id, type, data, metadata, recorded_at, ordinal)`,
    values: [
      events.map(({ stream }) => stream),
      events.map(({ revision }) => revision),
      events.map(({ id }) => id),
      events.map(({ type }) => type),
      events.map(({ data }) => JSON.stringify(data)),
      events.map(({ metadata }) => JSON.stringify(metadata)),
      events.map(({ recordedAt }) => recordedAt),
    ],
  });
}
