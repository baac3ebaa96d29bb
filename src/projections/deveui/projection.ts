import type { Queryable } from '../../database/database.ts';
import type { BatchEvent } from '../../events/deveui.ts';
import { domainEvent } from '../../events/registry.ts';
import type { RecordedEvent } from '../../event-store/port.ts';
import { parseStreamName } from '../../event-store/stream-name.ts';
import type { Projection } from '../engine/projection.ts';
import {
  saveTimelineEvents,
  timelineTableKey,
  timelineTable,
  type TimelineEvent,
} from '../timeline-table.ts';
import { answerOf, beginAttempts, endAttempts } from './projection/attempts.ts';

/**
 * Batches of DevEUIs, the DevEUIs that they drew, and every attempt to register one.
 *
 * Counts are of DevEUIs, each of which is in one situation: attempted = registered + conflicted +
 * unconfirmed + in flight. What is in flight is that difference, and stored nowhere.
 */
export const deveuiProjection: Projection = {
  name: 'deveui',
  version: 1,
  handles: [
    'BatchRequested',
    'BatchResumed',
    'BatchStopped',
    'BatchCompleted',
    'BatchFailed',
    'BatchHidden',
    'DevEuiAttempted',
    'DevEuiRegistered',
    'DevEuiConflicted',
    'DevEuiUnconfirmed',
    'DevEuiAttemptFailed',
  ],
  tables: `
    create table batches (
      project_id   text        not null collate "C",
      batch_id     text        not null collate "C",
      position     bigint      not null,
      size         integer     not null,
      prefix       text        not null,
      status       text        not null,
      reason       text,
      is_hidden    boolean     not null,
      requested_at timestamptz not null,
      attempted    integer     not null,
      registered   integer     not null,
      conflicted   integer     not null,
      unconfirmed  integer     not null,
      revision     bigint      not null,
      primary key (project_id, batch_id)
    );

    create table deveuis (
      project_id text    not null collate "C",
      batch_id   text    not null collate "C",
      dev_eui    text    not null collate "C",
      short_code text    not null collate "C",
      candidate  integer not null,
      status     text    not null,
      primary key (project_id, batch_id, dev_eui)
    );

    create table attempts (
      project_id      text        not null collate "C",
      batch_id        text        not null collate "C",
      dev_eui         text        not null collate "C",
      attempt         integer     not null,
      position        bigint      not null,
      outcome         text        not null,
      reason          text,
      provider_status integer,
      sent_at         timestamptz not null,
      ended_at        timestamptz,
      primary key (project_id, batch_id, dev_eui, attempt)
    );
    ${timelineTable('deveui_events')}`,
  indexes: `
    create index batches_by_position on batches (project_id, position);
    create index deveuis_by_deveui on deveuis (project_id, dev_eui, batch_id);
    create index deveuis_by_short_code on deveuis (project_id, short_code, dev_eui, batch_id);
    create index deveuis_by_candidate on deveuis (project_id, batch_id, candidate);
    create index attempts_by_position on attempts (project_id, batch_id, position);
    ${timelineTableKey('deveui_events')}`,
  apply,
};

interface Applied<Event extends BatchEvent = BatchEvent> {
  readonly projectId: string;
  readonly recorded: RecordedEvent;
  readonly event: Event;
}

const ANSWERS = ['DevEuiRegistered', 'DevEuiConflicted', 'DevEuiUnconfirmed'] as const;

type OfType<Type extends BatchEvent['type']> = Applied<Extract<BatchEvent, { type: Type }>>;

async function apply(events: readonly RecordedEvent[], tx: Queryable): Promise<void> {
  const applied = events.map((recorded): Applied => {
    const projectId = parseStreamName(recorded.stream)?.projectId ?? '';
    return { projectId, recorded, event: domainEvent(recorded) as BatchEvent };
  });
  const attempted = ofTypes(applied, 'DevEuiAttempted');
  const answered = ofTypes(applied, ...ANSWERS);
  // In this order what ends something finds what began it, also where both are in one batch of
  // events. And it is enough: a DevEUI is drawn once and answered once, and not asked for after that.
  await addBatches(ofTypes(applied, 'BatchRequested'), tx);
  await changeBatches(applied, tx);
  await addDevEuis(attempted, tx);
  await answerDevEuis(answered, tx);
  await beginAttempts(attempted, tx);
  await endAttempts(ofTypes(applied, 'DevEuiAttemptFailed', ...ANSWERS), tx);
  const ofDevEuis = ofTypes(applied, 'DevEuiAttempted', 'DevEuiAttemptFailed', ...ANSWERS);
  await saveTimelineEvents('deveui_events', ofDevEuis.map(devEuiEvent), tx);
}

