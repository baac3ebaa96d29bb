import type { Queryable } from '../../database/database.ts';
import { insertRows, rowsAs } from '../../database/rows.ts';
import { sql } from '../../database/sql.ts';
import { domainEvent } from '../../events/registry.ts';
import type { DeviceEvent, DeviceSeenEvent, ProjectEvent, SimEvent } from '../../events/tenancy.ts';
import type { RecordedEvent } from '../../event-store/port.ts';
import { parseStreamName } from '../../event-store/stream-name.ts';
import type { Projection } from '../engine/projection.ts';
import { tenancy, tenancyDdl } from './tables.ts';
import { saveTimelineEvents, type TimelineEvent } from '../timeline-table.ts';
import { changeDevices, type AppliedToDevice } from './projection/device-spans.ts';
import { changeKeys, type AppliedToKey } from './projection/key-spans.ts';
import { addSimAssignments } from './projection/sim-assignments.ts';

/**
 * Projects, members, devices, keys and the SIM inventory. What can change has a row for each span
 * of positions in which it did not (`from_position` inclusive, `to_position` exclusive, null for
 * now), so that one query answers "now" and `as_of`.
 */
export const tenancyProjection: Projection = {
  name: 'tenancy',
  version: 4,
  handles: [
    'ProjectCreated',
    'MemberAdded',
    'MemberRemoved',
    'DeviceRegistered',
    'DeviceChanged',
    'DeviceRetired',
    'DeviceTransferStarted',
    'DeviceTransferCancelled',
    'DeviceTransferRefused',
    'DeviceTransferred',
    'LinkClaimVoided',
    'KeyIssued',
    'KeyRevoked',
    'SimAssigned',
    'DeviceSeen',
  ],
  ...tenancyDdl,
  apply,
};

type TenancyEvent = ProjectEvent | DeviceEvent | SimEvent | DeviceSeenEvent;

interface Applied<Event> {
  readonly projectId: string;
  readonly recorded: RecordedEvent;
  readonly event: Event;
}

async function apply(batch: readonly RecordedEvent[], tx: Queryable): Promise<void> {
  const applied = batch.map((recorded): Applied<TenancyEvent> => {
    const projectId = parseStreamName(recorded.stream)?.projectId ?? '';
    return { projectId, recorded, event: domainEvent(recorded) as TenancyEvent };
  });
  // The order matters only within a table: what ends something comes after what began it.
  await addProjects(ofType(applied, 'ProjectCreated'), tx);
  await addMembers(ofType(applied, 'MemberAdded'), tx);
  await removeMembers(ofType(applied, 'MemberRemoved'), tx);
  await changeKeys(applied.filter(isOfKey), tx);
  await addSightings(ofType(applied, 'DeviceSeen'), tx);
  await addSimAssignments(tenancy.sim_assignments, ofType(applied, 'SimAssigned'), tx);
  const ofDevices = applied.filter(isOfDevice);
  await changeDevices(ofDevices, tx);
  // Every event of the stream has a row, since the rows are counted to give the revision of a
  // device.
  await saveTimelineEvents(tenancy.device_events, ofDevices.map(deviceEvent), tx);
}

function deviceEvent({ projectId, recorded, event }: AppliedToDevice): TimelineEvent {
  if (event.type === 'KeyIssued') {
    const { secretHash: _secretHash, ...data } = event.data;
    return { projectId, subject: data.holder, recorded, data };
  }
  if (event.type === 'DeviceRegistered') {
    // The members of this project may not know the project that the device comes from.
    const { transferredFrom: _transferredFrom, ...data } = event.data;
    return { projectId, subject: data.deviceId, recorded, data };
  }
  const { data } = event;
  return { projectId, subject: 'deviceId' in data ? data.deviceId : data.holder, recorded, data };
}

function isOfKey(applied: Applied<TenancyEvent>): applied is AppliedToKey {
  return applied.event.type === 'KeyIssued' || applied.event.type === 'KeyRevoked';
}

function isOfDevice(applied: Applied<TenancyEvent>): applied is AppliedToDevice {
  return applied.recorded.stream.startsWith('device-');
}

function ofType<Type extends TenancyEvent['type']>(
  applied: readonly Applied<TenancyEvent>[],
  type: Type,
): Applied<Extract<TenancyEvent, { type: Type }>>[] {
  return applied.filter(({ event }) => event.type === type) as Applied<
    Extract<TenancyEvent, { type: Type }>
  >[];
}

type OfType<Type extends TenancyEvent['type']> = Applied<Extract<TenancyEvent, { type: Type }>>;

async function addSightings(seen: readonly OfType<'DeviceSeen'>[], tx: Queryable): Promise<void> {
  if (seen.length === 0) return;
  await tx.query(
    insertRows(
      tenancy.sightings,
      {
        project_id: ['text', ({ projectId }) => projectId],
        device_id: ['text', ({ event }) => event.data.deviceId],
        position: ['bigint', ({ recorded }) => recorded.position],
        recorded_at: ['timestamptz', ({ recorded }) => recorded.recordedAt],
      },
      seen,
    ),
  );
}

async function addProjects(
  created: readonly OfType<'ProjectCreated'>[],
  tx: Queryable,
): Promise<void> {
  if (created.length === 0) return;
  await tx.query(
    insertRows(
      tenancy.projects,
      {
        project_id: ['text', ({ event }) => event.data.projectId],
        name: ['text', ({ event }) => event.data.name],
        created_at: ['timestamptz', ({ event }) => event.data.createdAt],
        position: ['bigint', ({ recorded }) => recorded.position],
      },
      created,
    ),
  );
}

async function addMembers(added: readonly OfType<'MemberAdded'>[], tx: Queryable): Promise<void> {
  if (added.length === 0) return;
  await tx.query(
    insertRows(
      tenancy.members,
      {
        project_id: ['text', ({ projectId }) => projectId],
        member_id: ['text', ({ event }) => event.data.memberId],
        name: ['text', ({ event }) => event.data.name],
        role: ['text', ({ event }) => event.data.role],
        from_position: ['bigint', ({ recorded }) => recorded.position],
      },
      added,
    ),
  );
}

async function removeMembers(
  removals: readonly OfType<'MemberRemoved'>[],
  tx: Queryable,
): Promise<void> {
  if (removals.length === 0) return;
  const removed = rowsAs(
    'removed',
    {
      project_id: ['text', ({ projectId }) => projectId],
      member_id: ['text', ({ event }) => event.data.memberId],
      position: ['bigint', ({ recorded }) => recorded.position],
    },
    removals,
  );
  await tx.query(sql`
    update ${tenancy.members} m
    set to_position = removed.position
    from ${removed}
    where m.project_id = removed.project_id
      and m.member_id = removed.member_id`);
}
