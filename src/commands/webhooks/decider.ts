import type { WebhookEndpoint, WebhookEvent } from '../../events/webhooks.ts';
import { LedgerError } from '../../shared/errors.ts';
import type { Decider } from '../core/decider.ts';
import { notFound, own } from '../tenancy/key-set.ts';

/** So many webhooks a project has at most. Each is a reading of the log and a connection. */
export const MAX_WEBHOOKS = 20;

/**
 * - `active`: events are sent, and sent again while attempts fail.
 * - `failing`: all attempts of a day have failed; nothing is sent until it is resumed or replayed.
 * - `ended`: the receiver answered 410; nothing is sent any more, and it can only be deleted.
 */
export type WebhookStatus =
  | { readonly status: 'active' }
  | { readonly status: 'failing'; readonly since: string; readonly reason: string }
  | { readonly status: 'ended'; readonly reason: string };

/** A secret is made of its salt. `until`: an earlier secret signs that long beside the newest. */
export interface WebhookSalt {
  readonly salt: string;
  readonly until: string | null;
}

export interface Webhook extends WebhookEndpoint {
  readonly createdAt: string;
  /** The newest first; one or two. */
  readonly salts: readonly WebhookSalt[];
  readonly condition: WebhookStatus;
  /** The id of the last replay; null before the first. */
  readonly replayId: string | null;
  /**
   * Counts what its owner did to have events sent: what failed before that is no reason any more.
   */
  readonly attemptSeries: number;
}

export interface WebhooksState {
  readonly webhooks: Readonly<Record<string, Webhook>>;
}

export type WebhookCommand =
  | ({
      readonly type: 'create';
      readonly webhookId: string;
      readonly startsAfter: string | null;
      readonly salt: string;
      readonly createdAt: string;
    } & WebhookEndpoint)
  | {
      readonly type: 'change';
      readonly webhookId: string;
      readonly changes: Partial<WebhookEndpoint>;
    }
  | {
      readonly type: 'rotate-secret';
      readonly webhookId: string;
      readonly salt: string;
      readonly previousUntil: string;
    }
  | { readonly type: 'resume'; readonly webhookId: string }
  | {
      readonly type: 'replay';
      readonly webhookId: string;
      readonly replayId: string;
      readonly startsAfter: string | null;
    }
  | { readonly type: 'delete'; readonly webhookId: string }
  /** The next two are what the deliverer found, in a series of attempts that may be over by now. */
  | {
      readonly type: 'fail';
      readonly webhookId: string;
      readonly attemptSeries: number;
      readonly since: string;
      readonly reason: string;
    }
  | {
      readonly type: 'end';
      readonly webhookId: string;
      readonly attemptSeries: number;
      readonly reason: string;
    };

/** The webhooks of one project. docs/guides/webhooks.md has a diagram of their status. */
export const webhooksDecider: Decider<WebhooksState, WebhookCommand, WebhookEvent> = {
  fold: 'webhooks:1',
  initialState: { webhooks: {} },

  decide({ webhooks }, command) {
    const { webhookId } = command;
    const webhook = own(webhooks, webhookId);
    if (command.type === 'create') {
      if (webhook !== undefined) return [];
      if (Object.keys(webhooks).length >= MAX_WEBHOOKS) throw tooMany();
      const { url, types, domains, startsAfter, salt, createdAt } = command;
      const data = { webhookId, url, types, domains, startsAfter, salt, createdAt };
      return [{ type: 'WebhookCreated', data }];
    }
    if (webhook === undefined) throw notFound();
    return command.type === 'fail' || command.type === 'end'
      ? stoppedBy(webhook, command)
      : changedBy(webhook, command);
  },

  evolve({ webhooks }, event) {
    const { webhookId } = event.data;
    if (event.type === 'WebhookDeleted') {
      const { [webhookId]: _deleted, ...others } = webhooks;
      return { webhooks: others };
    }
    if (event.type === 'WebhookCreated') {
      return { webhooks: { ...webhooks, [webhookId]: created(event.data) } };
    }
    const webhook = own(webhooks, webhookId);
    if (webhook === undefined) return { webhooks };
    return { webhooks: { ...webhooks, [webhookId]: { ...webhook, ...changed(webhook, event) } } };
  },

  sizeOf: ({ webhooks }) => 2_000 * Object.keys(webhooks).length,
};

