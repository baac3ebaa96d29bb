import type { Queryable } from '../../database/database.ts';
import { insertRows, rowsAs, type Columns } from '../../database/rows.ts';
import { sql } from '../../database/sql.ts';
import { webhooksContract, type WebhookEvent } from '../../events/webhooks.ts';
import type { RecordedEvent } from '../../event-store/port.ts';
import { parseStreamName } from '../../event-store/stream-name.ts';
import type { Projection } from '../engine/projection.ts';
import { webhooks, webhooksDdl } from './tables.ts';

/**
 * The webhooks of projects, without what signs their messages. Each has a row for each span of
 * positions in which it was so (`from_position` inclusive, `to_position` exclusive, null for now):
 * one query answers "now" and "as of". How far they have been sent is no part of the log, and is
 * not here.
 */
export const webhooksProjection: Projection = {
  name: 'webhooks',
  version: 1,
  handles: webhooksContract.types.filter((type) => type !== 'WebhookSecretRotated'),
  ...webhooksDdl,
  apply,
};

export type WebhookStatusText = 'active' | 'failing' | 'ended';

/** A webhook in one span of positions. */
interface Span {
  readonly projectId: string;
  readonly webhookId: string;
  readonly url: string;
  readonly types: readonly string[] | null;
  readonly domains: readonly string[] | null;
  readonly status: WebhookStatusText;
  readonly failingSince: Date | string | null;
  readonly reason: string | null;
  readonly createdAt: Date | string;
  readonly createdPosition: bigint;
  readonly fromPosition: bigint;
  readonly toPosition: bigint | null;
}

const columns: Columns<Span> = {
  project_id: ['text', ({ projectId }) => projectId],
  webhook_id: ['text', ({ webhookId }) => webhookId],
  url: ['text', ({ url }) => url],
  types: ['json', ({ types }) => types],
  domains: ['json', ({ domains }) => domains],
  status: ['text', ({ status }) => status],
  failing_since: ['timestamptz', ({ failingSince }) => failingSince],
  reason: ['text', ({ reason }) => reason],
  created_at: ['timestamptz', ({ createdAt }) => createdAt],
  created_position: ['bigint', ({ createdPosition }) => createdPosition],
  from_position: ['bigint', ({ fromPosition }) => fromPosition],
  to_position: ['bigint', ({ toPosition }) => toPosition],
};

/**
 * Webhooks change rarely: each event is folded here, whatever else the batch holds of its webhook.
 */
async function apply(events: readonly RecordedEvent[], tx: Queryable): Promise<void> {
  const projectIds = [...new Set(events.map(projectOf))];
  const stored = await currentSpans(projectIds, tx);
  const current = new Map(stored.map((span) => [nameOf(span), span]));
  const ended: Span[] = [];
  for (const recorded of events) {
    const event = webhooksContract.read(recorded);
    const name = nameOf({ projectId: projectOf(recorded), webhookId: event.data.webhookId });
    const before = current.get(name);
    if (before !== undefined) ended.push({ ...before, toPosition: recorded.position });
    const after = spanAfter(before, event, recorded);
    if (after === undefined) current.delete(name);
    else current.set(name, after);
  }
  const known = new Set(stored.map(({ fromPosition }) => fromPosition));
  await endSpans(
    ended.filter(({ fromPosition }) => known.has(fromPosition)),
    tx,
  );
  const begun = [...ended, ...current.values()].filter(
    ({ fromPosition }) => !known.has(fromPosition),
  );
  if (begun.length > 0) await tx.query(insertRows(webhooks.webhooks, columns, begun));
}

function spanAfter(
  before: Span | undefined,
  event: WebhookEvent,
  recorded: RecordedEvent,
): Span | undefined {
  const { position } = recorded;
  if (event.type === 'WebhookCreated') {
    const { webhookId, url, types, domains, createdAt } = event.data;
    return {
      projectId: projectOf(recorded),
      webhookId,
      url,
      types,
      domains,
      createdAt,
      ...ACTIVE,
      createdPosition: position,
      fromPosition: position,
      toPosition: null,
    };
  }
  if (before === undefined || event.type === 'WebhookDeleted') return undefined;
  const since = { ...before, fromPosition: position };
  switch (event.type) {
    case 'WebhookChanged': {
      const { url, types, domains } = event.data;
      return { ...since, url, types, domains };
    }
    case 'WebhookFailed': {
      const { since: failingSince, reason } = event.data;
      return { ...since, status: 'failing', failingSince, reason };
    }
    case 'WebhookEnded':
      return { ...since, status: 'ended', failingSince: null, reason: event.data.reason };
    case 'WebhookResumed':
    case 'WebhookReplayRequested':
      return { ...since, ...ACTIVE };
    case 'WebhookSecretRotated':
      return since;
  }
}

const ACTIVE = { status: 'active', failingSince: null, reason: null } as const;

function projectOf({ stream }: RecordedEvent): string {
  return parseStreamName(stream)?.projectId ?? '';
}

function nameOf({ projectId, webhookId }: Pick<Span, 'projectId' | 'webhookId'>): string {
  return `${projectId}/${webhookId}`;
}

/** A project has few. */
function currentSpans(projectIds: readonly string[], tx: Queryable): Promise<Span[]> {
  return tx.query<Span>(sql`
    select
      project_id as "projectId", webhook_id as "webhookId", url, types, domains, status,
      failing_since as "failingSince", reason, created_at as "createdAt",
      created_position as "createdPosition", from_position as "fromPosition",
      to_position as "toPosition"
    from ${webhooks.webhooks}
    where project_id = any(${projectIds}::text[])
      and to_position is null`);
}

async function endSpans(spans: readonly Span[], tx: Queryable): Promise<void> {
  if (spans.length === 0) return;
  await tx.query(sql`
    update ${webhooks.webhooks} w
    set to_position = ended.to_position
    from ${rowsAs('ended', columns, spans)}
    where w.project_id = ended.project_id
      and w.webhook_id = ended.webhook_id
      and w.from_position = ended.from_position`);
}
