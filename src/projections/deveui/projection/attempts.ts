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
        outcome: ['text', () => 'in_flight'],
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
  await saveEnds(lastOfEach(ended), tx);
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

/** The last event of each attempt: an update takes either of two rows for one. */
function lastOfEach(
  ended: readonly Applied<Answered | Failed>[],
): readonly Applied<Answered | Failed>[] {
  const last = new Map<string, Applied<Answered | Failed>>();
  for (const applied of ended) {
    const { devEui, attempt } = applied.event.data;
    last.set(`${applied.recorded.stream} ${devEui} ${attempt}`, applied);
  }
  return [...last.values()];
}

async function saveEnds(ends: readonly Applied<Answered | Failed>[], tx: Queryable): Promise<void> {
  if (ends.length === 0) return;
  const ended = rowsAs(
    'ended',
    {
      ...attemptKey,
      outcome: [
        'text',
        ({ event }) => (event.type === 'DevEuiAttemptFailed' ? 'failed' : answerOf[event.type]),
      ],
      reason: ['text', ({ event }) => ('reason' in event.data ? event.data.reason : null)],
      provider_status: ['integer', ({ event }) => event.data.providerStatus],
      ended_at: ['timestamptz', ({ event }) => event.data.endedAt],
    },
    ends,
  );
  await tx.query(sql`
    update ${deveui.attempts} a
    set outcome = ended.outcome,
        reason = ended.reason,
        provider_status = ended.provider_status,
        ended_at = ended.ended_at
    from ${ended}
    where a.project_id = ended.project_id
      and a.batch_id = ended.batch_id
      and a.dev_eui = ended.dev_eui
      and a.attempt = ended.attempt`);
}

async function supersede(answers: readonly Applied<Answered>[], tx: Queryable): Promise<void> {
  if (answers.length === 0) return;
  const answered = rowsAs(
    'answered',
    { ...attemptKey, ended_at: ['timestamptz', ({ event }) => event.data.endedAt] },
    answers,
  );
  await tx.query(sql`
    update ${deveui.attempts} a
    set outcome = 'failed',
        reason = 'superseded: another request for it was answered',
        ended_at = answered.ended_at
    from ${answered}
    where a.project_id = answered.project_id
      and a.batch_id = answered.batch_id
      and a.dev_eui = answered.dev_eui
      and a.outcome = 'in_flight'`);
}
