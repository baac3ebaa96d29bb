import type { Position } from '../../../event-store/port.ts';
import type { JsonObject } from '../../../shared/json.ts';
import type { Versioned, ReadModels, ReadOptions } from '../../engine/reading/read-models.ts';

export interface RejectedUsage {
  readonly eventId: string;
  readonly position: Position;
  readonly reason: string;
  readonly detail: string;
  /** As the event has them. */
  readonly origin: JsonObject;
  readonly record: JsonObject;
  readonly rejectedAt: Date;
}

/** Records that were not taken. */
export class UsageRejections {
  readonly #models: ReadModels;

  constructor(models: ReadModels) {
    this.#models = models;
  }

  /** Newest first, before a position if one is given. */
  async list(
    projectId: string,
    { before, limit }: { readonly before?: Position; readonly limit: number },
    options: ReadOptions,
  ): Promise<Versioned<RejectedUsage[]>> {
    const { value, position } = await this.#models.read<{
      rejected_position: bigint;
      event_id: string;
      reason: string;
      detail: string;
      origin: JsonObject;
      record: JsonObject;
      rejected_at: Date;
    }>(
      'usage',
      {
        name: 'usage-rejections',
        text: `
          select
            position as rejected_position, event_id, reason, detail, origin, record, rejected_at
          from read_usage.rejections
          where project_id = $1 /* project */
            and position < coalesce($2, 9223372036854775807) /* before */
          order by position desc
          limit $3 /* limit */`,
        values: [projectId, before ?? null, limit],
        orderBy: 'rejected_position desc',
      },
      options,
    );
    const items = value.map((row) => ({
      eventId: row.event_id,
      position: row.rejected_position as Position,
      reason: row.reason,
      detail: row.detail,
      origin: row.origin,
      record: row.record,
      rejectedAt: row.rejected_at,
    }));
    return { value: items, position };
  }
}
