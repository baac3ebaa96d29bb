import { randomUUID } from 'node:crypto';
import type { WebhookCommands } from '../../commands/webhooks/commands.ts';
import { formatPosition } from '../../event-store/position-text.ts';
import type { EventStore, Position } from '../../event-store/port.ts';
import type { SharedFeed } from '../../event-store/shared-feed.ts';
import { publishedDomains } from '../../events/published.ts';
import { retryDelayMs, type Backoff } from '../../shared/backoff.ts';
import type { FairSlots } from '../../shared/fair-slots.ts';
import { sleep } from '../../shared/sleep.ts';
import { entryOf, type Entry } from '../entry.ts';
import { Selection } from '../selection.ts';
import type { AttemptResult, DeliveryClient } from './delivery-client.ts';
import { CONTENT_TYPE, messagesOf, type Message, type MessageScope } from './messages.ts';
import { LeaseLostError, type Attempt, type Lease, type WebhookProgress } from './progress.ts';
import type { RegisteredWebhook, WebhookRegistry } from './registry.ts';
import { signedHeaders } from './signature.ts';

/** How often, and for how long, what fails is sent again. */
export interface RetrySchedule extends Backoff {
  /** So long after the first failure, without a success since, a webhook is failing. */
  readonly giveUpAfterMs: number;
}

export interface RunParts {
  readonly store: EventStore;
  readonly feed: Pick<SharedFeed, 'subscribe'>;
  readonly commands: WebhookCommands;
  readonly client: DeliveryClient;
  readonly progress: WebhookProgress;
  readonly registry: Pick<WebhookRegistry, 'reached'>;
  readonly schedule: RetrySchedule;
  /** Attempts at once in this process, shared by projects. */
  readonly slots: FairSlots;
  /** Told of each attempt. */
  readonly onAttempt: (status: AttemptResult['status']) => void;
}

export interface RunOptions {
  readonly lease: Lease;
  readonly registered: RegisteredWebhook;
  /** Ends the run: the webhook has changed, another process may have it, or this one stops. */
  readonly signal: AbortSignal;
  /** Cuts off an attempt that is under way, too. */
  readonly stopping: AbortSignal;
  /** Whether nobody else can have the lease yet. */
  readonly isHeld: () => boolean;
}

const ACTOR = 'system:webhooks';
/** So often it is recorded that nothing was wanted: a later start then need not read that again. */
const SKIP_INTERVAL_MS = 5_000;
/** What is read at once, and waits to be sent. */
const MAX_READ_BYTES = 1024 * 1024;

interface Found {
  readonly entries: readonly Entry[];
  /** Everything up to here is either among the entries or not wanted. */
  readonly position: Position;
}

interface Outgoing {
  readonly message: Message;
  /** How far the webhook has been sent with it. */
  readonly position: Position;
}

/**
 * Sends one webhook, as it is when this begins, from where it stands: message after message, each
 * until it is delivered, so that nothing is skipped and the order is that of the log.
 */
export class WebhookRun {
  readonly #parts: RunParts;
  readonly #options: RunOptions;
  #position: Position;
  #recordedPosition: Position;
  #failures: number;
  #failingSince: Date | null;
  #nextAttemptAt: Date | null;
  #skippedAtMs = performance.now();

  constructor(parts: RunParts, options: RunOptions) {
    this.#parts = parts;
    this.#options = options;
    const { position, failures, failingSince, nextAttemptAt } = options.lease;
    this.#position = position;
    this.#recordedPosition = position;
    this.#failures = failures;
    this.#failingSince = failingSince;
    this.#nextAttemptAt = nextAttemptAt;
  }