function devEuiEvent({
  projectId,
  recorded,
  event,
}: OfType<'DevEuiAttempted' | 'DevEuiAttemptFailed' | (typeof ANSWERS)[number]>): TimelineEvent {
  return { projectId, subject: event.data.devEui, recorded, data: event.data };
}

function ofTypes<Type extends BatchEvent['type']>(
  applied: readonly Applied[],
  ...types: readonly Type[]
): OfType<Type>[] {
  return applied.filter(({ event }) =>
    (types as readonly string[]).includes(event.type),
  ) as OfType<Type>[];
}

async function addBatches(
  requested: readonly OfType<'BatchRequested'>[],
  tx: Queryable,
): Promise<void> {
  if (requested.length === 0) return;
  await tx.query({
    name: 'add-batches',
    text: `
      insert into batches (
        project_id, batch_id, position, size, prefix, status, is_hidden, requested_at,
        attempted, registered, conflicted, unconfirmed, revision
      )
      select
        project_id, batch_id, position, size, prefix, 'Processing', false, requested_at,
        0, 0, 0, 0, revision
      from unnest(
        $1::text[],        /* projects */
        $2::text[],        /* batches */
        $3::bigint[],      /* positions */
        $4::integer[],     /* sizes */
        $5::text[],        /* prefixes */
        $6::timestamptz[], /* requested at */
        $7::bigint[]       /* revisions */
      ) as requested (project_id, batch_id, position, size, prefix, requested_at, revision)`,
    values: [
      requested.map(({ projectId }) => projectId),
      requested.map(({ event }) => event.data.batchId),
      requested.map(({ recorded }) => recorded.position),
      requested.map(({ event }) => event.data.size),
      requested.map(({ event }) => event.data.prefix),
      requested.map(({ event }) => event.data.requestedAt),
      requested.map(({ recorded }) => recorded.revision),
    ],
  });
}

/** What several events make of one batch together; null: as it was. */
interface BatchChange {
  readonly projectId: string;
  readonly batchId: string;
  revision: bigint;
  status: 'Processing' | 'Stopped' | 'Failed' | 'Completed' | null;
  reason: string | null;
  isHidden: boolean | null;
  attempted: number;
  registered: number;
  conflicted: number;
  unconfirmed: number;
}

/** Adds to what is there, so that nothing is loaded first. */
async function changeBatches(applied: readonly Applied[], tx: Queryable): Promise<void> {
  const changes = changesOf(applied);
  if (changes.length === 0) return;
  await tx.query({
    name: 'change-batches',
    text: `
      update batches b
      set revision = change.revision,
          status = coalesce(change.status, b.status),
          reason = case when change.status is null then b.reason else change.reason end,
          is_hidden = coalesce(change.is_hidden, b.is_hidden),
          attempted = b.attempted + change.attempted,
          registered = b.registered + change.registered,
          conflicted = b.conflicted + change.conflicted,
          unconfirmed = b.unconfirmed + change.unconfirmed
      from unnest(
        $1::text[],     /* projects */
        $2::text[],     /* batches */
        $3::bigint[],   /* revisions */
        $4::text[],     /* statuses */
        $5::text[],     /* reasons */
        $6::boolean[],  /* hidden */
        $7::integer[],  /* attempted */
        $8::integer[],  /* registered */
        $9::integer[],  /* conflicted */
        $10::integer[]  /* unconfirmed */
      ) as change (
        project_id, batch_id, revision, status, reason, is_hidden,
        attempted, registered, conflicted, unconfirmed
      )
      where b.project_id = change.project_id
        and b.batch_id = change.batch_id`,
    values: [
      changes.map(({ projectId }) => projectId),
      changes.map(({ batchId }) => batchId),
      changes.map(({ revision }) => revision),
      changes.map(({ status }) => status),
      changes.map(({ reason }) => reason),
      changes.map(({ isHidden }) => isHidden),
      changes.map(({ attempted }) => attempted),
      changes.map(({ registered }) => registered),
      changes.map(({ conflicted }) => conflicted),
      changes.map(({ unconfirmed }) => unconfirmed),
    ],
  });
}

