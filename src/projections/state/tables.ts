import { tablesOf } from '../../database/sql.ts';
import type { Projection } from '../engine/projection.ts';

/** The tables of the projection, for its queries and for those that join them. */
export const state = tablesOf('state', ['sensors', 'history', 'settings']);

/** A change of what the tables hold is a new version of the projection. */
export const stateDdl: Pick<Projection, 'tables' | 'indexes'> = {
  tables: `
    create table sensors (
      project_id     text        not null collate "C",
      sensor_id      text        not null collate "C",
      revision       bigint      not null,
      state          json        not null,
      since_keyframe integer     not null,
      updated_at     timestamptz not null,
      /* The positions of its first patch and of its last event. */
      first_position bigint      not null,
      last_position  bigint      not null,
      primary key (project_id, sensor_id)
    );

    create table history (
      project_id  text        not null collate "C",
      sensor_id   text        not null collate "C",
      position    bigint      not null,
      event_id    uuid        not null,
      revision    bigint      not null,
      patch       json        not null,
      state       json,
      occurred_at timestamptz,
      recorded_at timestamptz not null,
      actor       text        not null
    );

    /* The events of a sensor that are no patch: they change its revision and nothing else here. */
    create table settings (
      project_id  text        not null collate "C",
      sensor_id   text        not null collate "C",
      position    bigint      not null,
      revision    bigint      not null
    )`,
  // `apply` reads neither table, so their keys can wait until a rebuild has written all rows.
  indexes: `
    alter table history add primary key (project_id, sensor_id, position);
    /* Leads from a revision to its place: an index of all revisions would cost 16 times as much. */
    create index keyframes on history (project_id, sensor_id, revision) where state is not null;
    alter table settings add primary key (project_id, sensor_id, position)`,
};
