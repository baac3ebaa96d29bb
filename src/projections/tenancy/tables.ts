import { tablesOf } from '../../database/sql.ts';
import type { Projection } from '../engine/projection.ts';
import { timelineTable, timelineTableKey } from '../timeline-table.ts';
import { simAssignmentsTable } from './projection/sim-assignments.ts';

/** The tables of the projection, for its queries and for those that join them. */
export const tenancy = tablesOf('tenancy', [
  'projects',
  'members',
  'devices',
  'keys',
  'sightings',
  'sim_assignments',
  'device_events',
]);

/** A change of what the tables hold is a new version of the projection. */
export const tenancyDdl: Pick<Projection, 'tables' | 'indexes'> = {
  tables: `
    create table projects (
      project_id text        primary key collate "C",
      name       text        not null,
      created_at timestamptz not null,
      position   bigint      not null
    );

    create table members (
      project_id    text   not null collate "C",
      member_id     text   not null collate "C",
      name          text   not null,
      role          text   not null,
      from_position bigint not null,
      to_position   bigint,
      primary key (project_id, member_id)
    );

    create table devices (
      project_id    text        not null collate "C",
      device_id     text        not null collate "C",
      dev_eui       text        collate "C",
      sim_card_id   text        collate "C",
      sensor_id     text        collate "C",
      created_at    timestamptz not null,
      retired_at    timestamptz,
      revision      bigint      not null,
      from_position bigint      not null,
      to_position   bigint,
      primary key (project_id, device_id, from_position)
    );

    /* A key has a row for each project that it was in. */
    create table keys (
      key_id           text        not null collate "C",
      position         bigint      not null,
      to_position      bigint,
      project_id       text        not null collate "C",
      kind             text        not null,
      holder           text        not null collate "C",
      secret_hash      text        not null,
      issued_at        timestamptz not null,
      revoked_at       timestamptz,
      revoked_position bigint,
      primary key (key_id, position)
    );
    create table sightings (
      project_id  text        not null collate "C",
      device_id   text        not null collate "C",
      position    bigint      not null,
      recorded_at timestamptz not null,
      primary key (project_id, device_id, position)
    );
    ${simAssignmentsTable}
    ${timelineTable('device_events')}`,
  indexes: `
    create index keys_of_project on keys (project_id, position);
    create index members_of_project on members (project_id, from_position);
    create index devices_by_deveui on devices (project_id, dev_eui, device_id)
      where dev_eui is not null;
    create index devices_by_sim_card on devices (project_id, sim_card_id)
      where to_position is null and sim_card_id is not null;
    create index devices_by_sensor on devices (project_id, sensor_id)
      where to_position is null and sensor_id is not null;
    ${timelineTableKey('device_events')}`,
};
