import type { Queryable } from '../../../database/database.ts';
import type { BatchEvent } from '../../../events/deveui.ts';
import type { RecordedEvent } from '../../../event-store/port.ts';

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

/** A request is in the log before it leaves, so each has a row from then on. */
export async function beginAttempts(
  attempted: readonly Applied<Attempted>[],
  tx: Queryable,
): Promise<void> {
  if (attempted.length === 0) return;
  await tx.query({
    name: 'begin-attempts',
    text: `
      insert into attempts (project_id, batch_id, dev_eui, attempt, position, sent_at, outcome)
      select attempted.*, 'in_flight'
      from unnest(
        $1::text[],       /* projects */
        $2::text[],       /* batches */
        $3::text[],       /* DevEUIs */
        $4::integer[],    /* attempts */
        $5::bigint[],     /* positions */
        $6::timestamptz[] /* sent at */
      ) as attempted`,
    values: [
      attempted.map(({ projectId }) => projectId),
      attempted.map(({ event }) => event.data.batchId),
      attempted.map(({ event }) => event.data.devEui),
      attempted.map(({ event }) => event.data.attempt),
      attempted.map(({ recorded }) => recorded.position),
      attempted.map(({ event }) => event.data.sentAt),
    ],
  });
}

/**
 * One that was given up may be answered after all: the answer is then how it ended. What is still in
 * flight for a DevEUI that has been answered is nobody's any more, and no event says so: two leaders
 * asked for it.
 */
export async function endAttempts(
  ended: readonly Applied<Answered | Failed>[],
  tx: Queryable,
): Promise<void> {
  await saveEnds(lastOfEach(ended), tx);
  await supersede(ended.filter(isAnswer), tx);
}

function isAnswer(applied: Applied<Answered | Failed>): applied is Applied<Answered> {
  return applied.event.type !== 'DevEuiAttemptFailed';
}

/** The last event of each attempt: of two rows for one, an update would take either. */
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

async function saveEnds(
  ended: readonly Applied<Answered | Failed>[],
  tx: Queryable,
): Promise<void> {
  if (ended.length === 0) return;
  await tx.query({
    name: 'end-attempts',
    text: `
      update attempts a
      set outcome = ended.outcome,
          reason = ended.reason,
          provider_status = ended.provider_status,
          ended_at = ended.ended_at
      from unnest(
        $1::text[],       /* projects */
        $2::text[],       /* batches */
        $3::text[],       /* DevEUIs */
        $4::integer[],    /* attempts */
        $5::text[],       /* outcomes */
        $6::text[],       /* reasons */
        $7::integer[],    /* statuses of the provider */
        $8::timestamptz[] /* ended at */
      ) as ended (
        project_id, batch_id, dev_eui, attempt, outcome, reason, provider_status, ended_at
      )
      where a.project_id = ended.project_id
        and a.batch_id = ended.batch_id
        and a.dev_eui = ended.dev_eui
        and a.attempt = ended.attempt`,
    values: [
      ended.map(({ projectId }) => projectId),
      ended.map(({ event }) => event.data.batchId),
      ended.map(({ event }) => event.data.devEui),
      ended.map(({ event }) => event.data.attempt),
      ended.map(({ event }) =>
        event.type === 'DevEuiAttemptFailed' ? 'failed' : answerOf[event.type],
      ),
      ended.map(({ event }) => ('reason' in event.data ? event.data.reason : null)),
      ended.map(({ event }) => event.data.providerStatus),
      ended.map(({ event }) => event.data.endedAt),
    ],
  });
}

async function supersede(answered: readonly Applied<Answered>[], tx: Queryable): Promise<void> {
  if (answered.length === 0) return;
  await tx.query({
    name: 'supersede-attempts',
    text: `
      update attempts a
      set outcome = 'failed',
          reason = 'superseded: another request for it was answered',
          ended_at = answered.ended_at
      from unnest(
        $1::text[],       /* projects */
        $2::text[],       /* batches */
        $3::text[],       /* DevEUIs */
        $4::timestamptz[] /* answered at */
      ) as answered (project_id, batch_id, dev_eui, ended_at)
      where a.project_id = answered.project_id
        and a.batch_id = answered.batch_id
        and a.dev_eui = answered.dev_eui
        and a.outcome = 'in_flight'`,
    values: [
      answered.map(({ projectId }) => projectId),
      answered.map(({ event }) => event.data.batchId),
      answered.map(({ event }) => event.data.devEui),
      answered.map(({ event }) => event.data.endedAt),
    ],
  });
}
