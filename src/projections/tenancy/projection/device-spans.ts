import type { Queryable } from '../../../database/database.ts';
import { insertRows, rowsAs } from '../../../database/rows.ts';
import { sql } from '../../../database/sql.ts';
import type { DeviceEvent, DeviceLinks } from '../../../events/tenancy.ts';
import type { RecordedEvent } from '../../../event-store/port.ts';
import { tenancy } from '../tables.ts';

export interface AppliedToDevice {
  readonly projectId: string;
  readonly recorded: RecordedEvent;
  readonly event: DeviceEvent;
}

/** A device as it is from one position up to another, which is null for the current span. */
interface DeviceSpan extends DeviceLinks {
  readonly stream: string;
  readonly projectId: string;
  readonly deviceId: string;
  readonly createdAt: Date;
  readonly retiredAt: Date | null;
  revision: bigint;
  readonly fromPosition: bigint;
  toPosition: bigint | null;
}

/**
 * Ends the span of each device that changed and begins the next one, event by event. A key does not
 * change the device, but it changes the revision of its stream, and so its ETag.
 */
export async function changeDevices(
  applied: readonly AppliedToDevice[],
  tx: Queryable,
): Promise<void> {
  if (applied.length === 0) return;
  const current = await loadDevices(applied, tx);
  const loaded = [...current.values()];
  const begun: DeviceSpan[] = [];
  for (const { projectId, recorded, event } of applied) {
    const before = current.get(recorded.stream);
    const span = nextSpan(projectId, recorded, event, before);
    if (span === undefined) {
      if (before !== undefined) before.revision = recorded.revision;
      continue;
    }
    if (before !== undefined) before.toPosition = recorded.position;
    current.set(recorded.stream, span);
    begun.push(span);
  }
  await saveSpans(loaded, tx);
  await insertSpans(begun, tx);
}

/** Writes how spans that were there before have changed. */
async function saveSpans(spans: readonly DeviceSpan[], tx: Queryable): Promise<void> {
  if (spans.length === 0) return;
  const changed = rowsAs(
    'span',
    {
      project_id: ['text', (span) => span.projectId],
      device_id: ['text', (span) => span.deviceId],
      from_position: ['bigint', (span) => span.fromPosition],
      revision: ['bigint', (span) => span.revision],
      to_position: ['bigint', (span) => span.toPosition],
    },
    spans,
  );
  await tx.query(sql`
    update ${tenancy.devices} d
    set revision = span.revision,
        to_position = span.to_position
    from ${changed}
    where d.project_id = span.project_id
      and d.device_id = span.device_id
      and d.from_position = span.from_position`);
}

async function insertSpans(begun: readonly DeviceSpan[], tx: Queryable): Promise<void> {
  if (begun.length === 0) return;
  await tx.query(
    insertRows(
      tenancy.devices,
      {
        project_id: ['text', (span) => span.projectId],
        device_id: ['text', (span) => span.deviceId],
        dev_eui: ['text', (span) => span.devEui],
        sim_card_id: ['text', (span) => span.simCardId],
        sensor_id: ['text', (span) => span.sensorId],
        created_at: ['timestamptz', (span) => span.createdAt],
        retired_at: ['timestamptz', (span) => span.retiredAt],
        revision: ['bigint', (span) => span.revision],
        from_position: ['bigint', (span) => span.fromPosition],
        to_position: ['bigint', (span) => span.toPosition],
      },
      begun,
    ),
  );
}

function nextSpan(
  projectId: string,
  recorded: RecordedEvent,
  event: DeviceEvent,
  before: DeviceSpan | undefined,
): DeviceSpan | undefined {
  const begun = { revision: recorded.revision, fromPosition: recorded.position, toPosition: null };
  if (event.type === 'DeviceRegistered') {
    const { deviceId, devEui, simCardId, sensorId, createdAt } = event.data;
    return {
      stream: recorded.stream,
      projectId,
      deviceId,
      devEui,
      simCardId,
      sensorId,
      createdAt: new Date(createdAt),
      retiredAt: null,
      ...begun,
    };
  }
  if (before === undefined) return undefined;
  if (event.type === 'DeviceChanged') {
    const { devEui, simCardId, sensorId } = event.data;
    return { ...before, devEui, simCardId, sensorId, ...begun };
  }
  if (event.type !== 'DeviceRetired' && event.type !== 'DeviceTransferred') return undefined;
  return { ...before, retiredAt: recorded.recordedAt, ...begun };
}

async function loadDevices(
  applied: readonly AppliedToDevice[],
  tx: Queryable,
): Promise<Map<string, DeviceSpan>> {
  const byStream = new Map(applied.map((change) => [change.recorded.stream, change]));
  const wanted = rowsAs(
    'wanted',
    {
      stream: ['text', ({ recorded }) => recorded.stream],
      project_id: ['text', ({ projectId }) => projectId],
      // A key event names the device as its holder.
      device_id: [
        'text',
        ({ event: { data } }) => ('holder' in data ? data.holder : data.deviceId),
      ],
    },
    [...byStream.values()],
  );
  const spans = await tx.query<DeviceSpan>(sql`
    select
      wanted.stream,
      d.project_id as "projectId",
      d.device_id as "deviceId",
      d.dev_eui as "devEui",
      d.sim_card_id as "simCardId",
      d.sensor_id as "sensorId",
      d.created_at as "createdAt",
      d.retired_at as "retiredAt",
      d.revision,
      d.from_position as "fromPosition",
      d.to_position as "toPosition"
    from ${wanted}
    join ${tenancy.devices} d using (project_id, device_id)
    where d.to_position is null`);
  return new Map(spans.map((span) => [span.stream, span]));
}
