import { tablesOf } from '../../database/sql.ts';
import type { Projection } from '../engine/projection.ts';

/** The tables of the projection, for its queries and for those that join them. */
export const firmware = tablesOf('firmware', ['reports', 'current']);

/** A change of what the tables hold is a new version of the projection. */
export const firmwareDdl: Pick<Projection, 'tables' | 'indexes'> = {
  tables: `
    create table reports (
      project_id  text        not null collate "C",
      device_id   text        not null collate "C",
      component   text        not null collate "C",
      ordered_at  timestamptz not null,
      position    bigint      not null,
      version     text        not null collate "C",
      hardware    text,
      reported_at timestamptz not null,
      received_at timestamptz not null,
      event_id    uuid        not null,
      actor       text        not null,
      primary key (project_id, device_id, component, ordered_at, position)
    );

    create table current (
      project_id       text        not null collate "C",
      device_id        text        not null collate "C",
      component        text        not null collate "C",
      version          text        not null collate "C",
      previous_version text        collate "C",
      ordered_at       timestamptz not null,
      reported_at      timestamptz not null,
      received_at      timestamptz not null,
      primary key (project_id, device_id, component)
    )`,
  indexes: `
    create index reports_by_time on reports (project_id, device_id, ordered_at, position);
    create index reports_by_position on reports (project_id, device_id, position);
    create index reports_by_version on reports (project_id, component, version, ordered_at);
    create index current_by_version on current (project_id, component, version)`,
};
