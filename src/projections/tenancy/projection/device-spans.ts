import type { Queryable } from '../../../database/database.ts';
import type { DeviceEvent, DeviceLinks } from '../../../events/tenancy.ts';
import type { RecordedEvent } from '../../../event-store/port.ts';

export interface AppliedToDevice {
  readonly projectId: string;
  readonly recorded: RecordedEvent;
  readonly event: DeviceEvent;
}

interface DeviceSpan {
  readonly projectId: string;
  readonly deviceId: string;
  readonly links: DeviceLinks;
  readonly createdAt: Date;
  readonly retiredAt: Date | null;
  revision: bigint;
  readonly fromPosition: bigint;
  toPosition: bigint | null;
}

/**
 * Ends the span of each device that changed and begins the next; several in one batch in turn. A key
 * is no change of the device, but moves the revision of its stream, and so its ETag.
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

/** What became of spans that were there before. */
async function saveSpans(spans: readonly DeviceSpan[], tx: Queryable): Promise<void> {
  if (spans.length === 0) return;
  await tx.query({
    text: `
      update devices d
      set revision = span.revision,
          to_position = span.to_position
      from unnest(
        $1::text[],   /* projects */
        $2::text[],   /* devices */
        $3::bigint[], /* from positions */
        $4::bigint[], /* revisions */
        $5::bigint[]  /* to positions */
      ) as span (project_id, device_id, from_position, revision, to_position)
      where d.project_id = span.project_id
        and d.device_id = span.device_id
        and d.from_position = span.from_position`,
    values: [
      spans.map((span) => span.projectId),
      spans.map((span) => span.deviceId),
      spans.map((span) => span.fromPosition),
      spans.map((span) => span.revision),
      spans.map((span) => span.toPosition),
    ],
  });
}

async function insertSpans(begun: readonly DeviceSpan[], tx: Queryable): Promise<void> {
  if (begun.length === 0) return;
  await tx.query({
    text: `
      insert into devices (
        project_id, device_id, dev_eui, sim_card_id, sensor_id,
        created_at, retired_at, revision, from_position, to_position
      )
      select *
      from unnest(
        $1::text[],        /* projects */
        $2::text[],        /* devices */
        $3::text[],        /* DevEUIs */
        $4::text[],        /* SIM cards */
        $5::text[],        /* sensors */
        $6::timestamptz[], /* created at */
        $7::timestamptz[], /* retired at */
        $8::bigint[],      /* revisions */
        $9::bigint[],      /* from positions */
        $10::bigint[]      /* to positions */
      )`,
    values: [
      begun.map((span) => span.projectId),
      begun.map((span) => span.deviceId),
      begun.map((span) => span.links.devEui),
      begun.map((span) => span.links.simCardId),
      begun.map((span) => span.links.sensorId),
      begun.map((span) => span.createdAt),
      begun.map((span) => span.retiredAt),
      begun.map((span) => span.revision),
      begun.map((span) => span.fromPosition),
      begun.map((span) => span.toPosition),
    ],
  });
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
      projectId,
      deviceId,
      links: { devEui, simCardId, sensorId },
      createdAt: new Date(createdAt),
      retiredAt: null,
      ...begun,
    };
  }
  if (before === undefined) return undefined;
  if (event.type === 'DeviceChanged') {
    const { devEui, simCardId, sensorId } = event.data;
    return { ...before, links: { devEui, simCardId, sensorId }, ...begun };
  }
  if (event.type !== 'DeviceRetired' && event.type !== 'DeviceTransferred') return undefined;
  return { ...before, retiredAt: recorded.recordedAt, ...begun };
}

async function loadDevices(
  applied: readonly AppliedToDevice[],
  tx: Queryable,
): Promise<Map<string, DeviceSpan>> {
  const streams = new Map<string, { projectId: string; deviceId: string }>();
  for (const { projectId, recorded } of applied) {
    const { data } = recorded;
    // A key event names the device as its holder.
    const deviceId = (data['deviceId'] ?? data['holder']) as string;
    streams.set(recorded.stream, { projectId, deviceId });
  }
  const names = [...streams.keys()];
  const wanted = [...streams.values()];
  const rows = await tx.query<DeviceRow & { ordinal: number }>({
    text: `
      select wanted.ordinal::integer, d.*
      from unnest(
        $1::text[], /* projects */
        $2::text[]  /* devices */
      ) with ordinality as wanted (project_id, device_id, ordinal)
      join devices d using (project_id, device_id)
      where d.to_position is null`,
    values: [wanted.map(({ projectId }) => projectId), wanted.map(({ deviceId }) => deviceId)],
  });
  const spans = new Map<string, DeviceSpan>();
  for (const row of rows) {
    const stream = names[row.ordinal - 1];
    const ids = wanted[row.ordinal - 1];
    if (stream === undefined || ids === undefined) continue;
    spans.set(stream, {
      ...ids,
      links: { devEui: row.dev_eui, simCardId: row.sim_card_id, sensorId: row.sensor_id },
      createdAt: row.created_at,
      retiredAt: row.retired_at,
      revision: row.revision,
      fromPosition: row.from_position,
      toPosition: null,
    });
  }
  return spans;
}

interface DeviceRow {
  readonly device_id: string;
  readonly dev_eui: string | null;
  readonly sim_card_id: string | null;
  readonly sensor_id: string | null;
  readonly created_at: Date;
  readonly retired_at: Date | null;
  readonly revision: bigint;
  readonly from_position: bigint;
}
