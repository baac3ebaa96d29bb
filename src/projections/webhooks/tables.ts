import { tablesOf } from '../../database/sql.ts';
import type { Projection } from '../engine/projection.ts';

/** The tables of the projection, for its queries. */
export const webhooks = tablesOf('webhooks', ['webhooks']);

/** A change of what the tables hold is a new version of the projection. */
export const webhooksDdl: Pick<Projection, 'tables' | 'indexes'> = {
  tables: `
    create table webhooks (
      project_id       text        not null collate "C",
      webhook_id       text        not null collate "C",
      url              text        not null,
      types            json,
      domains          json,
      status           text        not null,
      failing_since    timestamptz,
      reason           text,
      created_at       timestamptz not null,
      created_position bigint      not null,
      from_position    bigint      not null,
      to_position      bigint,
      primary key (project_id, webhook_id, from_position)
    )`,
  indexes: `
    create index webhooks_by_creation on webhooks (project_id, created_position)`,
};
