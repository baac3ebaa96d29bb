import type { Database } from '../../database/database.ts';
import { rowsAs } from '../../database/rows.ts';
import { sql, type Sql } from '../../database/sql.ts';
import type { Position } from '../../event-store/port.ts';
import type { RegisteredWebhook, WebhookKey } from './registry.ts';

/** The right of this process to send one webhook, and how far that has been sent. */
export interface Lease extends WebhookKey {
  readonly token: bigint;
  readonly position: Position;
  /** Attempts in a row that have failed. */
  readonly failures: number;
  readonly failingSince: Date | null;
  readonly nextAttemptAt: Date | null;
}

/** An attempt, as it is recorded. */
export interface Attempt {
  readonly messageId: string;
  /** 1 for the first. */
  readonly attempt: number;
  readonly responseStatus: number | null;
  readonly error: string | null;
  readonly events: number;
  readonly firstPosition: Position;
  readonly lastPosition: Position;
  readonly sentAt: Date;
  readonly durationMs: number;
}

/**
 * Another process sends the webhook by now, or it is gone: nothing of it may be recorded any more.
 */
export class LeaseLostError extends Error {
  override readonly name = 'LeaseLostError';
}

/** A lease that is not renewed for so long may be taken by another process. */
export const LEASE_MS = 5_000;
/** So many attempts of each webhook are kept. */
const KEPT_ATTEMPTS = 1_000;

/**
 * How far webhooks have been sent, in the database: each change is fenced by the token of the
 * lease, so what a process that stalled still records is refused. (As the leases of projections
 * are: decision 5.)
 */
export class WebhookProgress {
  readonly #database: Database;
  readonly #logId: string;
  readonly #holder: string;

  constructor(database: Database, logId: string, holder: string) {
    this.#database = database;
    this.#logId = logId;
    this.#holder = holder;
  }

