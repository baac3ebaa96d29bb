import type { Queryable } from '../../database/database.ts';
import type { JsonObject } from '../../shared/json.ts';
import type { Position, SnapshotStore } from '../port.ts';

interface SnapshotRow {
  readonly revision: bigint;
  readonly position: bigint;
  readonly state: JsonObject;
}

/** Kept for one log: the same stream may stand elsewhere, or be shorter, in another. */
export function openPostgresSnapshotStore(database: Queryable, logId: string): SnapshotStore {
  return {
    async load(stream, foldVersion) {
      const [row] = await database.query<SnapshotRow>({
        name: 'load-snapshot',
        text: `
          select revision, position, state
          from ledger.snapshots
          where log_id = $1 /* log */
            and stream = $2 /* stream */
            and fold_version = $3 /* fold version */`,
        values: [logId, stream, foldVersion],
      });
      return row && { ...row, position: row.position as Position };
    },
    async save(stream, foldVersion, { revision, position, state }) {
      await database.query({
        name: 'save-snapshot',
        text: `
          insert into ledger.snapshots as s
            (log_id, stream, fold_version, revision, position, state)
          values (
            $1, /* log */
            $2, /* stream */
            $3, /* fold version */
            $4, /* revision */
            $5, /* position */
            $6  /* state */
          )
          on conflict (log_id, stream, fold_version) do update
          set revision = excluded.revision,
              position = excluded.position,
              state = excluded.state
          where s.revision < excluded.revision`,
        values: [logId, stream, foldVersion, revision, position, JSON.stringify(state)],
      });
    },
  };
}
