import type { Queryable } from '../../../database/database.ts';
import { insertRows, rowsAs, type Columns } from '../../../database/rows.ts';
import { sql } from '../../../database/sql.ts';
import type { BatchEvent } from '../../../events/deveui.ts';
import type { RecordedEvent } from '../../../event-store/port.ts';
import { deveui } from '../tables.ts';

type Attempted = Extract<BatchEvent, { type: 'DevEuiAttempted' }>;
type Failed = Extract<BatchEvent, { type: 'DevEuiAttemptFailed' }>;
type Answered = Extract<
  BatchEvent,
  { type: 'DevEuiRegistered' | 'DevEuiConflicted' | 'DevEuiUnconfirmed' }
>;

/** How a DevEUI ends. */
export const answerOf = {
  DevEuiRegistered: 'registered',
  DevEuiConflicted: 'conflicted',
  DevEuiUnconfirmed: 'unconfirmed',
} as const satisfies Record<Answered['type'], string>;

interface Applied<Event extends BatchEvent> {
  readonly projectId: string;
  readonly recorded: RecordedEvent;
  readonly event: Event;
}

/** A request is in the log before it leaves, so that each has a row from then on. */
export async function beginAttempts(
  attempted: readonly Applied<Attempted>[],
  tx: Queryable,
): Promise<void> {
  if (attempted.length === 0) return;
  await tx.query(
    insertRows(
      deveui.attempts,
      {
        ...attemptKey,
        position: ['bigint', ({ recorded }) => recorded.position],
        sent_at: ['timestamptz', ({ event }) => event.data.sentAt],
      },
      attempted,
    ),
  );
}

/**
 * An attempt that was given up may be answered after all: the answer is then its outcome. Where two
 * leaders sent one DevEUI, no event ends the attempt that is still in flight when the other one is
 * answered: it is superseded.
 */
export async function endAttempts(
  ended: readonly Applied<Answered | Failed>[],
  tx: Queryable,
): Promise<void> {
  await saveEnds(ended, tx);
  await supersede(ended.filter(isAnswer), tx);
}

const attemptKey: Columns<Applied<Attempted | Answered | Failed>> = {
  project_id: ['text', ({ projectId }) => projectId],
  batch_id: ['text', ({ event }) => event.data.batchId],
  dev_eui: ['text', ({ event }) => event.data.devEui],
  attempt: ['integer', ({ event }) => event.data.attempt],
};

function isAnswer(applied: Applied<Answered | Failed>): applied is Applied<Answered> {
  return applied.event.type !== 'DevEuiAttemptFailed';
}

async function saveEnds(
  ended: readonly Applied<Answered | Failed>[],
  tx: Queryable,
): Promise<void> {
  if (ended.length === 0) return;
  await tx.query(
    insertRows(
      deveui.attempt_ends,
      {
        ...attemptKey,
        position: ['bigint', ({ recorded }) => recorded.position],
        outcome: [
          'text',
          ({ event }) => (event.type === 'DevEuiAttemptFailed' ? 'failed' : answerOf[event.type]),
        ],
        reason: ['text', ({ event }) => ('reason' in event.data ? event.data.reason : null)],
        provider_status: ['integer', ({ event }) => event.data.providerStatus],
        ended_at: ['timestamptz', ({ event }) => event.data.endedAt],
      },
      ended,
    ),
  );
}

async function supersede(answers: readonly Applied<Answered>[], tx: Queryable): Promise<void> {
  if (answers.length === 0) return;
  const answered = rowsAs(
    'answered',
    {
      ...attemptKey,
      position: ['bigint', ({ recorded }) => recorded.position],
      ended_at: ['timestamptz', ({ event }) => event.data.endedAt],
    },
    answers,
  );
  await tx.query(sql`
    insert into ${deveui.attempt_ends} (
      project_id, batch_id, dev_eui, attempt, position, outcome, reason, ended_at
    )
    select
      a.project_id, a.batch_id, a.dev_eui, a.attempt, answered.position, 'failed',
      'superseded: another request for it was answered', answered.ended_at
    from ${answered}
    join ${deveui.attempts} a
      on a.project_id = answered.project_id
      and a.batch_id = answered.batch_id
      and a.dev_eui = answered.dev_eui
      and a.attempt <> answered.attempt
      and a.position < answered.position
    where not exists (
      select
      from ${deveui.attempt_ends} e
      where e.project_id = a.project_id
        and e.batch_id = a.batch_id
        and e.dev_eui = a.dev_eui
        and e.attempt = a.attempt
        and e.position < answered.position
    )`);
}