  /**
   * The leases on those that no other process has. What their owners have changed is taken over.
   */
  async acquire(webhooks: readonly RegisteredWebhook[]): Promise<Lease[]> {
    if (webhooks.length === 0) return [];
    const wanted = rowsAs(
      'wanted',
      {
        project_id: ['text', ({ projectId }) => projectId],
        webhook_id: ['text', ({ webhookId }) => webhookId],
        attempt_series: ['integer', ({ webhook }) => webhook.attemptSeries],
        start_series: ['integer', ({ start }) => start.series],
        position: ['bigint', ({ start }) => start.position],
      },
      webhooks,
    );
    // A process that is behind may know an older start than the row has: only a newer one counts.
    return this.#database.query<Lease>(sql`
      insert into engine.webhooks as held (
        project_id, webhook_id, log_id, attempt_series, start_series, position, holder, token,
        expires_at
      )
      select
        wanted.project_id, wanted.webhook_id, ${this.#logId}::text, wanted.attempt_series,
        wanted.start_series, wanted.position, ${this.#holder}::text,
        nextval('engine.lease_tokens'), ${expiry()}
      from ${wanted}
      on conflict (project_id, webhook_id) do update
      set holder = excluded.holder,
          token = excluded.token,
          expires_at = excluded.expires_at,
          log_id = excluded.log_id,
          position = case
            when excluded.start_series > held.start_series or excluded.log_id <> held.log_id
              then excluded.position
            else held.position
          end,
          start_series = greatest(excluded.start_series, held.start_series),
          attempt_series = greatest(excluded.attempt_series, held.attempt_series),
          failures = case
            when excluded.attempt_series > held.attempt_series then 0 else held.failures
          end,
          failing_since = case
            when excluded.attempt_series > held.attempt_series then null else held.failing_since
          end,
          next_attempt_at = case
            when excluded.attempt_series > held.attempt_series then null else held.next_attempt_at
          end,
          last_error = case
            when excluded.attempt_series > held.attempt_series then null else held.last_error
          end
      where held.expires_at < clock_timestamp()
      returning
        project_id as "projectId", webhook_id as "webhookId", token, position, failures,
        failing_since as "failingSince", next_attempt_at as "nextAttemptAt"`);
  }

  /** Gives back the leases that are still held. */
  renew(leases: readonly Lease[]): Promise<Pick<Lease, 'token'>[]> {
    return this.#database.query<Pick<Lease, 'token'>>(sql`
      update engine.webhooks held
      set expires_at = ${expiry()}
      from ${leasesAs('mine', leases)}
      where held.project_id = mine.project_id
        and held.webhook_id = mine.webhook_id
        and held.token = mine.token
        and held.expires_at >= clock_timestamp()
      returning held.token`);
  }

  async release({ projectId, webhookId, token }: Lease): Promise<void> {
    await this.#database.query(sql`
      update engine.webhooks
      set expires_at = '-infinity'
      where project_id = ${projectId}
        and webhook_id = ${webhookId}
        and token = ${token}`);
  }

  /** What is deleted in the log has nothing more to be sent. */
  async forget({ projectId, webhookId }: WebhookKey): Promise<void> {
    await this.#database.query(sql`
      with forgotten as (
        delete from engine.webhook_deliveries
        where project_id = ${projectId}
          and webhook_id = ${webhookId}
      )
      delete from engine.webhooks
      where project_id = ${projectId}
        and webhook_id = ${webhookId}`);
  }

  /**
   * Nothing up to the position is wanted.
   * @throws LeaseLostError
   */
  async skipTo({ projectId, webhookId, token }: Lease, position: Position): Promise<void> {
    const moved = await this.#database.query(sql`
      update engine.webhooks
      set position = ${position}
      where project_id = ${projectId}
        and webhook_id = ${webhookId}
        and token = ${token}
      returning token`);
    if (moved.length === 0) throw new LeaseLostError();
  }

  /**
   * A message was delivered: its record and the position behind it are one statement, hence both or
   * none.
   * @throws LeaseLostError
   */
  delivered(lease: Lease, attempt: Attempt, position: Position): Promise<void> {
    return this.#record(lease, attempt, {
      status: 'delivered',
      change: sql`
        position = ${position},
        failures = 0,
        failing_since = null,
        next_attempt_at = null,
        last_error = null,
        delivered_at = ${attempt.sentAt}`,
    });
  }

  /**
   * An attempt has failed. `next`: when it is made again; null: not before the owner asks for it.
   * @throws LeaseLostError
   */
  failed(lease: Lease, attempt: Attempt, next: Date | null): Promise<void> {
    return this.#record(lease, attempt, {
      status: 'failed',
      change: sql`
        failures = ${attempt.attempt},
        failing_since = coalesce(failing_since, ${attempt.sentAt}),
        next_attempt_at = ${next},
        last_error = ${attempt.error}`,
    });
  }

  async #record(
    { projectId, webhookId, token }: Lease,
    attempt: Attempt,
    { status, change }: { readonly status: 'delivered' | 'failed'; readonly change: Sql },
  ): Promise<void> {
    const recorded = await this.#database.query(sql`
      with moved as (
        update engine.webhooks
        set attempts = attempts + 1,
            ${change}
        where project_id = ${projectId}
          and webhook_id = ${webhookId}
          and token = ${token}
        returning project_id, webhook_id, attempts
      ),
      pruned as (
        delete from engine.webhook_deliveries d
        using moved
        where d.project_id = moved.project_id
          and d.webhook_id = moved.webhook_id
          and d.number <= moved.attempts - ${KEPT_ATTEMPTS}::integer
      )
      insert into engine.webhook_deliveries (
        project_id, webhook_id, number, message_id, attempt, status, response_status, error, events,
        first_position, last_position, sent_at, duration_ms
      )
      select
        project_id, webhook_id, attempts, ${attempt.messageId}, ${attempt.attempt}::integer,
        ${status}, ${attempt.responseStatus}::integer, ${attempt.error}::text,
        ${attempt.events}::integer, ${attempt.firstPosition}::bigint,
        ${attempt.lastPosition}::bigint, ${attempt.sentAt}::timestamptz,
        ${attempt.durationMs}::integer
      from moved
      returning number`);
    if (recorded.length === 0) throw new LeaseLostError();
  }
}

function expiry(): Sql {
  return sql`clock_timestamp() + ${LEASE_MS}::integer * interval '1 millisecond'`;
}

function leasesAs(name: string, leases: readonly Lease[]): Sql {
  return rowsAs(
    name,
    {
      project_id: ['text', ({ projectId }) => projectId],
      webhook_id: ['text', ({ webhookId }) => webhookId],
      token: ['bigint', ({ token }) => token],
    },
    leases,
  );
}