  /**
   * Until the run is ended.
   * @throws LeaseLostError; LedgerError when the store is unavailable
   */
  async run(): Promise<void> {
    const { registered, signal } = this.#options;
    const { projectId, webhookId, webhook, start } = registered;
    await this.#untilNextAttempt();
    const { store } = this.#parts;
    const { types, domains } = webhook;
    const filter = {
      projectId,
      isOwner: true,
      types: types ?? undefined,
      domains: domains === null ? undefined : publishedDomains.filter((it) => domains.includes(it)),
    };
    const selection = await Selection.after(store, filter, this.#position);
    const scope = {
      projectId,
      webhookId,
      startSeries: start.series,
      formatPosition: (position: Position) => formatPosition(store.logId, position),
    };
    while (!signal.aborted) {
      const undelivered = await this.#deliverNext(selection, scope);
      if (undelivered !== undefined) await this.#deliverAgain(undelivered);
    }
    if (this.#position > this.#recordedPosition) await this.#recordSkip();
  }

  /**
   * Delivers what is read next. The first message whose attempt fails is given back alone, and what
   * follows it is read again later: attempts may fail for a day, and many webhooks at once.
   */
  async #deliverNext(selection: Selection, scope: MessageScope): Promise<Outgoing | undefined> {
    const found = await this.#find(selection);
    if (found === undefined) return undefined;
    const { entries, position } = found;
    for (const message of messagesOf(entries, scope)) {
      if (this.#options.signal.aborted) return undefined;
      const isLast = message.lastPosition === entries.at(-1)?.position;
      const outgoing = { message, position: isLast ? position : message.lastPosition };
      if (!(await this.#isDelivered(outgoing))) return outgoing;
    }
    return undefined;
  }

  /**
   * The next events that are wanted; undefined when the run is ended. The registry reads the log
   * apart from this, and a change of the webhook ends the run. So no batch is looked at before the
   * registry knows it: what follows a change would be passed over by the filters before it.
   */
  async #find(selection: Selection): Promise<Found | undefined> {
    const { signal, registered } = this.#options;
    const { feed, registry } = this.#parts;
    const { types } = selection;
    const reading = { after: this.#position, types, signal, share: registered.projectId };
    for await (const { events, position } of feed.subscribe(reading)) {
      await registry.reached(position, signal);
      if (signal.aborted) return undefined;
      const entries: Entry[] = [];
      let bytes = 0;
      for (const recorded of events) {
        const entry = entryOf(recorded);
        if (entry === undefined || !selection.has(entry)) continue;
        entries.push(entry);
        bytes += JSON.stringify(entry.shown).length;
        // What lies behind it is read again when these are delivered.
        if (bytes > MAX_READ_BYTES) return { entries, position: entry.position };
      }
      if (entries.length > 0) return { entries, position };
      this.#position = position;
      if (performance.now() - this.#skippedAtMs > SKIP_INTERVAL_MS) await this.#recordSkip();
    }
    return undefined;
  }

  async #recordSkip(): Promise<void> {
    this.#skippedAtMs = performance.now();
    await this.#parts.progress.skipTo(this.#options.lease, this.#position);
    this.#recordedPosition = this.#position;
  }

  /** Until it is delivered, or the run is ended. */
  async #deliverAgain(outgoing: Outgoing): Promise<void> {
    const { signal } = this.#options;
    while (!signal.aborted) {
      await this.#untilNextAttempt();
      if (await this.#isDelivered(outgoing)) return;
    }
  }

  /** One attempt, recorded with its result; false also where the run was ended before it. */
  async #isDelivered({ message, position }: Outgoing): Promise<boolean> {
    const { progress, onAttempt } = this.#parts;
    const attempted = await this.#attempt(message);
    if (attempted === undefined) return false;
    const { result, attempt } = attempted;
    onAttempt(result.status);
    if (result.status !== 'delivered') {
      await this.#failed(result, attempt);
      return false;
    }
    await progress.delivered(this.#options.lease, attempt, position);
    this.#position = position;
    this.#recordedPosition = position;
    this.#failures = 0;
    this.#failingSince = null;
    this.#nextAttemptAt = null;
    return true;
  }

  /**
   * Undefined where the run was ended before anything was sent, or the process's end cut it off.
   * @throws LeaseLostError where another process may have taken the webhook over
   */
  async #attempt(
    message: Message,
  ): Promise<{ readonly result: AttemptResult; readonly attempt: Attempt } | undefined> {
    const { registered, signal, stopping, isHeld } = this.#options;
    const { projectId, webhook } = registered;
    const { slots, client, commands } = this.#parts;
    return slots.run(projectId, async () => {
      if (signal.aborted) return undefined;
      if (!isHeld()) throw new LeaseLostError();
      const sentAt = new Date();
      const startedAtMs = performance.now();
      const { id, body } = message;
      const timestamp = Math.floor(sentAt.getTime() / 1_000);
      const secrets = commands.secretsOf(registered, webhook, sentAt);
      const headers = {
        'content-type': CONTENT_TYPE,
        ...signedHeaders(secrets, { id, timestamp, body }),
      };
      const result = await client.post(webhook.url, headers, body, stopping);
      if (stopping.aborted && result.status === 'failed') return undefined;
      const attempt = {
        messageId: id,
        attempt: this.#failures + 1,
        responseStatus: result.responseStatus,
        error: result.status === 'delivered' ? null : result.error,
        events: message.events,
        firstPosition: message.firstPosition,
        lastPosition: message.lastPosition,
        sentAt,
        durationMs: Math.round(performance.now() - startedAtMs),
      };
      return { result, attempt };
    });
  }

  async #failed(
    result: Exclude<AttemptResult, { status: 'delivered' }>,
    attempt: Attempt,
  ): Promise<void> {
    const { lease } = this.#options;
    const { progress, schedule } = this.#parts;
    this.#failures += 1;
    this.#failingSince ??= attempt.sentAt;
    const isOver = Date.now() - this.#failingSince.getTime() >= schedule.giveUpAfterMs;
    if (result.status === 'gone' || isOver) {
      await progress.failed(lease, attempt, null);
      await this.#stop(result);
      return;
    }
    const waitMs = retryDelayMs(schedule, this.#failures, result.retryAfterMs);
    this.#nextAttemptAt = new Date(Date.now() + waitMs);
    await progress.failed(lease, attempt, this.#nextAttemptAt);
  }

  /**
   * Has it recorded that nothing more is to be sent, and waits until the registry has heard of it.
   */
  async #stop({ status, error: reason }: { status: string; error: string }): Promise<void> {
    const { registered, signal } = this.#options;
    const { projectId, webhookId, webhook } = registered;
    const { attemptSeries } = webhook;
    const since = (this.#failingSince ?? new Date()).toISOString();
    const context = { projectId, actor: ACTOR, correlationId: randomUUID() };
    await this.#parts.commands.stop(
      status === 'gone'
        ? { type: 'end', webhookId, attemptSeries, reason }
        : { type: 'fail', webhookId, attemptSeries, since, reason },
      context,
    );
    if (signal.aborted) return;
    await new Promise<void>((resolve) => {
      signal.addEventListener('abort', () => resolve(), { once: true });
    });
  }

  async #untilNextAttempt(): Promise<void> {
    const time = this.#nextAttemptAt;
    const waitMs = time === null ? 0 : time.getTime() - Date.now();
    if (waitMs <= 0) return;
    await sleep(waitMs, this.#options.signal);
  }
}
