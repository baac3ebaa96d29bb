import type { Database } from '../../database/database.ts';
import { sql } from '../../database/sql.ts';
import type { Position } from '../../event-store/port.ts';
import type { Attempt } from './progress.ts';
import type { WebhookKey } from './registry.ts';

/** How far a webhook has been sent. */
export interface DeliveryProgress {
  readonly webhookId: string;
  readonly position: Position;
  readonly deliveredAt: Date | null;
  /** Attempts in a row that have failed, and why the last one did. */
  readonly failures: number;
  readonly failingSince: Date | null;
  readonly nextAttemptAt: Date | null;
  readonly lastError: string | null;
}

export interface Delivery extends Attempt {
  /** From 1 for the first of its webhook. */
  readonly number: bigint;
  readonly status: 'delivered' | 'failed';
}

/** What the deliverers of all processes have recorded, for clients. */
export class WebhookDeliveries {
  readonly #database: Database;
  readonly #logId: string;

  constructor(database: Database, logId: string) {
    this.#database = database;
    this.#logId = logId;
  }

  /** A map by webhook id, without the webhooks that no process has taken up yet. */
  async progress(
    projectId: string,
    webhookIds: readonly string[],
  ): Promise<ReadonlyMap<string, DeliveryProgress>> {
    const rows = await this.#database.query<DeliveryProgress>(sql`
      select
        webhook_id as "webhookId", position, delivered_at as "deliveredAt", failures,
        failing_since as "failingSince", next_attempt_at as "nextAttemptAt",
        last_error as "lastError"
      from engine.webhooks
      where project_id = ${projectId}
        and webhook_id = any(${webhookIds}::text[])
        and log_id = ${this.#logId}`);
    return new Map(rows.map((row) => [row.webhookId, row]));
  }

  /** The attempts of a webhook, newest first, before a number if one is given. */
  async list(
    { projectId, webhookId }: WebhookKey,
    { before, limit }: { readonly before?: bigint; readonly limit: number },
  ): Promise<readonly Delivery[]> {
    return this.#database.query<Delivery>(sql`
      select
        number, message_id as "messageId", attempt, status, response_status as "responseStatus",
        error, events, first_position as "firstPosition", last_position as "lastPosition",
        sent_at as "sentAt", duration_ms as "durationMs"
      from engine.webhook_deliveries
      where project_id = ${projectId}
        and webhook_id = ${webhookId}
        and number < coalesce(${before}::bigint, 9223372036854775807)
      order by number desc
      limit ${limit}`);
  }
}
