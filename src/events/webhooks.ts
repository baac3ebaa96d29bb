import { z } from 'zod';
import { defineContract, defineEvent, type EventsOf } from './event.ts';

/** What a webhook is sent, and where. Null: events of every type, or of every domain. */
const endpoint = z.object({
  url: z.string(),
  types: z.array(z.string()).nullable(),
  domains: z.array(z.string()).nullable(),
});
export type WebhookEndpoint = z.infer<typeof endpoint>;

/**
 * The position, as clients write it, after which the events begin that are sent. Null: that of the
 * event which says so, hence what comes from now on.
 */
const startsAfter = z.string().nullable();

/**
 * The webhooks of a project. Stream `webhook-<project>.project`: one for all of them, as their
 * number is limited. `salt` and a secret of the installation give the secret that signs what is
 * sent, so the log holds no secret.
 */
const webhookCreated = defineEvent(
  'WebhookCreated',
  z.object({
    webhookId: z.string(),
    ...endpoint.shape,
    startsAfter,
    salt: z.string(),
    createdAt: z.iso.datetime(),
  }),
);
const webhookChanged = defineEvent(
  'WebhookChanged',
  z.object({ webhookId: z.string(), ...endpoint.shape }),
);
/** Until `previousUntil` the secret before it signs, too. */
const webhookSecretRotated = defineEvent(
  'WebhookSecretRotated',
  z.object({ webhookId: z.string(), salt: z.string(), previousUntil: z.iso.datetime() }),
);
/** Every attempt since `since` has failed: nothing is sent until it is resumed. */
const webhookFailed = defineEvent(
  'WebhookFailed',
  z.object({ webhookId: z.string(), since: z.iso.datetime(), reason: z.string() }),
);
const webhookResumed = defineEvent('WebhookResumed', z.object({ webhookId: z.string() }));
/** It begins again after another position, whatever its status was. */
const webhookReplayRequested = defineEvent(
  'WebhookReplayRequested',
  z.object({ webhookId: z.string(), replayId: z.string(), startsAfter }),
);
/** The receiver wants no more. */
const webhookEnded = defineEvent(
  'WebhookEnded',
  z.object({ webhookId: z.string(), reason: z.string() }),
);
const webhookDeleted = defineEvent('WebhookDeleted', z.object({ webhookId: z.string() }));

export const webhooksContract = defineContract({
  categories: ['webhook'],
  events: [
    webhookCreated,
    webhookChanged,
    webhookSecretRotated,
    webhookFailed,
    webhookResumed,
    webhookReplayRequested,
    webhookEnded,
    webhookDeleted,
  ],
});
export type WebhookEvent = EventsOf<typeof webhooksContract>;
