import { sql, type Sql } from '../../database/sql.ts';
import type { Position } from '../../event-store/port.ts';
import {
  atLeast,
  type ReadModels,
  type ReadOptions,
  type Versioned,
} from '../engine/reading/read-models.ts';
import type { WebhookStatusText } from './projection.ts';
import { webhooks } from './tables.ts';

export interface WebhookView {
  readonly webhookId: string;
  readonly url: string;
  readonly types: readonly string[] | null;
  readonly domains: readonly string[] | null;
  readonly status: WebhookStatusText;
  readonly failingSince: Date | null;
  readonly reason: string | null;
  readonly createdAt: Date;
  /** Where it was created; lists are in this order. */
  readonly createdPosition: Position;
}

export class WebhookQueries {
  readonly #models: ReadModels;

  constructor(models: ReadModels) {
    this.#models = models;
  }

  /** The webhooks of a project in the order of their creation, as of a position if one is given. */
  list(
    projectId: string,
    {
      after,
      asOf,
      limit,
    }: {
      readonly after?: Position | undefined;
      readonly asOf?: Position | undefined;
      readonly limit: number;
    },
    options: ReadOptions,
  ): Promise<Versioned<WebhookView[]>> {
    return this.#models.read<WebhookView>(
      sql`
        ${viewsOf(projectId, asOf)}
          and created_position > ${after ?? -1}::bigint
        order by created_position
        limit ${limit}`,
      atLeast(options, asOf),
    );
  }

  async find(
    projectId: string,
    webhookId: string,
    asOf: Position | undefined,
    options: ReadOptions,
  ): Promise<Versioned<WebhookView | undefined>> {
    const { value, position } = await this.#models.read<WebhookView>(
      sql`
        ${viewsOf(projectId, asOf)}
          and webhook_id = ${webhookId}`,
      atLeast(options, asOf),
    );
    return { value: value[0], position };
  }
}

function viewsOf(projectId: string, asOf: Position | undefined): Sql {
  return sql`
    select
      webhook_id as "webhookId", url, types, domains, status, failing_since as "failingSince",
      reason, created_at as "createdAt", created_position as "createdPosition"
    from ${webhooks.webhooks}
    where project_id = ${projectId}
      and from_position <= coalesce(${asOf}::bigint, 9223372036854775806)
      and coalesce(to_position, 9223372036854775807)
        > coalesce(${asOf}::bigint, 9223372036854775806)`;
}
