import { z } from 'zod';
import type { Commanded, WebhookCommands } from '../../commands/webhooks/commands.ts';
import type { Positions } from '../../event-store/positions.ts';
import { BEGINNING } from '../../event-store/port.ts';
import type { JsonObject } from '../../shared/json.ts';
import { idField } from '../fields.ts';
import type { RouteParts } from '../route-parts.ts';
import { defineRoute, jsonBody, type Answer, type Route } from '../route.ts';
import { refusedAt } from '../validation.ts';
import { endpointFields, fromField, secretAnswer, webhookAnswer } from './fields.ts';

const byId = z.object({ id: idField });
const shared = { tag: 'Webhooks', access: ['owner'] } as const;

const DAY_SECONDS = 24 * 60 * 60;
const MAX_OVERLAP_SECONDS = 7 * DAY_SECONDS;

type Parts = Pick<RouteParts, 'positions' | 'arePrivateWebhooksAllowed'>;

export function webhookCommandRoutes(commands: WebhookCommands, parts: Parts): Route[] {
  return [
    createRoute(commands, parts),
    updateRoute(commands, parts),
    deleteRoute(commands),
    resumeRoute(commands),
    replayRoute(commands, parts),
    rotateRoute(commands),
  ];
}

function createRoute(commands: WebhookCommands, parts: Parts): Route {
  const fields = endpointFields(parts.arePrivateWebhooksAllowed);
  return defineRoute({
    ...shared,
    method: 'post',
    path: '/webhooks',
    operationId: 'createWebhook',
    summary: 'Create a webhook',
    body: jsonBody(z.strictObject({ ...fields, from: fromField.optional() }), {
      url: 'https://example.com/fleetledger',
      domains: ['state', 'firmware'],
    }),
    answers: { 201: webhookAnswer.extend({ secret: secretAnswer }) },
    errors: ['too-many-webhooks', 'position-of-another-log'],
    async handle({ body, now, entropy, command }) {
      const { url, types = null, domains = null, from } = body;
      const startsAfter = await startOf(from, parts.positions);
      const run = { now, entropy };
      const created = await commands.create({ url, types, domains, startsAfter }, run, command());
      const answer = answerOf(created, 201);
      return withSecret(answer, created.secret, {
        Location: `/api/v1/webhooks/${created.webhookId}`,
      });
    },
  });
}

function updateRoute(commands: WebhookCommands, parts: Parts): Route {
  const { url, ...filters } = endpointFields(parts.arePrivateWebhooksAllowed);
  return defineRoute({
    ...shared,
    method: 'patch',
    path: '/webhooks/{id}',
    operationId: 'updateWebhook',
    summary: 'Change the URL or the filters of a webhook',
    params: byId,
    body: jsonBody(z.strictObject({ url: url.optional(), ...filters }), { types: [] }),
    answers: { 200: webhookAnswer },
    errors: ['not-found', 'webhook-ended'],
    async handle({ params, body, command }) {
      const changes = {
        ...(body.url !== undefined && { url: body.url }),
        ...(body.types !== undefined && { types: body.types }),
        ...(body.domains !== undefined && { domains: body.domains }),
      };
      return answerOf(await commands.change(params.id, changes, command()), 200);
    },
  });
}

function deleteRoute(commands: WebhookCommands): Route {
  return defineRoute({
    ...shared,
    method: 'delete',
    path: '/webhooks/{id}',
    operationId: 'deleteWebhook',
    summary: 'Delete a webhook and its delivery records',
    params: byId,
    answers: { 204: null },
    errors: ['not-found'],
    async handle({ params, command }) {
      const { position } = await commands.delete(params.id, command());
      return { status: 204, position };
    },
  });
}

function resumeRoute(commands: WebhookCommands): Route {
  return defineRoute({
    ...shared,
    method: 'post',
    path: '/webhooks/{id}/resume',
    operationId: 'resumeWebhook',
    summary: 'Resume a failing webhook from its last delivery',
    params: byId,
    body: { ...jsonBody(z.strictObject({}), {}), isOptional: true },
    answers: { 200: webhookAnswer },
    errors: ['not-found', 'webhook-ended'],
    handle: async ({ params, command }) =>
      answerOf(await commands.resume(params.id, command()), 200),
  });
}

function replayRoute(commands: WebhookCommands, { positions }: Parts): Route {
  return defineRoute({
    ...shared,
    method: 'post',
    path: '/webhooks/{id}/replay',
    operationId: 'replayWebhook',
    summary: 'Send events again from a position; also resumes a failing webhook',
    params: byId,
    body: jsonBody(z.strictObject({ from: fromField }), { from: 'start' }),
    answers: { 200: webhookAnswer },
    errors: ['not-found', 'webhook-ended', 'position-of-another-log'],
    async handle({ params, body, now, entropy, command }) {
      const startsAfter = await startOf(body.from, positions);
      const run = { now, entropy };
      return answerOf(await commands.replay(params.id, startsAfter, run, command()), 200);
    },
  });
}

function rotateRoute(commands: WebhookCommands): Route {
  const rule = `must be a whole number from 0 to ${MAX_OVERLAP_SECONDS}`;
  const overlap = z.int(rule).min(0, rule).max(MAX_OVERLAP_SECONDS, rule).optional().meta({
    description: 'How long the secret before signs as well; a day unless it is given',
  });
  return defineRoute({
    ...shared,
    method: 'post',
    path: '/webhooks/{id}/rotate-secret',
    operationId: 'rotateWebhookSecret',
    summary: 'Replace the secret of a webhook',
    params: byId,
    body: {
      ...jsonBody(z.strictObject({ overlap_seconds: overlap }), { overlap_seconds: 3_600 }),
      isOptional: true,
    },
    answers: { 200: webhookAnswer.extend({ secret: secretAnswer }) },
    errors: ['not-found', 'webhook-ended'],
    async handle({ params, body, now, entropy, command }) {
      const { overlap_seconds: overlapSeconds = DAY_SECONDS } = body;
      const run = { now, entropy };
      const context = command();
      const rotated = await commands.rotateSecret(params.id, overlapSeconds * 1_000, run, context);
      return withSecret(answerOf(rotated, 200), rotated.secret);
    },
  });
}

/** The position after which the events begin, as text; null for now. */
async function startOf(from = 'now', positions: Positions): Promise<string | null> {
  if (from === 'now') return null;
  if (from === 'start') return positions.format(BEGINNING);
  return positions.format(await positions.before(from).catch(refusedAt('body.from')));
}

interface WebhookAnswer extends Answer {
  readonly body: JsonObject;
}

function answerOf({ webhookId, webhook, position }: Commanded, status: number): WebhookAnswer {
  const { url, types, domains, condition, createdAt } = webhook;
  return {
    status,
    position,
    body: {
      id: webhookId,
      url,
      types: types === null ? null : [...types],
      domains: domains === null ? null : [...domains],
      status: condition.status,
      reason: condition.status === 'active' ? null : condition.reason,
      created_at: createdAt,
    },
  };
}

/** A secret must be kept neither in the log nor on the way: a repetition makes the answer anew. */
function withSecret(
  answer: WebhookAnswer,
  secret: string,
  headers: Readonly<Record<string, string>> = {},
): Answer {
  return {
    ...answer,
    body: { ...answer.body, secret },
    headers: { ...headers, 'Cache-Control': 'no-store' },
    isKeptByItem: true,
  };
}
