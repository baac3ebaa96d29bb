import { describe, expect, test } from 'vitest';
import {
  MAX_WEBHOOKS,
  webhooksDecider,
  type WebhookCommand,
} from '../../../src/commands/webhooks/decider.ts';
import type { WebhookEvent } from '../../../src/events/webhooks.ts';
import { given } from '../core/given-when-then.ts';

const endpoint = { url: 'https://example.com/hook', types: null, domains: ['state'] };
const createdAt = '2026-01-01T00:00:00.000Z';
const since = '2026-01-02T00:00:00.000Z';
const previousUntil = '2026-01-03T00:00:00.000Z';

function created(webhookId = 'w1'): WebhookEvent {
  const data = { webhookId, ...endpoint, startsAfter: null, salt: 's1', createdAt };
  return { type: 'WebhookCreated', data };
}
const failed: WebhookEvent = {
  type: 'WebhookFailed',
  data: { webhookId: 'w1', since, reason: 'no response' },
};
const ended: WebhookEvent = { type: 'WebhookEnded', data: { webhookId: 'w1', reason: '410' } };
const resumed: WebhookEvent = { type: 'WebhookResumed', data: { webhookId: 'w1' } };
const replayed: WebhookEvent = {
  type: 'WebhookReplayRequested',
  data: { webhookId: 'w1', replayId: 'r1', startsAfter: 'aaaaaaaa-0' },
};
const create: WebhookCommand = {
  type: 'create',
  webhookId: 'w1',
  ...endpoint,
  startsAfter: null,
  salt: 's1',
  createdAt,
};
const resume: WebhookCommand = { type: 'resume', webhookId: 'w1' };
const fail: WebhookCommand = {
  type: 'fail',
  webhookId: 'w1',
  attemptSeries: 0,
  since,
  reason: 'no response',
};
const end: WebhookCommand = { type: 'end', webhookId: 'w1', attemptSeries: 0, reason: '410' };
const replay: WebhookCommand = {
  type: 'replay',
  webhookId: 'w1',
  replayId: 'r1',
  startsAfter: 'aaaaaaaa-0',
};
const rotate: WebhookCommand = {
  type: 'rotate-secret',
  webhookId: 'w1',
  salt: 's2',
  previousUntil,
};

describe('webhooks', () => {
  test('one is created once', () => {
    given(webhooksDecider, []).when(create).thenEvents(created());
    given(webhooksDecider, [created()]).when(create).thenNothing();
  });

  test('a project has a limited number of them, and a deleted one makes room', () => {
    const all = Array.from({ length: MAX_WEBHOOKS }, (_, index) => created(`other-${index}`));
    given(webhooksDecider, all).when(create).thenRefused('too-many-webhooks');
    const deleted: WebhookEvent = { type: 'WebhookDeleted', data: { webhookId: 'other-3' } };
    given(webhooksDecider, [...all, deleted])
      .when(create)
      .thenEvents(created());
  });

  test('every other command on one that does not exist, or is deleted, is not found', () => {
    const deleted: WebhookEvent = { type: 'WebhookDeleted', data: { webhookId: 'w1' } };
    for (const command of [resume, replay, rotate, fail, end]) {
      given(webhooksDecider, []).when(command).thenRefused('not-found');
      given(webhooksDecider, [created(), deleted]).when(command).thenRefused('not-found');
    }
    given(webhooksDecider, [])
      .when({ type: 'delete', webhookId: 'constructor' })
      .thenRefused('not-found');
  });

  test('a change keeps what it does not name, and one that changes nothing records nothing', () => {
    const url = 'https://example.com/other';
    given(webhooksDecider, [created()])
      .when({ type: 'change', webhookId: 'w1', changes: { url } })
      .thenEvents({ type: 'WebhookChanged', data: { webhookId: 'w1', ...endpoint, url } });
    given(webhooksDecider, [created()])
      .when({ type: 'change', webhookId: 'w1', changes: { domains: ['state'] } })
      .thenNothing();
    given(webhooksDecider, [created()])
      .when({ type: 'change', webhookId: 'w1', changes: { domains: null } })
      .thenEvents({
        type: 'WebhookChanged',
        data: { webhookId: 'w1', ...endpoint, domains: null },
      });
  });

  test('a rotated secret has the one before it beside it, and no third', () => {
    const rotated = given(webhooksDecider, [created()]).when(rotate);
    expect(rotated.state.webhooks['w1']?.salts).toEqual([
      { salt: 's2', until: null },
      { salt: 's1', until: previousUntil },
    ]);
    given(webhooksDecider, [created(), ...rotated.events])
      .when(rotate)
      .thenNothing();
    const again = given(webhooksDecider, [created(), ...rotated.events]).when({
      ...rotate,
      salt: 's3',
    });
    expect(again.state.webhooks['w1']?.salts.map(({ salt }) => salt)).toEqual(['s3', 's2']);
  });

  test('one that fails is resumed, once', () => {
    given(webhooksDecider, [created()]).when(fail).thenEvents(failed);
    given(webhooksDecider, [created(), failed]).when(fail).thenNothing();
    given(webhooksDecider, [created(), failed]).when(resume).thenEvents(resumed);
    given(webhooksDecider, [created(), failed, resumed]).when(resume).thenNothing();
    given(webhooksDecider, [created()]).when(resume).thenNothing();
  });

  test('what failed before the owner did something about it is no reason to stop', () => {
    const changed: WebhookEvent = {
      type: 'WebhookChanged',
      data: { webhookId: 'w1', ...endpoint, url: 'https://example.com/other' },
    };
    for (const before of [[failed, resumed], [changed], [replayed]]) {
      given(webhooksDecider, [created(), ...before])
        .when(fail)
        .thenNothing();
      given(webhooksDecider, [created(), ...before])
        .when(end)
        .thenNothing();
      given(webhooksDecider, [created(), ...before])
        .when({ ...fail, attemptSeries: 1 })
        .thenEvents(failed);
    }
  });

  test('a replay is requested once, and also resumes', () => {
    given(webhooksDecider, [created()]).when(replay).thenEvents(replayed);
    given(webhooksDecider, [created(), replayed]).when(replay).thenNothing();
    const { state } = given(webhooksDecider, [created(), failed]).when(replay);
    expect(state.webhooks['w1']?.condition).toEqual({ status: 'active' });
  });

  test('one that ended can only be deleted', () => {
    given(webhooksDecider, [created()]).when(end).thenEvents(ended);
    for (const command of [resume, replay, rotate]) {
      given(webhooksDecider, [created(), ended]).when(command).thenRefused('webhook-ended');
    }
    given(webhooksDecider, [created(), ended]).when(fail).thenNothing();
    given(webhooksDecider, [created(), ended])
      .when({ type: 'delete', webhookId: 'w1' })
      .thenEvents({ type: 'WebhookDeleted', data: { webhookId: 'w1' } });
  });
});
