import { z } from 'zod';
import { publishedDomains, publishedTypes } from '../../events/published.ts';
import { isPrivateHost } from '../../followers/webhooks/addresses.ts';
import { closestName } from '../../shared/closest-name.ts';
import { timeAnswer } from '../fields.ts';

const MAX_URL_LENGTH = 2_048;

/**
 * Where messages are sent. A host is checked here as far as its name tells, and again at each
 * attempt.
 */
function urlField(arePrivateAllowed: boolean): z.ZodType<string> {
  return z
    .string()
    .max(MAX_URL_LENGTH, `must have at most ${MAX_URL_LENGTH} characters`)
    .superRefine((text, context) => {
      const message = complaintAbout(text, arePrivateAllowed);
      if (message !== undefined) context.addIssue({ code: 'custom', message });
    })
    .transform((text) => new URL(text).href)
    .meta({ override: { type: 'string', format: 'uri', maxLength: MAX_URL_LENGTH } });
}

function complaintAbout(text: string, arePrivateAllowed: boolean): string | undefined {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !['http:', 'https:'].includes(url.protocol)) {
    return 'must be a URL that begins with http:// or https://';
  }
  if (url.username !== '' || url.password !== '') {
    return 'must not hold a user name or password: check the signature of what you receive instead';
  }
  if (!arePrivateAllowed && isPrivateHost(url.hostname)) {
    return 'must have a public address, unless WEBHOOKS_ALLOW_PRIVATE=true is set';
  }
  return undefined;
}

/** Names out of a list; none, as `[]`, stands for all of them. */
function namesField(what: string, known: readonly string[]): z.ZodType<string[] | null> {
  const name = z.string().superRefine((text, context) => {
    if (known.includes(text)) return;
    const closest = closestName(text, known);
    const advice =
      closest === undefined ? `known are ${known.join(', ')}` : `did you mean '${closest}'?`;
    context.addIssue({ code: 'custom', message: `is no ${what}: ${advice}` });
  });
  return z
    .array(name)
    .max(known.length, `must name each ${what} once`)
    .transform((names) => (names.length === 0 ? null : [...new Set(names)]))
    .meta({
      description: `Which ${what}s are sent; [] for all`,
      override: { type: 'array', items: { type: 'string', enum: [...known] } },
    });
}

export const fromField = z
  .string()
  .min(1)
  .max(64)
  .meta({
    description:
      'The first event that is sent: `now` (the default) for the next one, `start` for the first ' +
      'of the log, ' +
      'or a Fleetledger-Position, an RFC 3339 time or a date, itself included',
  });

/** The members of a webhook that clients set, all of them optional in a change. */
export function endpointFields(arePrivateAllowed: boolean): {
  readonly url: z.ZodType<string>;
  readonly types: z.ZodOptional<z.ZodType<string[] | null>>;
  readonly domains: z.ZodOptional<z.ZodType<string[] | null>>;
} {
  return {
    url: urlField(arePrivateAllowed),
    types: namesField('event type', publishedTypes).optional(),
    domains: namesField('domain', publishedDomains).optional(),
  };
}

export const webhookAnswer = z
  .object({
    id: z.string(),
    url: z.string(),
    types: z.array(z.string()).nullable().meta({ description: 'Null: events of every type' }),
    domains: z.array(z.string()).nullable().meta({ description: 'Null: events of every domain' }),
    status: z.enum(['active', 'failing', 'ended']),
    reason: z.string().nullable().meta({ description: 'Why it is failing, or has ended' }),
    created_at: timeAnswer,
  })
  .meta({ id: 'Webhook' });

export const secretAnswer = z.string().meta({
  description: 'What verifies the signatures (Standard Webhooks): shown this once',
  examples: ['whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw'],
});

/**
 * `delivery` is null before the first process has taken the webhook up, and in answers as of the
 * past.
 */
export const deliveredWebhookAnswer = webhookAnswer
  .extend({
    delivery: z
      .object({
        position: z.string().meta({ description: 'Everything up to here has been delivered' }),
        delivered_at: timeAnswer.nullable(),
        failures: z.int().meta({ description: 'Attempts in a row that have failed' }),
        failing_since: timeAnswer.nullable(),
        next_attempt_at: timeAnswer.nullable(),
        last_error: z.string().nullable(),
      })
      .nullable(),
  })
  .meta({ id: 'WebhookWithDelivery' });

export const attemptAnswer = z
  .object({
    id: z.string().meta({ description: 'The webhook-id that was sent' }),
    attempt: z.int(),
    status: z.enum(['delivered', 'failed']),
    response_status: z.int().nullable().meta({ description: 'Null: there was no response' }),
    error: z.string().nullable(),
    events: z.int(),
    first_position: z.string(),
    last_position: z.string(),
    sent_at: timeAnswer,
    duration_ms: z.int(),
  })
  .meta({ id: 'WebhookDelivery' });
