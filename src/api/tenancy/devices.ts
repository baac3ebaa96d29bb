import { z } from 'zod';
import type { DeviceCommands } from '../../commands/tenancy/device-commands.ts';
import type { DeviceLinks } from '../../events/tenancy.ts';
import type {
  DeviceFilter,
  DeviceView,
  TenancyQueries,
} from '../../projections/tenancy/queries.ts';
import type { JsonObject } from '../../shared/json.ts';
import {
  booleanQuery,
  devEuiField,
  idField,
  simCardIdField,
  timeAnswer,
  timeQuery,
} from '../fields.ts';
import { cursorPage, cursorQuery, placeAfterId, walkPage } from '../paging.ts';
import { precondition } from '../precondition.ts';
import { notFound } from '../problem.ts';
import { momentOf } from '../moment.ts';
import { defineRoute, etag, jsonTime, type Route } from '../route.ts';

export const linksBody = z.strictObject({
  dev_eui: devEuiField.nullable().optional(),
  sim_card_id: simCardIdField.nullable().optional(),
  sensor_id: idField.nullable().optional(),
});

/** The `+` of a build, which a query decodes to a blank; no version holds one. */
const versionQuery = z
  .string()
  .transform((version) => version.replaceAll(' ', '+'))
  .optional()
  .meta({
    description:
      'Only devices that have this firmware version in a component now, for example `1.4.0`',
  });

const EXAMPLE = { sim_card_id: '89440001' };

const filterQuery = z.object({
  has_dev_eui: booleanQuery,
  retired: booleanQuery,
  version: versionQuery,
  org_id: z
    .string()
    .optional()
    .meta({ description: 'Only devices whose SIM card this organization holds now' }),
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
export function deviceRoutes(devices: DeviceCommands, queries: TenancyQueries): Route[] {
  const list = defineRoute({
    method: 'get',
    path: '/devices',
    operationId: 'listDevices',
    summary: 'List the devices of the project, by id',
    tag: 'Tenancy',
    access: ['owner', 'member', 'viewer'],
    query: cursorQuery.extend(filterQuery.shape),
    takesAsOf: true,
    answers: { 200: cursorPage(deviceFields.extend({ last_seen_at: timeAnswer.nullable() })) },
    async handle(request) {
      const filter = filterOf(request.query, await momentOf(request));
      return walkPage(request, {
        name: 'devices',
        place: placeAfterId,
        isPinned: true,
        rows: (limit, place, asOf) =>
          queries.devices(request.projectId, { limit, asOf, ...place, ...filter }, request.read),
        item: (device) => ({
          ...deviceBody(device),
          last_seen_at: jsonTime(device.lastSeenAt),
        }),
        placeOf: ({ deviceId }) => ({ after: deviceId }),
      });
    },
  });

  const change = defineRoute({
    method: 'patch',
    path: '/devices/{id}',
    operationId: 'updateDevice',
    summary: 'Change the links of a device; null removes one',
    tag: 'Tenancy',
    access: ['owner', 'member'],
    params: z.object({ id: idField }),
    body: {
      content: { 'application/json': linksBody, 'application/merge-patch+json': linksBody },
      examples: { 'application/json': EXAMPLE, 'application/merge-patch+json': EXAMPLE },
    },
    answers: { 200: deviceFields },
    errors: [
      'not-found',
      'device-retired',
      'device-transferred',
      'link-taken',
      'precondition-failed',
    ],
    hasEtag: true,
    async handle({ params, body, headers, command }) {
      const refuse = precondition(headers);
      const links: Partial<DeviceLinks> = {
        ...(body.dev_eui !== undefined && { devEui: body.dev_eui }),
        ...(body.sim_card_id !== undefined && { simCardId: body.sim_card_id }),
        ...(body.sensor_id !== undefined && { sensorId: body.sensor_id }),
      };
      const { state, revision, position } = await devices.change(params.id, links, {
        ...command(),
        ...(refuse !== undefined && { precondition: refuse }),
      });
      if (state.status === 'missing' || revision === 'no-stream') throw notFound();
      const device = { deviceId: params.id, ...state.links, retiredAt: null };
      return {
        status: 200,
        body: deviceBody({ ...device, createdAt: new Date(state.createdAt) }),
        headers: { ETag: etag(revision) },
        position,
      };
    },
  });

  const retire = defineRoute({
    method: 'delete',
    path: '/devices/{id}',
    operationId: 'retireDevice',
    summary: 'Retire a device: its keys are refused, its history stays',
    tag: 'Tenancy',
    access: ['owner', 'member'],
    params: z.object({ id: idField }),
    answers: { 204: null },
    errors: ['not-found', 'device-transferred', 'precondition-failed'],
    hasEtag: true,
    async handle({ params, headers, command }) {
      const refuse = precondition(headers);
      const { position } = await devices.retire(params.id, {
        ...command(),
        ...(refuse !== undefined && { precondition: refuse }),
      });
      return { status: 204, position };
    },
  });

  return [list, change, retire];
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

export function deviceBody(device: Omit<DeviceView, 'lastSeenAt' | 'revision'>): JsonObject {
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
