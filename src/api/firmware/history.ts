import { z } from 'zod';
import type { Position } from '../../event-store/port.ts';
import {
  atLeast,
  type ReadOptions,
  type Versioned,
} from '../../projections/engine/reading/read-models.ts';
import type {
  CurrentFirmware,
  FirmwareQueries,
  FirmwareReportView,
} from '../../projections/firmware/queries.ts';
import { LedgerError } from '../../shared/errors.ts';
import type { JsonObject } from '../../shared/json.ts';
import type { Caller } from '../authentication.ts';
import { idField, timeAnswer } from '../fields.ts';
import { cursorPage, cursorQuery, positionText, walkPage } from '../paging.ts';
import { notFound } from '../problem.ts';
import { defineRoute, jsonTime, type Answer, type ApiRequest, type Route } from '../route.ts';
import { downgradedFrom } from './version-field.ts';

const reportAnswer = z
  .object({
    id: z.string().meta({ description: 'The id of the event' }),
    device_id: z.string(),
    component: z.string(),
    version: z.string(),
    hardware: z.string().nullable(),
    timestamp: timeAnswer.meta({ description: 'The time by the clock of the device' }),
    received_at: timeAnswer,
    clock: z.enum(['plausible', 'implausible']).meta({
      description:
        'Implausible: the timestamp is before 2015, from a clock that was reset. It is ' +
        'ordered by its arrival',
    }),
  })
  .meta({ id: 'FirmwareReport' });

export const currentFirmwareAnswer = z
  .object({
    component: z.string(),
    version: z.string(),
    timestamp: timeAnswer,
    received_at: timeAnswer,
    downgraded_from: z
      .string()
      .nullable()
      .meta({ description: 'The version before, if it was higher; otherwise null' }),
  })
  .meta({ id: 'CurrentFirmware' });

const spreadAnswer = z.object({
  items: z.array(
    z.object({
      component: z.string(),
      version: z.string(),
      devices: z.int(),
      share: z
        .number()
        .meta({ description: 'The share of the devices that have the component, 0 to 1' }),
      first_seen_at: timeAnswer,
      last_seen_at: timeAnswer,
    }),
  ),
});

const READERS = ['owner', 'member', 'viewer'] as const;
/** A device also reads what it reported itself. */
const READERS_OF_ONE = [...READERS, 'device'] as const;
const placeInReports = z.object({
  orderedAt: z.iso.datetime().transform((text) => new Date(text)),
  before: positionText,
});

interface DeviceRead {
  readonly projectId: string;
  readonly deviceId: string;
  readonly asOf: Position | undefined;
  readonly read: ReadOptions;
}

