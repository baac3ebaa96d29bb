import type { Queryable } from '../../database/database.ts';
import { insertRows, rowsAs } from '../../database/rows.ts';
import { sql } from '../../database/sql.ts';
import { deveuiContract, type BatchEvent } from '../../events/deveui.ts';
import type { RecordedEvent } from '../../event-store/port.ts';
import { parseStreamName } from '../../event-store/stream-name.ts';
import type { Projection } from '../engine/projection.ts';
import { deveui, deveuiDdl } from './tables.ts';
import { saveTimelineEvents, type TimelineEvent } from '../timeline-table.ts';
import { answerOf, beginAttempts, endAttempts } from './projection/attempts.ts';

/**
 * Batches of DevEUIs, the DevEUIs that they drew, and every attempt to register one.
 *
 * The counts are of DevEUIs, each of which has one status: attempted = registered + conflicted +
 * unconfirmed + in flight. Those in flight are that difference, which is stored nowhere.
 */
export const deveuiProjection: Projection = {
  name: 'deveui',
  version: 2,
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
  ...deveuiDdl,
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
    return { projectId, recorded, event: deveuiContract.read(recorded) };
  });
  const attempted = ofTypes(applied, 'DevEuiAttempted');
  const answered = ofTypes(applied, ...ANSWERS);
  // In this order an event that ends something finds the row of the one that began it, also where
  // both are applied together. That is enough, since a DevEUI is drawn once, answered once, and not
  // sent again.
  await addBatches(ofTypes(applied, 'BatchRequested'), tx);
  await changeBatches(applied, tx);
  await keepBatchChanges(applied, tx);
  await addDevEuis(attempted, tx);
  await answerDevEuis(answered, tx);
  await beginAttempts(attempted, tx);
  await endAttempts(ofTypes(applied, 'DevEuiAttemptFailed', ...ANSWERS), tx);
  const ofDevEuis = ofTypes(applied, 'DevEuiAttempted', 'DevEuiAttemptFailed', ...ANSWERS);
  await saveTimelineEvents(deveui.deveui_events, ofDevEuis.map(devEuiEvent), tx);
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
  await tx.query(
    insertRows(
      deveui.batches,
      {
        project_id: ['text', ({ projectId }) => projectId],
        batch_id: ['text', ({ event }) => event.data.batchId],
        position: ['bigint', ({ recorded }) => recorded.position],
        size: ['integer', ({ event }) => event.data.size],
        prefix: ['text', ({ event }) => event.data.prefix],
        status: ['text', () => 'Processing'],
        is_hidden: ['boolean', () => false],
        requested_at: ['timestamptz', ({ event }) => event.data.requestedAt],
        attempted: ['integer', () => 0],
        registered: ['integer', () => 0],
        conflicted: ['integer', () => 0],
        unconfirmed: ['integer', () => 0],
        revision: ['bigint', ({ recorded }) => recorded.revision],
        last_position: ['bigint', ({ recorded }) => recorded.position],
      },
      requested,
    ),
  );
}

