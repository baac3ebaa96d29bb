import type { Queryable } from '../../database/database.ts';
import { rowsAs } from '../../database/rows.ts';
import { sql } from '../../database/sql.ts';
import type { Appended, Position, Write } from '../port.ts';

export interface RefusedWrite {
  readonly write: Write;
  /** -1 when there is no stream. */
  readonly actualRevision: bigint;
}

interface FoundRow {
  readonly writeIndex: number;
  readonly eventId: string;
  readonly revision: bigint;
  readonly position: bigint;
}

/**
 * Why writes were refused: because they were stored before (then they get the answer they got, or
 * should have got, the first time), because they overlap with what was stored, or because another
 * writer came first. Needs no lock: what it looks for cannot change any more.
 */
export async function resolveRefused(
  database: Queryable,
  refused: readonly RefusedWrite[],
): Promise<Appended[]> {
  const sent = rowsAs(
    'sent',
    {
      write_index: ['integer', ({ index }) => index],
      stream: ['text', ({ write }) => write.stream],
      event_id: ['uuid', ({ event }) => event.id],
    },
    refused.flatMap(({ write }, index) => write.events.map((event) => ({ index, write, event }))),
  );
  const rows = await database.query<FoundRow>(sql`
    select
      sent.write_index as "writeIndex",
      e.event_id as "eventId",
      e.revision,
      e.position
    from ${sent}
    join ledger.events e
      on e.event_id = sent.event_id
      and e.stream = sent.stream
    order by sent.write_index, e.revision`);
  const found: FoundRow[][] = refused.map(() => []);
  for (const row of rows) found[row.writeIndex]?.push(row);
  return refused.map((write, index) => judge(write, found[index] ?? []));
}

function judge({ write, actualRevision }: RefusedWrite, found: readonly FoundRow[]): Appended {
  const actual = actualRevision === -1n ? 'no-stream' : actualRevision;
  if (found.length === 0 || actual === 'no-stream') {
    return { outcome: 'conflict', actualRevision: actual };
  }
  const { expectedRevision, events } = write;
  const byRevision = new Map(found.map((row) => [row.revision, row]));
  const revisionOfFirst = found.find((row) => row.eventId === events[0]?.id)?.revision;
  const start =
    expectedRevision === 'no-stream'
      ? 0n
      : typeof expectedRevision === 'bigint'
        ? expectedRevision + 1n
        : (revisionOfFirst ?? 0n);
  const inPlace = events.filter(
    (event, index) => byRevision.get(start + BigInt(index))?.eventId === event.id,
  );
  const last = byRevision.get(start + BigInt(events.length - 1));
  if (inPlace.length === events.length && last !== undefined) {
    return { outcome: 'appended', revision: last.revision, position: last.position as Position };
  }
  return { outcome: 'partial-overlap', actualRevision: actual };
}