function changesOf(applied: readonly Applied[]): BatchChange[] {
  const changes = new Map<string, BatchChange>();
  for (const { projectId, recorded, event } of applied) {
    let change = changes.get(recorded.stream);
    if (change === undefined) {
      change = {
        projectId,
        batchId: event.data.batchId,
        revision: recorded.revision,
        status: null,
        reason: null,
        isHidden: null,
        attempted: 0,
        registered: 0,
        conflicted: 0,
        unconfirmed: 0,
      };
      changes.set(recorded.stream, change);
    }
    change.revision = recorded.revision;
    addTo(change, event);
  }
  return [...changes.values()];
}

function addTo(change: BatchChange, event: BatchEvent): void {
  switch (event.type) {
    case 'BatchRequested':
    case 'DevEuiAttemptFailed':
      return;
    case 'BatchResumed':
      change.status = 'Processing';
      change.reason = null;
      change.isHidden = false;
      return;
    case 'BatchStopped':
      change.status = 'Stopped';
      change.reason = null;
      return;
    case 'BatchCompleted':
      change.status = 'Completed';
      change.reason = null;
      return;
    case 'BatchFailed':
      change.status = 'Failed';
      change.reason = event.data.reason;
      return;
    case 'BatchHidden':
      change.isHidden = true;
      return;
    case 'DevEuiAttempted':
      if (event.data.candidate !== null) change.attempted += 1;
      return;
    case 'DevEuiRegistered':
    case 'DevEuiConflicted':
    case 'DevEuiUnconfirmed':
      change[answerOf[event.type]] += 1;
  }
}

async function addDevEuis(
  attempted: readonly OfType<'DevEuiAttempted'>[],
  tx: Queryable,
): Promise<void> {
  // One without a place was drawn before.
  const drawn = attempted.filter(({ event }) => event.data.candidate !== null);
  if (drawn.length === 0) return;
  await tx.query({
    name: 'add-deveuis',
    text: `
      insert into deveuis (project_id, batch_id, dev_eui, short_code, candidate, status)
      select project_id, batch_id, dev_eui, right(dev_eui, 5), candidate, 'in_flight'
      from unnest(
        $1::text[],   /* projects */
        $2::text[],   /* batches */
        $3::text[],   /* DevEUIs */
        $4::integer[] /* candidates */
      ) as drawn (project_id, batch_id, dev_eui, candidate)`,
    values: [
      drawn.map(({ projectId }) => projectId),
      drawn.map(({ event }) => event.data.batchId),
      drawn.map(({ event }) => event.data.devEui),
      drawn.map(({ event }) => event.data.candidate),
    ],
  });
}

async function answerDevEuis(
  answered: readonly OfType<(typeof ANSWERS)[number]>[],
  tx: Queryable,
): Promise<void> {
  if (answered.length === 0) return;
  await tx.query({
    name: 'answer-deveuis',
    text: `
      update deveuis d
      set status = answered.status
      from unnest(
        $1::text[], /* projects */
        $2::text[], /* batches */
        $3::text[], /* DevEUIs */
        $4::text[]  /* statuses */
      ) as answered (project_id, batch_id, dev_eui, status)
      where d.project_id = answered.project_id
        and d.batch_id = answered.batch_id
        and d.dev_eui = answered.dev_eui`,
    values: [
      answered.map(({ projectId }) => projectId),
      answered.map(({ event }) => event.data.batchId),
      answered.map(({ event }) => event.data.devEui),
      answered.map(({ event }) => answerOf[event.type]),
    ],
  });
}
