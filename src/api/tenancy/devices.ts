import { z } from 'zod';
import type { CommandHandler } from '../../commands/handler.ts';
import { deviceDecider, deviceStream, type DeviceLinks } from '../../commands/tenancy.ts';
import type { Positions } from '../../projections/engine/as-of.ts';
import { atLeast } from '../../projections/engine/read-model.ts';
import type { FirmwareQueries } from '../../projections/firmware/firmware-queries.ts';
import type { StateQueries } from '../../projections/state/state-queries.ts';
import type {
  DeviceFilter,
  DeviceView,
  TenancyQueries,
} from '../../projections/tenancy/tenancy-queries.ts';
import type { UsageQueries } from '../../projections/usage/usage-queries.ts';
import type { JsonObject } from '../../shared/json.ts';
import { asOfQuery, booleanQuery, devEuiField, idField, timeAnswer, timeQuery } from '../fields.ts';
import { currentFirmwareAnswer, currentFirmwareBody } from '../firmware/history.ts';
import { cursorPage, cursorQuery, placeAfterIdAsOf, walkPage } from '../paging.ts';
import { precondition } from '../precondition.ts';
import { notFound } from '../problem.ts';
import { defineRoute, etag, jsonTime, type Route } from '../route.ts';

export const linksBody = z.object({
  dev_eui: devEuiField.nullable().optional(),
  sim_card_id: idField.nullable().optional(),
  sensor_id: idField.nullable().optional(),
});

const filterQuery = z.object({
  has_dev_eui: booleanQuery,
  retired: booleanQuery,
  version: z.string().optional().meta({ description: 'What a component of it has now' }),
  org_id: z.string().optional().meta({ description: 'Who holds its SIM card now' }),
  seen_after: timeQuery,
  seen_before: timeQuery,
});

export const deviceFields = z.object({
  device_id: z.string(),
  dev_eui: z.string().nullable(),
  sim_card_id: z.string().nullable(),
  sensor_id: z.string().nullable(),
  created_at: timeAnswer,
  retired_at: timeAnswer.nullable(),
});
const deviceAnswer = deviceFields
  .extend({
    last_seen_at: timeAnswer.nullable(),
    firmware: z.array(currentFirmwareAnswer),
    state: z.record(z.string(), z.unknown()).nullable(),
    usage_this_month: z.int().meta({ description: 'Of its SIM card, in bytes; a month of UTC' }),
  })
  .meta({ id: 'Device' });

export interface DeviceRoutesParts {
  readonly handler: CommandHandler;
  readonly queries: TenancyQueries;
  readonly states: StateQueries;
  readonly firmware: FirmwareQueries;
  readonly usage: UsageQueries;
  readonly positions: Positions;
}

