import type { Queryable } from '../../database/database.ts';
import { insertRows } from '../../database/rows.ts';
import { domainEvent } from '../../events/registry.ts';
import type { SimEvent } from '../../events/tenancy.ts';
import type { UsageEvent } from '../../events/usage.ts';
import type { RecordedEvent } from '../../event-store/port.ts';
import type { Projection } from '../engine/projection.ts';
import { usage, usageDdl } from './tables.ts';
import { addSimAssignments } from '../tenancy/projection/sim-assignments.ts';
import { moveTouched, type TouchedSim } from './projection/moving-sums.ts';
import { addUsage, type UsageRow } from './projection/rollups.ts';

/** The SIM card of rejected usage, which has none. */
const NO_SIM_CARD = '';

/** The name of a SIM card for readers that wait for what was recorded about it. */
export function usageSubject(projectId: string, simCardId: string): string {
  return JSON.stringify([projectId, simCardId]);
}

/**
 * The usage of SIM cards: each record, for answers as of a position, and rollups. Which
 * organization a record belongs to follows from its SIM card, its time and the inventory of now, so
 * an assignment moves sums from one organization to another. The organization '' stands for none.
 *
 * Rollups are by quarters of an hour: all offsets from UTC in use today are multiples of that, so
 * the hours and days of every time zone consist of whole quarters.
 */
export const usageProjection: Projection = {
  name: 'usage',
  version: 1,
  handles: ['UsageRecorded', 'UsageRejected', 'SimAssigned'],
  subjectOf({ type, data, metadata }) {
    const simCardId = type === 'UsageRejected' ? NO_SIM_CARD : data['simCardId'];
    return typeof simCardId === 'string' ? usageSubject(metadata.projectId, simCardId) : undefined;
  },
  ...usageDdl,
  apply,
};

/**
 * Sums follow from all records and all assignments, in whatever order these came: first the sums of
 * the records so far move to the organizations that hold their SIM cards by now, then new records
 * are added.
 */
async function apply(events: readonly RecordedEvent[], tx: Queryable): Promise<void> {
  const used: UsageRow[] = [];
  const assigned: { projectId: string; recorded: RecordedEvent; event: SimEvent }[] = [];
  const rejected: { projectId: string; recorded: RecordedEvent; data: Rejected }[] = [];
  for (const recorded of events) {
    const { projectId } = recorded.metadata;
    const event = domainEvent(recorded) as UsageEvent | SimEvent;
    if (event.type === 'SimAssigned') assigned.push({ projectId, recorded, event });
    else if (event.type === 'UsageRejected')
      rejected.push({ projectId, recorded, data: event.data });
    else used.push({ projectId, recorded, ...event.data });
  }
  await addSimAssignments(usage.sim_assignments, assigned, tx);
  await moveTouched(touchedBy(assigned), tx);
  await addUsage(used, tx);
  await saveRejections(rejected, tx);
}

type Rejected = Extract<UsageEvent, { type: 'UsageRejected' }>['data'];

function touchedBy(
  assigned: readonly { readonly projectId: string; readonly event: SimEvent }[],
): TouchedSim[] {
  const touched = new Map<string, TouchedSim>();
  for (const { projectId, event } of assigned) {
    const { simCardId, from } = event.data;
    const name = JSON.stringify([projectId, simCardId]);
    const { first, last } = touched.get(name) ?? { first: from, last: from };
    touched.set(name, {
      projectId,
      simCardId,
      // All texts have one length, and null is before all of them.
      first: first === null || from === null ? null : first < from ? first : from,
      last: (last ?? '') > (from ?? '') ? last : from,
    });
  }
  return [...touched.values()];
}

async function saveRejections(
  rejections: readonly {
    readonly projectId: string;
    readonly recorded: RecordedEvent;
    readonly data: Rejected;
  }[],
  tx: Queryable,
): Promise<void> {
  if (rejections.length === 0) return;
  await tx.query(
    insertRows(
      usage.rejections,
      {
        project_id: ['text', ({ projectId }) => projectId],
        position: ['bigint', ({ recorded }) => recorded.position],
        event_id: ['uuid', ({ recorded }) => recorded.id],
        reason: ['text', ({ data }) => data.reason],
        detail: ['text', ({ data }) => data.detail],
        origin: ['json', ({ data }) => data.origin],
        record: ['json', ({ data }) => data.record],
        rejected_at: ['timestamptz', ({ recorded }) => recorded.recordedAt],
      },
      rejections,
    ),
  );
}
