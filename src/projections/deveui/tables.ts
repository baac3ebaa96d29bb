import { tablesOf } from '../../database/sql.ts';
import type { Projection } from '../engine/projection.ts';
import { timelineTable, timelineTableKey } from '../timeline-table.ts';

/** The tables of the projection, for its queries and for those that join them. */
export const deveui = tablesOf('deveui', [
  'batches',
  'batch_changes',
  'deveuis',
  'attempts',
  'attempt_ends',
  'deveui_events',
]);

/** A change of what the tables hold is a new version of the projection. */
export const deveuiDdl: Pick<Projection, 'tables' | 'indexes'> = {
  tables: `
    create table batches (
      project_id   text        not null collate "C",
      batch_id     text        not null collate "C",
      position     bigint      not null,
      size         integer     not null,
      prefix       text        not null,
      status       text        not null,
      reason       text,
      is_hidden    boolean     not null,
      requested_at timestamptz not null,
      attempted    integer     not null,
      registered   integer     not null,
      conflicted   integer     not null,
      unconfirmed  integer     not null,
      revision     bigint      not null,
      /* The position of its last event. */
      last_position bigint     not null,
      primary key (project_id, batch_id)
    );

    /* What each event changed, for batches as of a position; null: nothing. */
    create table batch_changes (
      project_id text    not null collate "C",
      batch_id   text    not null collate "C",
      position   bigint  not null,
      status     text,
      reason     text,
      is_hidden  boolean,
      primary key (project_id, batch_id, position)
    );

    create table deveuis (
      project_id text    not null collate "C",
      batch_id   text    not null collate "C",
      dev_eui    text    not null collate "C",
      short_code text    not null collate "C",
      candidate  integer not null,
      status     text    not null,
      drawn_position    bigint not null,
      answered_position bigint,
      primary key (project_id, batch_id, dev_eui)
    );

    create table attempts (
      project_id      text        not null collate "C",
      batch_id        text        not null collate "C",
      dev_eui         text        not null collate "C",
      attempt         integer     not null,
      position        bigint      not null,
      sent_at         timestamptz not null,
      primary key (project_id, batch_id, dev_eui, attempt)
    );

    /* An attempt that was given up may be answered after all: the last end counts. */
    create table attempt_ends (
      project_id      text        not null collate "C",
      batch_id        text        not null collate "C",
      dev_eui         text        not null collate "C",
      attempt         integer     not null,
      position        bigint      not null,
      outcome         text        not null,
      reason          text,
      provider_status integer,
      ended_at        timestamptz not null,
      primary key (project_id, batch_id, dev_eui, attempt, position)
    );
    ${timelineTable('deveui_events')}`,
  indexes: `
    create index batches_by_position on batches (project_id, position);
    create index deveuis_by_deveui on deveuis (project_id, dev_eui, batch_id);
    create index deveuis_by_short_code on deveuis (project_id, short_code, dev_eui, batch_id);
    create index deveuis_by_candidate on deveuis (project_id, batch_id, candidate);
    create index attempts_by_position on attempts (project_id, batch_id, position);
    ${timelineTableKey('deveui_events')}`,
};
