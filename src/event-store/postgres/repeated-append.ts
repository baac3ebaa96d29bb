import type { Queryable } from '../../database/database.ts';
import type { Appended, Position, Write } from '../port.ts';

export interface RefusedWrite {
  readonly write: Write;
  /** -1 when there is no stream. */
  readonly actualRevision: bigint;
}

interface FoundRow {
  readonly write_index: number;
  readonly event_id: string;
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
  const streams: string[] = [];
  const ids: string[] = [];
  const indexes: number[] = [];
  for (const [index, { write }] of refused.entries()) {
    for (const event of write.events) {
      streams.push(write.stream);
      ids.push(event.id);
      indexes.push(index);
    }
  }
  const rows = await database.query<FoundRow>({
    name: 'find-repeated-events',
    text: `
      select sent.write_index, e.event_id, e.revision, e.position
      from unnest(
        $1::integer[], /* write indexes */
        $2::text[],    /* streams */
        $3::uuid[]     /* event ids */
      ) as sent (write_index, stream, event_id)
      join ledger.events e
        on e.event_id = sent.event_id
        and e.stream = sent.stream
      order by sent.write_index, e.revision`,
    values: [indexes, streams, ids],
  });
  const found: FoundRow[][] = refused.map(() => []);
  for (const row of rows) found[row.write_index]?.push(row);
  return refused.map((write, index) => judge(write, found[index] ?? []));
}

function judge({ write, actualRevision }: RefusedWrite, found: readonly FoundRow[]): Appended {
  const actual = actualRevision === -1n ? 'no-stream' : actualRevision;
  if (found.length === 0 || actual === 'no-stream') {
    return { outcome: 'conflict', actualRevision: actual };
  }
  const { expectedRevision, events } = write;
  const byRevision = new Map(found.map((row) => [row.revision, row]));
  const revisionOfFirst = found.find((row) => row.event_id === events[0]?.id)?.revision;
  const start =
    expectedRevision === 'no-stream'
      ? 0n
      : typeof expectedRevision === 'bigint'
        ? expectedRevision + 1n
        : (revisionOfFirst ?? 0n);
  const inPlace = events.filter(
    (event, index) => byRevision.get(start + BigInt(index))?.event_id === event.id,
  );
  const last = byRevision.get(start + BigInt(events.length - 1));
  if (inPlace.length === events.length && last !== undefined) {
    return { outcome: 'appended', revision: last.revision, position: last.position as Position };
  }
  return { outcome: 'partial-overlap', actualRevision: actual };
}
