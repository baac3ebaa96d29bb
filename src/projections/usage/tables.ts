import { tablesOf } from '../../database/sql.ts';
import type { Projection } from '../engine/projection.ts';
import { simAssignmentsTable } from '../tenancy/projection/sim-assignments.ts';

/** The tables of the projection, for its queries and for those that join them. */
export const usage = tablesOf('usage', [
  'sim_assignments',
  'records',
  'sim_quarter_hours',
  'sim_totals',
  'org_quarter_hours',
  'org_totals',
  'sim_days',
  'rejections',
]);

/** A change of what the tables hold is a new version of the projection. */
export const usageDdl: Pick<Projection, 'tables' | 'indexes'> = {
  tables: `
    ${simAssignmentsTable}

    create table records (
      project_id  text        not null collate "C",
      sim_card_id text        not null collate "C",
      used_at     timestamptz not null,
      position    bigint      not null,
      bytes       bigint      not null,
      primary key (project_id, sim_card_id, used_at, position) include (bytes)
    );

    create table sim_quarter_hours (
      project_id  text        not null collate "C",
      sim_card_id text        not null collate "C",
      org_id      text        not null collate "C",
      quarter_hour timestamptz not null,
      bytes       numeric     not null,
      records     bigint      not null,
      primary key (project_id, sim_card_id, quarter_hour, org_id)
    );

    create table sim_totals (
      project_id  text    not null collate "C",
      sim_card_id text    not null collate "C",
      org_id      text    not null collate "C",
      bytes       numeric not null,
      records     bigint  not null,
      primary key (project_id, sim_card_id, org_id)
    );

    create table org_quarter_hours (
      project_id  text        not null collate "C",
      org_id      text        not null collate "C",
      quarter_hour timestamptz not null,
      bytes       numeric     not null,
      records     bigint      not null,
      primary key (project_id, org_id, quarter_hour)
    );

    create table org_totals (
      project_id  text    not null collate "C",
      org_id      text    not null collate "C",
      bytes       numeric not null,
      records     bigint  not null,
      primary key (project_id, org_id)
    );

    /* By days of UTC, for timelines: each stands at its first record, where it stays. */
    create table sim_days (
      project_id        text        not null collate "C",
      sim_card_id       text        not null collate "C",
      day               timestamptz not null,
      first_position    bigint      not null,
      first_event_id    uuid        not null,
      first_recorded_at timestamptz not null,
      first_actor       text        not null,
      primary key (project_id, sim_card_id, day)
    );

    create table rejections (
      project_id  text        not null collate "C",
      position    bigint      not null,
      event_id    uuid        not null,
      reason      text        not null,
      detail      text        not null,
      origin      json        not null,
      record      json        not null,
      rejected_at timestamptz not null,
      primary key (project_id, position)
    )`,
  indexes: `
    create index records_by_time on records (project_id, used_at);
    create index sim_assignments_by_org on sim_assignments (project_id, org_id);
    create index sim_days_by_position on sim_days (project_id, sim_card_id, first_position)`,
};
