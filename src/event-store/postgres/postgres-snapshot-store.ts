import type { Queryable } from '../../database/database.ts';
import { sql } from '../../database/sql.ts';
import type { Snapshot, SnapshotStore } from '../port.ts';

/** The snapshots of one log: in another log the same stream may have other events. */
export function openPostgresSnapshotStore(database: Queryable, logId: string): SnapshotStore {
  return {
    async load(stream, foldVersion) {
      const [row] = await database.query<Snapshot>(sql`
        select revision, position, state
        from ledger.snapshots
        where log_id = ${logId}
          and stream = ${stream}
          and fold_version = ${foldVersion}`);
      return row;
    },
    async save(stream, foldVersion, { revision, position, state }) {
      await database.query(sql`
        insert into ledger.snapshots as s
          (log_id, stream, fold_version, revision, position, state)
        values (
          ${logId}, ${stream}, ${foldVersion}, ${revision}, ${position}, ${JSON.stringify(state)}
        )
        on conflict (log_id, stream, fold_version) do update
        set revision = excluded.revision,
            position = excluded.position,
            state = excluded.state
        where s.revision < excluded.revision`);
    },
  };
}
