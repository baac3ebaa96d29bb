import { sql } from '../../../database/sql.ts';
import type { Position } from '../../../event-store/port.ts';
import type { JsonObject } from '../../../shared/json.ts';
import {
  atLeast,
  type ReadModels,
  type ReadOptions,
  type Versioned,
} from '../../engine/reading/read-models.ts';
import { usage } from '../tables.ts';

export interface RejectedUsage {
  readonly eventId: string;
  readonly position: Position;
  readonly reason: string;
  readonly detail: string;
  /** The same JSON as in the event; so is `record`. */
  readonly origin: JsonObject;
  readonly record: JsonObject;
  readonly rejectedAt: Date;
}

/** Usage records that were rejected. */
export class UsageRejections {
  readonly #models: ReadModels;

  constructor(models: ReadModels) {
    this.#models = models;
  }

  /** Newest first, before a position if one is given. */
  async list(
    projectId: string,
    page: {
      readonly before?: Position;
      readonly limit: number;
      readonly asOf?: Position | undefined;
    },
    options: ReadOptions,
  ): Promise<Versioned<RejectedUsage[]>> {
    const { before, limit, asOf } = page;
    return this.#models.read<RejectedUsage>(
      sql`
        select
          event_id as "eventId",
          position,
          reason,
          detail,
          origin,
          record,
          rejected_at as "rejectedAt"
        from ${usage.rejections}
        where project_id = ${projectId}
          and position < coalesce(${before}, 9223372036854775807)
          and position <= coalesce(${asOf}, 9223372036854775807)
        order by position desc
        limit ${limit}`,
      atLeast(options, asOf),
    );
  }
}