type StoppingCommand = Extract<WebhookCommand, { type: 'fail' | 'end' }>;

/**
 * What the deliverer found counts while it is active, and nobody has done anything about it since.
 */
function stoppedBy(
  { condition, attemptSeries }: Webhook,
  command: StoppingCommand,
): readonly WebhookEvent[] {
  if (condition.status !== 'active' || attemptSeries !== command.attemptSeries) return [];
  const { webhookId, reason } = command;
  return command.type === 'end'
    ? [{ type: 'WebhookEnded', data: { webhookId, reason } }]
    : [{ type: 'WebhookFailed', data: { webhookId, since: command.since, reason } }];
}

function changedBy(
  webhook: Webhook,
  command: Exclude<WebhookCommand, StoppingCommand | { type: 'create' }>,
): readonly WebhookEvent[] {
  const { webhookId } = command;
  if (command.type === 'delete') return [{ type: 'WebhookDeleted', data: { webhookId } }];
  const { condition } = webhook;
  if (condition.status === 'ended') throw ended(condition.reason);
  switch (command.type) {
    case 'change': {
      const { url, types, domains } = { ...webhook, ...command.changes };
      const isSame =
        url === webhook.url &&
        JSON.stringify([types, domains]) === JSON.stringify([webhook.types, webhook.domains]);
      return isSame ? [] : [{ type: 'WebhookChanged', data: { webhookId, url, types, domains } }];
    }
    case 'rotate-secret': {
      const { salt, previousUntil } = command;
      return webhook.salts[0]?.salt === salt
        ? []
        : [{ type: 'WebhookSecretRotated', data: { webhookId, salt, previousUntil } }];
    }
    case 'resume':
      return condition.status === 'active' ? [] : [{ type: 'WebhookResumed', data: { webhookId } }];
    case 'replay': {
      const { replayId, startsAfter } = command;
      return webhook.replayId === replayId
        ? []
        : [{ type: 'WebhookReplayRequested', data: { webhookId, replayId, startsAfter } }];
    }
  }
}

function created({
  url,
  types,
  domains,
  salt,
  createdAt,
}: Extract<WebhookEvent, { type: 'WebhookCreated' }>['data']): Webhook {
  return {
    url,
    types,
    domains,
    createdAt,
    salts: [{ salt, until: null }],
    condition: { status: 'active' },
    replayId: null,
    attemptSeries: 0,
  };
}

function changed(
  { salts, attemptSeries }: Webhook,
  event: Exclude<WebhookEvent, { type: 'WebhookCreated' | 'WebhookDeleted' }>,
): Partial<Webhook> {
  const nextSeries = attemptSeries + 1;
  switch (event.type) {
    case 'WebhookChanged': {
      const { url, types, domains } = event.data;
      return { url, types, domains, attemptSeries: nextSeries };
    }
    case 'WebhookSecretRotated': {
      const { salt, previousUntil } = event.data;
      const previous = salts.slice(0, 1).map((newest) => ({ ...newest, until: previousUntil }));
      return { salts: [{ salt, until: null }, ...previous] };
    }
    case 'WebhookFailed': {
      const { since, reason } = event.data;
      return { condition: { status: 'failing', since, reason } };
    }
    case 'WebhookEnded':
      return { condition: { status: 'ended', reason: event.data.reason } };
    case 'WebhookResumed':
      return { condition: { status: 'active' }, attemptSeries: nextSeries };
    case 'WebhookReplayRequested': {
      const { replayId } = event.data;
      return { condition: { status: 'active' }, replayId, attemptSeries: nextSeries };
    }
  }
}

function tooMany(): LedgerError {
  return new LedgerError(
    'too-many-webhooks',
    `A project has at most ${MAX_WEBHOOKS} webhooks: delete one that is not needed any more.`,
  );
}

function ended(reason: string): LedgerError {
  return new LedgerError(
    'webhook-ended',
    `The webhook has ended (${reason}): delete it, and create another one.`,
  );
}