/** What several events change in one batch together; null: it stays as it was. */
interface BatchChange {
  readonly projectId: string;
  readonly batchId: string;
  revision: bigint;
  lastPosition: bigint;
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
  const change = rowsAs(
    'change',
    {
      project_id: ['text', ({ projectId }) => projectId],
      batch_id: ['text', ({ batchId }) => batchId],
      revision: ['bigint', ({ revision }) => revision],
      last_position: ['bigint', ({ lastPosition }) => lastPosition],
      status: ['text', ({ status }) => status],
      reason: ['text', ({ reason }) => reason],
      is_hidden: ['boolean', ({ isHidden }) => isHidden],
      attempted: ['integer', ({ attempted }) => attempted],
      registered: ['integer', ({ registered }) => registered],
      conflicted: ['integer', ({ conflicted }) => conflicted],
      unconfirmed: ['integer', ({ unconfirmed }) => unconfirmed],
    },
    changes,
  );
  await tx.query(sql`
    update ${deveui.batches} b
    set revision = change.revision,
        last_position = change.last_position,
        status = coalesce(change.status, b.status),
        reason = case when change.status is null then b.reason else change.reason end,
        is_hidden = coalesce(change.is_hidden, b.is_hidden),
        attempted = b.attempted + change.attempted,
        registered = b.registered + change.registered,
        conflicted = b.conflicted + change.conflicted,
        unconfirmed = b.unconfirmed + change.unconfirmed
    from ${change}
    where b.project_id = change.project_id
      and b.batch_id = change.batch_id`);
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
        lastPosition: recorded.position,
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
    change.lastPosition = recorded.position;
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

const STATUS_AFTER: Partial<Record<BatchEvent['type'], BatchChange['status']>> = {
  BatchRequested: 'Processing',
  BatchResumed: 'Processing',
  BatchStopped: 'Stopped',
  BatchCompleted: 'Completed',
  BatchFailed: 'Failed',
};

/** The counts of a batch as of a position follow from its DevEUIs; this is the rest. */
async function keepBatchChanges(applied: readonly Applied[], tx: Queryable): Promise<void> {
  const changes = applied.filter(
    ({ event: { type } }) => type === 'BatchHidden' || STATUS_AFTER[type] !== undefined,
  );
  if (changes.length === 0) return;
  await tx.query(
    insertRows(
      deveui.batch_changes,
      {
        project_id: ['text', ({ projectId }) => projectId],
        batch_id: ['text', ({ event }) => event.data.batchId],
        position: ['bigint', ({ recorded }) => recorded.position],
        status: ['text', ({ event }) => STATUS_AFTER[event.type]],
        reason: ['text', ({ event }) => (event.type === 'BatchFailed' ? event.data.reason : null)],
        is_hidden: ['boolean', ({ event }) => hiddenAfter(event)],
      },
      changes,
    ),
  );
}

function hiddenAfter({ type }: BatchEvent): boolean | null {
  if (type === 'BatchHidden') return true;
  return type === 'BatchRequested' || type === 'BatchResumed' ? false : null;
}

async function addDevEuis(
  attempted: readonly OfType<'DevEuiAttempted'>[],
  tx: Queryable,
): Promise<void> {
  // An attempt without a candidate number sends a DevEUI again that was drawn before.
  const drawn = attempted.filter(({ event }) => event.data.candidate !== null);
  if (drawn.length === 0) return;
  await tx.query(
    insertRows(
      deveui.deveuis,
      {
        project_id: ['text', ({ projectId }) => projectId],
        batch_id: ['text', ({ event }) => event.data.batchId],
        dev_eui: ['text', ({ event }) => event.data.devEui],
        short_code: ['text', ({ event }) => event.data.devEui.slice(-5)],
        candidate: ['integer', ({ event }) => event.data.candidate],
        status: ['text', () => 'in_flight'],
        drawn_position: ['bigint', ({ recorded }) => recorded.position],
      },
      drawn,
    ),
  );
}

async function answerDevEuis(
  answers: readonly OfType<(typeof ANSWERS)[number]>[],
  tx: Queryable,
): Promise<void> {
  if (answers.length === 0) return;
  const answered = rowsAs(
    'answered',
    {
      project_id: ['text', ({ projectId }) => projectId],
      batch_id: ['text', ({ event }) => event.data.batchId],
      dev_eui: ['text', ({ event }) => event.data.devEui],
      status: ['text', ({ event }) => answerOf[event.type]],
      position: ['bigint', ({ recorded }) => recorded.position],
    },
    answers,
  );
  await tx.query(sql`
    update ${deveui.deveuis} d
    set status = answered.status,
        answered_position = answered.position
    from ${answered}
    where d.project_id = answered.project_id
      and d.batch_id = answered.batch_id
      and d.dev_eui = answered.dev_eui`);
}