export function historyRoutes(queries: FirmwareQueries): Route[] {
  async function page(
    request: ApiRequest<unknown, z.infer<typeof cursorQuery>, unknown>,
    deviceId: string,
  ): Promise<Answer> {
    const { projectId, read } = request;
    return walkPage(request, {
      name: `firmware:${deviceId}`,
      place: placeInReports,
      isPinned: true,
      rows: (limit, place, asOf) =>
        ofKnownDevice({ projectId, deviceId, asOf, read }, (options) =>
          queries.reports(projectId, deviceId, { limit, after: place, asOf }, options),
        ),
      item: reportBody,
      placeOf: ({ orderedAt, position }) => ({ orderedAt, before: position }),
    });
  }

  /**
   * Rows about a device. Where there are none, another read model knows whether there is a device,
   * and it may be ahead: the rows are of a position at which the device was registered.
   * @throws LedgerError `not-found`
   */
  async function ofKnownDevice<Row>(
    { projectId, deviceId, asOf, read }: DeviceRead,
    rows: (options: ReadOptions) => Promise<Versioned<Row[]>>,
  ): Promise<Versioned<Row[]>> {
    const found = await rows(read);
    if (found.value.length > 0) return found;
    const registeredAt = await queries.registeredAt(projectId, deviceId, asOf, read);
    if (registeredAt === undefined) throw notFound();
    if (registeredAt <= found.position) return found;
    return rows(atLeast(read, registeredAt));
  }

  const listAll = defineRoute({
    method: 'get',
    path: '/firmware',
    operationId: 'listFirmwareReports',
    summary: 'List the firmware reports of a device, newest first',
    tag: 'Firmware',
    access: READERS,
    query: cursorQuery.extend({ device_id: idField }),
    takesAsOf: true,
    answers: { 200: z.array(reportAnswer) },
    errors: ['not-found'],
    isInvalid400: true,
    async handle(request) {
      const answer = await page(request, request.query.device_id);
      return { ...answer, body: (answer.body as JsonObject)['items'] ?? [] };
    },
  });

  const list = defineRoute({
    method: 'get',
    path: '/devices/{id}/firmware',
    operationId: 'listDeviceFirmware',
    summary: 'List the firmware reports of a device, newest first, in pages',
    tag: 'Firmware',
    access: READERS_OF_ONE,
    params: z.object({ id: idField }),
    query: cursorQuery,
    takesAsOf: true,
    answers: { 200: cursorPage(reportAnswer) },
    errors: ['not-found'],
    async handle(request) {
      const { params, caller } = request;
      requireOwnDevice(caller, params.id);
      return page(request, params.id);
    },
  });

  const current = defineRoute({
    method: 'get',
    path: '/devices/{id}/firmware/current',
    operationId: 'getCurrentFirmware',
    summary: 'Get the current version of each component of a device',
    tag: 'Firmware',
    access: READERS_OF_ONE,
    params: z.object({ id: idField }),
    takesAsOf: true,
    answers: { 200: z.object({ items: z.array(currentFirmwareAnswer) }) },
    errors: ['not-found'],
    async handle({ params, caller, projectId, read, asOf }) {
      requireOwnDevice(caller, params.id);
      const { id: deviceId } = params;
      const found = await ofKnownDevice({ projectId, deviceId, asOf, read }, (options) =>
        queries.current(projectId, deviceId, asOf, options),
      );
      return {
        status: 200,
        body: { items: found.value.map(currentFirmwareBody) },
        position: found.position,
      };
    },
  });

  const spread = defineRoute({
    method: 'get',
    path: '/firmware/versions',
    operationId: 'listFirmwareVersions',
    summary: 'List the firmware versions of the fleet, by component',
    tag: 'Firmware',
    access: READERS,
    takesAsOf: true,
    answers: { 200: spreadAnswer },
    async handle({ projectId, read, asOf }) {
      const found = await queries.spread(projectId, asOf, read);
      const items = found.value.map((row) => ({
        component: row.component,
        version: row.version,
        devices: row.devices,
        share: row.share,
        first_seen_at: jsonTime(row.firstSeenAt),
        last_seen_at: jsonTime(row.lastSeenAt),
      }));
      return { status: 200, body: { items }, position: found.position };
    },
  });

  return [listAll, spread, list, current];
}

function requireOwnDevice(caller: Caller, deviceId: string): void {
  if (caller.kind !== 'device' || caller.deviceId === deviceId) return;
  throw new LedgerError(
    'forbidden',
    'A device key reads the firmware of its own device only: use a member key.',
  );
}

function reportBody(report: FirmwareReportView): JsonObject {
  return {
    id: report.eventId,
    device_id: report.deviceId,
    component: report.component,
    version: report.version,
    hardware: report.hardware,
    timestamp: jsonTime(report.reportedAt),
    received_at: jsonTime(report.receivedAt),
    clock: report.clock,
  };
}

export function currentFirmwareBody(firmware: CurrentFirmware): JsonObject {
  const { component, version, previousVersion, reportedAt, receivedAt } = firmware;
  return {
    component,
    version,
    timestamp: jsonTime(reportedAt),
    received_at: jsonTime(receivedAt),
    downgraded_from: downgradedFrom(version, previousVersion),
  };
}