export function deviceRoutes({
  handler,
  queries,
  states,
  firmware,
  usage,
  positions,
}: DeviceRoutesParts): Route[] {
  const list = defineRoute({
    method: 'get',
    path: '/devices',
    summary: 'The devices of the project, by id',
    tag: 'Tenancy',
    access: ['owner', 'member', 'viewer'],
    query: cursorQuery.extend(filterQuery.shape),
    answers: { 200: cursorPage(deviceFields.extend({ last_seen_at: timeAnswer.nullable() })) },
    handle: (request) =>
      walkPage(request, {
        name: 'devices',
        place: placeAfterIdAsOf,
        rows: (limit, place) =>
          queries.devices(
            request.projectId,
            { limit, ...place, ...filterOf(request.query, request.now) },
            request.read,
          ),
        item: (device) => ({
          ...deviceBody(device),
          last_seen_at: jsonTime(device.lastSeenAt),
        }),
        placeOf: ({ deviceId }, asOf) => ({ after: deviceId, asOf }),
      }),
  });

  const readOne = defineRoute({
    method: 'get',
    path: '/devices/{id}',
    summary: 'A device with the state of its sensor, now or as it was',
    tag: 'Tenancy',
    access: ['owner', 'member', 'viewer'],
    params: z.object({ id: idField }),
    query: z.object({ as_of: asOfQuery }),
    answers: { 200: deviceAnswer },
    errors: ['not-found'],
    hasEtag: true,
    async handle({ params, query, projectId, read, now }) {
      const moment = query.as_of === undefined ? undefined : await positions.momentOf(query.as_of);
      const asOf = moment?.position;
      const found = await queries.devices(
        projectId,
        { only: params.id, limit: 1, ...(asOf !== undefined && { asOf }) },
        read,
      );
      const [device] = found.value;
      if (device === undefined) throw notFound();
      // Both as of one position: the state is folded for it, wherever its own read model stands.
      const { position } = found;
      const sensor =
        device.sensorId === null
          ? undefined
          : await states.sensorAt(projectId, device.sensorId, asOf ?? position, read);
      const reported = await firmware.current(projectId, params.id, asOf, read);
      const used =
        device.simCardId === null
          ? 0
          : await usage.ofSim(
              projectId,
              device.simCardId,
              { ...monthOf(moment?.time ?? now), asOf: asOf ?? position },
              read,
            );
      return {
        status: 200,
        body: {
          ...deviceBody(device),
          last_seen_at: jsonTime(device.lastSeenAt),
          firmware: reported.value.map(currentFirmwareBody),
          state: sensor?.value?.state ?? null,
          usage_this_month: used,
        },
        headers: { ETag: etag(device.revision) },
        position,
      };
    },
  });

  const change = defineRoute({
    method: 'patch',
    path: '/devices/{id}',
    summary: 'Change what a device carries; null removes it',
    tag: 'Tenancy',
    access: ['owner', 'member'],
    params: z.object({ id: idField }),
    body: {
      content: { 'application/json': linksBody, 'application/merge-patch+json': linksBody },
    },
    answers: { 200: deviceFields },
    errors: ['not-found', 'device-retired', 'device-transferred', 'precondition-failed'],
    hasEtag: true,
    async handle({ params, body, projectId, headers, read, command }) {
      const refuse = precondition(headers);
      const links: Partial<DeviceLinks> = {
        ...(body.dev_eui !== undefined && { devEui: body.dev_eui }),
        ...(body.sim_card_id !== undefined && { simCardId: body.sim_card_id }),
        ...(body.sensor_id !== undefined && { sensorId: body.sensor_id }),
      };
      const { position } = await handler.execute(
        deviceDecider,
        deviceStream(projectId, params.id),
        { type: 'change', deviceId: params.id, links },
        { ...command(), ...(refuse !== undefined && { precondition: refuse }) },
      );
      const changed = atLeast(read, position);
      const { value: device } = await queries.device(projectId, params.id, changed);
      if (device === undefined) throw notFound();
      return {
        status: 200,
        body: deviceBody(device),
        headers: { ETag: etag(device.revision) },
        position,
      };
    },
  });

  const retire = defineRoute({
    method: 'delete',
    path: '/devices/{id}',
    summary: 'Retire a device; its keys are refused from then on, its history stays',
    tag: 'Tenancy',
    access: ['owner', 'member'],
    params: z.object({ id: idField }),
    answers: { 204: null },
    errors: ['not-found', 'device-transferred', 'precondition-failed'],
    hasEtag: true,
    async handle({ params, projectId, headers, command }) {
      const refuse = precondition(headers);
      const { position } = await handler.execute(
        deviceDecider,
        deviceStream(projectId, params.id),
        { type: 'retire', deviceId: params.id },
        { ...command(), ...(refuse !== undefined && { precondition: refuse }) },
      );
      return { status: 204, position };
    },
  });

  return [list, readOne, change, retire];
}

function filterOf(query: z.infer<typeof filterQuery>, now: Date): DeviceFilter {
  return {
    ...(query.has_dev_eui !== undefined && { hasDevEui: query.has_dev_eui }),
    ...(query.retired !== undefined && { isRetired: query.retired }),
    ...(query.version !== undefined && { version: query.version }),
    ...(query.org_id !== undefined && { heldBy: { orgId: query.org_id, now } }),
    ...(query.seen_after !== undefined && { seenAfter: query.seen_after }),
    ...(query.seen_before !== undefined && { seenBefore: query.seen_before }),
  };
}

function deviceBody(device: Omit<DeviceView, 'lastSeenAt'>): JsonObject {
  return {
    device_id: device.deviceId,
    ...linksAnswer(device),
    created_at: jsonTime(device.createdAt),
    retired_at: jsonTime(device.retiredAt),
  };
}

export function linksAnswer({ devEui, simCardId, sensorId }: DeviceLinks): JsonObject {
  return { dev_eui: devEui, sim_card_id: simCardId, sensor_id: sensorId };
}

function monthOf(time: Date): { from: Date; to: Date } {
  const [year, month] = [time.getUTCFullYear(), time.getUTCMonth()];
  return { from: new Date(Date.UTC(year, month)), to: new Date(Date.UTC(year, month + 1)) };
}
