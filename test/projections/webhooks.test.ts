import fc from 'fast-check';
import { beforeAll, expect, test } from 'vitest';
import {
  webhooksDecider,
  type WebhookCommand,
  type WebhooksState,
} from '../../src/commands/webhooks/decider.ts';
import { webhooksContract } from '../../src/events/webhooks.ts';
import type { Position } from '../../src/event-store/port.ts';
import { streamName } from '../../src/event-store/stream-name.ts';
import { webhooksProjection } from '../../src/projections/webhooks/projection.ts';
import { WebhookQueries, type WebhookView } from '../../src/projections/webhooks/queries.ts';
import { createTestDatabase } from '../database/test-database.ts';
import { cut, openByHand, type TablesByHand } from './by-hand.ts';
import { happened } from './tenancy-histories.ts';

const testDatabase = createTestDatabase();
let queries: WebhookQueries;
let tables: TablesByHand;
let oneByOne: TablesByHand;
let projects = 0;

beforeAll(async () => {
  const byHand = await openByHand(testDatabase.url, webhooksProjection);
  ({ tables, oneByOne } = byHand);
  queries = new WebhookQueries(byHand.models);
  return byHand.close;
});

const webhookId = fc.constantFrom('a', 'b', 'c');
const names = fc.option(
  fc.constantFrom<string[]>(['SensorPatched'], ['DeviceRegistered', 'SimAssigned']),
);
const endpoint = fc.record({
  url: fc.webUrl(),
  types: names,
  domains: fc.option(fc.constantFrom<string[]>(['state'], ['tenancy', 'usage'])),
});
const time = '2026-01-01T00:00:00.000Z';

const command: fc.Arbitrary<WebhookCommand> = fc.oneof(
  fc.tuple(webhookId, endpoint).map(([id, its]) => ({
    type: 'create' as const,
    webhookId: id,
    ...its,
    startsAfter: null,
    salt: 's',
    createdAt: time,
  })),
  fc
    .tuple(webhookId, endpoint)
    .map(([id, changes]) => ({ type: 'change' as const, webhookId: id, changes })),
  webhookId.map((id) => ({ type: 'resume' as const, webhookId: id })),
  webhookId.map((id) => ({ type: 'delete' as const, webhookId: id })),
  fc.tuple(webhookId, fc.uuid()).map(([id, replayId]) => ({
    type: 'replay' as const,
    webhookId: id,
    replayId,
    startsAfter: null,
  })),
  fc.tuple(webhookId, fc.uuid()).map(([id, salt]) => ({
    type: 'rotate-secret' as const,
    webhookId: id,
    salt,
    previousUntil: time,
  })),
  fc.tuple(webhookId, fc.nat(3)).map(([id, attemptSeries]) => ({
    type: 'fail' as const,
    webhookId: id,
    attemptSeries,
    since: time,
    reason: 'no response',
  })),
  fc.tuple(webhookId, fc.nat(3)).map(([id, attemptSeries]) => ({
    type: 'end' as const,
    webhookId: id,
    attemptSeries,
    reason: '410',
  })),
);

/** As the queries show it. */
function shown({ webhooks }: WebhooksState): object[] {
  return Object.entries(webhooks).map(([id, { condition, ...webhook }]) => ({
    webhookId: id,
    url: webhook.url,
    types: webhook.types,
    domains: webhook.domains,
    status: condition.status,
    reason: condition.status === 'active' ? null : condition.reason,
    failingSince: condition.status === 'failing' ? new Date(condition.since) : null,
    createdAt: new Date(webhook.createdAt),
  }));
}

function byId(one: object, other: object): number {
  return JSON.stringify(one).localeCompare(JSON.stringify(other));
}

function withoutPosition({ createdPosition: _position, ...view }: WebhookView): object {
  return view;
}

test('has the same rows wherever the log is cut, and at any position what a fold has', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(command, { maxLength: 25 }),
      fc.array(fc.integer({ min: 1, max: 8 }), { minLength: 1, maxLength: 4 }),
      async (commands, sizes) => {
        projects += 1;
        const projectId = `p${projects}`;
        const stream = streamName('webhook', projectId, 'project');
        const events = happened(webhooksDecider, commands, () => stream);
        for (const batch of cut(events, sizes)) if (batch.length > 0) await tables.apply(batch);
        for (const event of events) await oneByOne.apply([event]);
        const order = 'webhook_id, from_position';
        const rows = await tables.rows('webhooks', projectId, order);
        expect(rows).toEqual(await oneByOne.rows('webhooks', projectId, order));

        let state = webhooksDecider.initialState;
        for (const recorded of events) {
          state = webhooksDecider.evolve(state, webhooksContract.read(recorded));
          const asOf = recorded.position;
          const { value } = await queries.list(projectId, { limit: 100, asOf }, {});
          expect(value.map(withoutPosition).toSorted(byId)).toEqual(shown(state).toSorted(byId));
        }
        const { value: now } = await queries.list(projectId, { limit: 100 }, {});
        expect(now.map(withoutPosition).toSorted(byId)).toEqual(shown(state).toSorted(byId));
        const pages: WebhookView[] = [];
        let after: Position | undefined;
        for (;;) {
          const { value: page } = await queries.list(projectId, { limit: 1, after }, {});
          if (page[0] === undefined) break;
          pages.push(page[0]);
          after = page[0].createdPosition;
        }
        expect(pages).toEqual(now);
      },
    ),
    { numRuns: 60 },
  );
});
