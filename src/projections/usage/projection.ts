import type { Queryable } from '../../database/database.ts';
import { domainEvent } from '../../events/registry.ts';
import type { SimEvent } from '../../events/tenancy.ts';
import type { UsageEvent } from '../../events/usage.ts';
import type { RecordedEvent } from '../../event-store/port.ts';
import type { Projection } from '../engine/projection.ts';
import { addSimAssignments, simAssignmentsTable } from '../tenancy/projection/sim-assignments.ts';
import { moveTouched, type TouchedSim } from './projection/moving-sums.ts';
import { addUsage, type UsageRow } from './projection/rollups.ts';

/** What was rejected is about none. */
const NO_SIM_CARD = '';

/** A SIM card, as readers of it name what they wait for. */
export function usageSubject(projectId: string, simCardId: string): string {
  return JSON.stringify([projectId, simCardId]);
}

/**
 * What SIM cards used: each record, for answers as of a position, and sums of it. Whose usage a record is follows
 * from its SIM, its time and what the inventory says by now, so an assignment moves sums from one organization to
 * another. The organization '' is nobody.
 *
 * Sums are by quarters of an hour: all offsets from UTC that are in use now are multiples of that, so hours and days
 * of each zone are made of whole quarters.
 */
export const usageProjection: Projection = {
  name: 'usage',
  version: 1,
  handles: ['UsageRecorded', 'UsageRejected', 'SimAssigned'],
  subjectOf({ type, data, metadata }) {
    const simCardId = type === 'UsageRejected' ? NO_SIM_CARD : data['simCardId'];
    return typeof simCardId === 'string' ? usageSubject(metadata.projectId, simCardId) : undefined;
  },
  tables: `
    ${simAssignmentsTable}

    create table records (
      project_id  text        not null collate "C",
      sim_card_id text        not null collate "C",
      used_at     timestamptz not null,
      position    bigint      not null,
      bytes       bigint      not null,
      primary key (project_id, sim_card_id, used_at, position) include (bytes)
    );

    create table sim_quarter_hours (
      project_id  text        not null collate "C",
      sim_card_id text        not null collate "C",
      org_id      text        not null collate "C",
      quarter_hour timestamptz not null,
      bytes       numeric     not null,
      records     bigint      not null,
      primary key (project_id, sim_card_id, quarter_hour, org_id)
    );

    create table sim_totals (
      project_id  text    not null collate "C",
      sim_card_id text    not null collate "C",
      org_id      text    not null collate "C",
      bytes       numeric not null,
      records     bigint  not null,
      primary key (project_id, sim_card_id, org_id)
    );

    create table org_quarter_hours (
      project_id  text        not null collate "C",
      org_id      text        not null collate "C",
      quarter_hour timestamptz not null,
      bytes       numeric     not null,
      records     bigint      not null,
      primary key (project_id, org_id, quarter_hour)
    );

    create table org_totals (
      project_id  text    not null collate "C",
      org_id      text    not null collate "C",
      bytes       numeric not null,
      records     bigint  not null,
      primary key (project_id, org_id)
    );

    /* By days of UTC, for timelines: each stands at its first record, where it stays. */
    create table sim_days (
      project_id        text        not null collate "C",
      sim_card_id       text        not null collate "C",
      day               timestamptz not null,
      first_position    bigint      not null,
      first_event_id    uuid        not null,
      first_recorded_at timestamptz not null,
      first_actor       text        not null,
      primary key (project_id, sim_card_id, day)
    );

    create table rejections (
      project_id  text        not null collate "C",
      position    bigint      not null,
      event_id    uuid        not null,
      reason      text        not null,
      detail      text        not null,
      origin      json        not null,
      record      json        not null,
      rejected_at timestamptz not null,
      primary key (project_id, position)
    )`,
  indexes: `
    create index records_by_time on records (project_id, used_at);
    create index sim_assignments_by_org on sim_assignments (project_id, org_id);
    create index sim_days_by_position on sim_days (project_id, sim_card_id, first_position)`,
  apply,
};

/**
 * Sums follow from all records and all assignments, in whatever order these came: first the sums of the records so
 * far are given to whoever holds their SIM cards by now, then more are added.
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
  await addSimAssignments(assigned, tx);
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
      // Texts of one length, of which null is before all.
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
  await tx.query({
    name: 'save-usage-rejections',
    text: `
      insert into rejections (
        project_id, position, event_id, reason, detail, origin, record, rejected_at
      )
      select *
      from unnest(
        $1::text[],       /* projects */
        $2::bigint[],     /* positions */
        $3::uuid[],       /* events */
        $4::text[],       /* reasons */
        $5::text[],       /* details */
        $6::json[],       /* origins */
        $7::json[],       /* records */
        $8::timestamptz[] /* rejected at */
      )`,
    values: [
      rejections.map(({ projectId }) => projectId),
      rejections.map(({ recorded }) => recorded.position),
      rejections.map(({ recorded }) => recorded.id),
      rejections.map(({ data }) => data.reason),
      rejections.map(({ data }) => data.detail),
      rejections.map(({ data }) => JSON.stringify(data.origin)),
      rejections.map(({ data }) => JSON.stringify(data.record)),
      rejections.map(({ recorded }) => recorded.recordedAt),
    ],
  });
}
