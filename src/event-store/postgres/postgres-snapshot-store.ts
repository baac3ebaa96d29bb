import type { Queryable } from '../../database/database.ts';
import type { JsonObject } from '../../shared/json.ts';
import type { Position, SnapshotStore } from '../port.ts';

interface SnapshotRow {
  readonly revision: bigint;
  readonly position: bigint;
  readonly state: JsonObject;
}

export function openPostgresSnapshotStore(database: Queryable): SnapshotStore {
  return {
    async load(stream, foldVersion) {
      const [row] = await database.query<SnapshotRow>({
        name: 'load-snapshot',
        text: `
          select revision, position, state
          from ledger.snapshots
          where stream = $1 /* stream */
            and fold_version = $2 /* fold version */`,
        values: [stream, foldVersion],
      });
      return row && { ...row, position: row.position as Position };
    },
    async save(stream, foldVersion, { revision, position, state }) {
      await database.query({
        name: 'save-snapshot',
        text: `
          insert into ledger.snapshots as s (stream, fold_version, revision, position, state)
          values (
            $1, /* stream */
            $2, /* fold version */
            $3, /* revision */
            $4, /* position */
            $5  /* state */
          )
          on conflict (stream, fold_version) do update
          set revision = excluded.revision,
              position = excluded.position,
              state = excluded.state
          where s.revision < excluded.revision`,
        values: [stream, foldVersion, revision, position, JSON.stringify(state)],
      });
    },
  };
}
