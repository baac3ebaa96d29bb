import type { Queryable } from '../../database/database.ts';
import { domainEvent } from '../../events/registry.ts';
import type { DeviceEvent, DeviceSeenEvent, ProjectEvent, SimEvent } from '../../events/tenancy.ts';
import type { RecordedEvent } from '../../event-store/port.ts';
import { parseStreamName } from '../../event-store/stream-name.ts';
import type { Projection } from '../engine/projection.ts';
import {
  saveTimelineEvents,
  timelineTableKey,
  timelineTable,
  type TimelineEvent,
} from '../timeline-table.ts';
import { changeDevices, type AppliedToDevice } from './projection/device-spans.ts';
import { addSimAssignments, simAssignmentsTable } from './projection/sim-assignments.ts';

/**
 * Projects, members, devices, keys and the SIM inventory. What can change has a row for each span of
 * positions in which it was so (`from_position` inclusive, `to_position` exclusive, null for now): one
 * query answers "now" and "as of".
 */
export const tenancyProjection: Projection = {
  name: 'tenancy',
  version: 3,
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
  tables: `
    create table projects (
      project_id text        primary key collate "C",
      name       text        not null,
      created_at timestamptz not null,
      position   bigint      not null
    );

    create table members (
      project_id    text   not null collate "C",
      member_id     text   not null collate "C",
      name          text   not null,
      role          text   not null,
      from_position bigint not null,
      to_position   bigint,
      primary key (project_id, member_id)
    );

    create table devices (
      project_id    text        not null collate "C",
      device_id     text        not null collate "C",
      dev_eui       text        collate "C",
      sim_card_id   text        collate "C",
      sensor_id     text        collate "C",
      created_at    timestamptz not null,
      retired_at    timestamptz,
      revision      bigint      not null,
      from_position bigint      not null,
      to_position   bigint,
      primary key (project_id, device_id, from_position)
    );

    create table keys (
      key_id      text        primary key collate "C",
      project_id  text        not null collate "C",
      kind        text        not null,
      holder      text        not null collate "C",
      secret_hash text        not null,
      issued_at   timestamptz not null,
      revoked_at  timestamptz,
      position    bigint      not null
    );
    create table sightings (
      project_id  text        not null collate "C",
      device_id   text        not null collate "C",
      position    bigint      not null,
      recorded_at timestamptz not null,
      primary key (project_id, device_id, position)
    );
    ${simAssignmentsTable}
    ${timelineTable('device_events')}`,
  indexes: `
    create index keys_of_project on keys (project_id, position);
    create index members_of_project on members (project_id, from_position);
    create index devices_by_deveui on devices (project_id, dev_eui, device_id)
      where to_position is null;
    create index devices_by_sim_card on devices (project_id, sim_card_id)
      where to_position is null and sim_card_id is not null;
    create index devices_by_sensor on devices (project_id, sensor_id)
      where to_position is null and sensor_id is not null;
    ${timelineTableKey('device_events')}`,
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
  // Across these the order does not matter: each writes tables of its own, and within them what
  // ends something comes after what began it.
  await addProjects(ofType(applied, 'ProjectCreated'), tx);
  await addMembers(ofType(applied, 'MemberAdded'), tx);
  await removeMembers(ofType(applied, 'MemberRemoved'), tx);
  await addKeys(ofType(applied, 'KeyIssued'), tx);
  await revokeKeys(ofType(applied, 'KeyRevoked'), tx);
  await addSightings(ofType(applied, 'DeviceSeen'), tx);
  await addSimAssignments(ofType(applied, 'SimAssigned'), tx);
  const ofDevices = applied.filter(isOfDevice);
  await changeDevices(ofDevices, tx);
  // Every event of the stream has a row, since the rows are counted to give the revision of a device.
  await saveTimelineEvents('device_events', ofDevices.map(deviceEvent), tx);
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

async function addSightings(
  seen: readonly Applied<DeviceSeenEvent>[],
  tx: Queryable,
): Promise<void> {
  if (seen.length === 0) return;
  await tx.query({
    name: 'add-sightings',
    text: `
      insert into sightings (project_id, device_id, position, recorded_at)
      select *
      from unnest(
        $1::text[],       /* projects */
        $2::text[],       /* devices */
        $3::bigint[],     /* positions */
        $4::timestamptz[] /* recorded at */
      )`,
    values: [
      seen.map(({ projectId }) => projectId),
      seen.map(({ event }) => event.data.deviceId),
      seen.map(({ recorded }) => recorded.position),
      seen.map(({ recorded }) => recorded.recordedAt),
    ],
  });
}

async function addProjects(
  created: readonly Applied<Extract<TenancyEvent, { type: 'ProjectCreated' }>>[],
  tx: Queryable,
): Promise<void> {
  if (created.length === 0) return;
  await tx.query({
    text: `
      insert into projects (project_id, name, created_at, position)
      select *
      from unnest(
        $1::text[],        /* projects */
        $2::text[],        /* names */
        $3::timestamptz[], /* created at */
        $4::bigint[]       /* positions */
      )`,
    values: [
      created.map(({ event }) => event.data.projectId),
      created.map(({ event }) => event.data.name),
      created.map(({ event }) => event.data.createdAt),
      created.map(({ recorded }) => recorded.position),
    ],
  });
}

async function addMembers(
  added: readonly Applied<Extract<TenancyEvent, { type: 'MemberAdded' }>>[],
  tx: Queryable,
): Promise<void> {
  if (added.length === 0) return;
  await tx.query({
    text: `
      insert into members (project_id, member_id, name, role, from_position)
      select *
      from unnest(
        $1::text[],  /* projects */
        $2::text[],  /* members */
        $3::text[],  /* names */
        $4::text[],  /* roles */
        $5::bigint[] /* positions */
      )`,
    values: [
      added.map(({ projectId }) => projectId),
      added.map(({ event }) => event.data.memberId),
      added.map(({ event }) => event.data.name),
      added.map(({ event }) => event.data.role),
      added.map(({ recorded }) => recorded.position),
    ],
  });
}

async function removeMembers(
  removed: readonly Applied<Extract<TenancyEvent, { type: 'MemberRemoved' }>>[],
  tx: Queryable,
): Promise<void> {
  if (removed.length === 0) return;
  await tx.query({
    text: `
      update members m
      set to_position = removed.position
      from unnest(
        $1::text[],  /* projects */
        $2::text[],  /* members */
        $3::bigint[] /* positions */
      ) as removed (project_id, member_id, position)
      where m.project_id = removed.project_id
        and m.member_id = removed.member_id`,
    values: [
      removed.map(({ projectId }) => projectId),
      removed.map(({ event }) => event.data.memberId),
      removed.map(({ recorded }) => recorded.position),
    ],
  });
}

async function addKeys(
  issued: readonly Applied<Extract<TenancyEvent, { type: 'KeyIssued' }>>[],
  tx: Queryable,
): Promise<void> {
  if (issued.length === 0) return;
  // A device that is transferred takes its keys along: a key is its last holder's.
  const last = [...new Map(issued.map((key) => [key.event.data.keyId, key])).values()];
  await tx.query({
    text: `
      insert into keys (key_id, project_id, kind, holder, secret_hash, issued_at, position)
      select *
      from unnest(
        $1::text[],        /* keys */
        $2::text[],        /* projects */
        $3::text[],        /* kinds */
        $4::text[],        /* holders */
        $5::text[],        /* hashes of secrets */
        $6::timestamptz[], /* issued at */
        $7::bigint[]       /* positions */
      )
      on conflict (key_id) do update
      set project_id = excluded.project_id,
          holder = excluded.holder,
          position = excluded.position
      where keys.secret_hash = excluded.secret_hash`,
    values: [
      last.map(({ event }) => event.data.keyId),
      last.map(({ projectId }) => projectId),
      last.map(({ event }) => event.data.kind),
      last.map(({ event }) => event.data.holder),
      last.map(({ event }) => event.data.secretHash),
      last.map(({ event }) => event.data.issuedAt),
      last.map(({ recorded }) => recorded.position),
    ],
  });
}

async function revokeKeys(
  revoked: readonly Applied<Extract<TenancyEvent, { type: 'KeyRevoked' }>>[],
  tx: Queryable,
): Promise<void> {
  if (revoked.length === 0) return;
  await tx.query({
    text: `
      update keys k
      set revoked_at = revoked.recorded_at
      from (
        select key_id, min(recorded_at) as recorded_at
        from unnest(
          $1::text[],       /* keys */
          $2::timestamptz[] /* recorded at */
        ) as one (key_id, recorded_at)
        group by key_id
      ) revoked
      where k.key_id = revoked.key_id
        and k.revoked_at is null`,
    values: [
      revoked.map(({ event }) => event.data.keyId),
      revoked.map(({ recorded }) => recorded.recordedAt),
    ],
  });
}
