import { z } from 'zod';
import type { CommandHandler } from '../commands/handler.ts';
import { mintKey } from '../commands/keys.ts';
import {
  deviceDecider,
  deviceStream,
  projectDecider,
  projectStream,
  roleSchema,
  type DeviceLinks,
} from '../commands/tenancy.ts';
import type { Positions } from '../projections/engine/as-of.ts';
import type { Position } from '../projections/engine/read-model.ts';
import type { StateQueries } from '../projections/state/state-queries.ts';
import type {
  DeviceView,
  ProjectView,
  TenancyQueries,
} from '../projections/tenancy/tenancy-queries.ts';
import { LedgerError } from '../shared/errors.ts';
import { shortId } from '../shared/ids.ts';
import type { JsonObject } from '../shared/json.ts';
import {
  asOfQuery,
  booleanQuery,
  devEuiField,
  idField,
  nameField,
  projectIdField,
  timeAnswer,
  timeQuery,
} from './fields.ts';
import {
  cursorPage,
  cursorQuery,
  decodeCursor,
  encodeCursor,
  pageAnswer,
  splitPage,
} from './paging.ts';
import { precondition } from './precondition.ts';
import { defineRoute, etag, jsonTime, type Route } from './route.ts';

export interface TenancyRoutesParts {
  readonly handler: CommandHandler;
  readonly queries: TenancyQueries;
  readonly states: StateQueries;
  readonly positions: Positions;
}

const projectAnswer = z
  .object({ id: z.string(), name: z.string(), created_at: timeAnswer })
  .meta({ id: 'Project' });

const memberAnswer = z.object({ id: z.string(), name: z.string(), role: roleSchema });

const keyAnswer = z.object({
  id: z.string(),
  kind: z.enum(['mem', 'dev']),
  holder: z.string(),
  created_at: timeAnswer,
});

const linksBody = z.object({
  dev_eui: devEuiField.nullable().optional(),
  sim_card_id: idField.nullable().optional(),
  sensor_id: idField.nullable().optional(),
});

const deviceFields = z.object({
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
    state: z.record(z.string(), z.unknown()).nullable(),
  })
  .meta({ id: 'Device' });

const placeAfterId = z.object({
  after: z.string(),
  asOf: z
    .string()
    .regex(/^\d{1,18}$/)
    .optional(),
});
const placeAfterPosition = z.object({
  after: z.string().regex(/^\d{1,18}$/),
  asOf: z
    .string()
    .regex(/^\d{1,18}$/)
    .optional(),
});

export function tenancyRoutes({
  handler,
  queries,
  states,
  positions,
}: TenancyRoutesParts): Route[] {
  return [
    ...projectRoutes(handler, queries),
    ...memberRoutes(handler, queries),
    ...deviceRoutes(handler, queries, states, positions),
    ...keyRoutes(handler, queries),
  ];
}

function projectRoutes(handler: CommandHandler, queries: TenancyQueries): Route[] {
  const create = defineRoute({
    method: 'post',
    path: '/projects',
    summary: 'Create a project, with its first owner',
    tag: 'Tenancy',
    access: ['admin'],
    body: {
      content: { 'application/json': z.object({ id: projectIdField.optional(), name: nameField }) },
    },
    answers: {
      201: projectAnswer.extend({
        owner: z.object({ id: z.string(), role: z.literal('owner'), key: z.string() }),
      }),
    },
    errors: ['project-exists'],
    async handle({ body, now, entropy, command }) {
      const projectId = body.id ?? shortId(entropy('project', 12));
      const memberId = shortId(entropy('owner', 12));
      const key = mintKey('mem', entropy, now);
      const createdAt = now.toISOString();
      const { position } = await handler.execute(
        projectDecider,
        projectStream(projectId),
        {
          type: 'create',
          projectId,
          name: body.name,
          createdAt,
          owner: { memberId, name: 'owner', key: key.newKey },
        },
        { ...command(), projectId },
      );
      return {
        status: 201,
        headers: { Location: `/api/v1/projects/${projectId}` },
        body: {
          id: projectId,
          name: body.name,
          created_at: createdAt,
          owner: { id: memberId, role: 'owner' },
        },
        shownKeys: [{ path: ['owner', 'key'], kind: 'mem', keyId: key.apiKey.id, label: 'key' }],
        position,
      };
    },
  });

  const list = defineRoute({
    method: 'get',
    path: '/projects',
    summary: 'The projects, by id: all for the admin, their own for members',
    tag: 'Tenancy',
    access: ['admin', 'owner', 'member', 'viewer'],
    query: cursorQuery,
    answers: { 200: cursorPage(projectAnswer) },
    async handle({ query, caller, projectId, read, path }) {
      const place = decodeCursor('projects', query.cursor, placeAfterId);
      const { limit } = query;
      const only = caller.kind === 'admin' ? undefined : projectId;
      const { value, position } = await queries.projects(
        {
          limit: limit + 1,
          ...(only !== undefined && { only }),
          ...(place !== undefined && { after: place.after }),
        },
        read,
      );
      const { page, last } = splitPage(value, limit);
      const next = last && encodeCursor('projects', { after: last.projectId });
      return pageAnswer(page.map(projectBody), next, path, position);
    },
  });

  const read = defineRoute({
    method: 'get',
    path: '/projects/{id}',
    summary: 'A project',
    tag: 'Tenancy',
    access: ['admin', 'owner', 'member', 'viewer'],
    params: z.object({ id: idField }),
    answers: { 200: projectAnswer },
    errors: ['not-found'],
    async handle({ params, caller, projectId, read: options }) {
      if (caller.kind !== 'admin' && params.id !== projectId) throw notFound();
      const { value, position } = await queries.projects({ only: params.id, limit: 1 }, options);
      const [project] = value;
      if (project === undefined) throw notFound();
      return { status: 200, body: projectBody(project), position };
    },
  });

  return [create, list, read];
}

function memberRoutes(handler: CommandHandler, queries: TenancyQueries): Route[] {
  const add = defineRoute({
    method: 'post',
    path: '/members',
    summary: 'Add a member to the project',
    tag: 'Tenancy',
    access: ['owner'],
    body: { content: { 'application/json': z.object({ name: nameField, role: roleSchema }) } },
    answers: { 201: memberAnswer.extend({ key: z.string() }) },
    async handle({ body, projectId, now, entropy, command }) {
      const memberId = shortId(entropy('member', 12));
      const key = mintKey('mem', entropy, now);
      const { position } = await handler.execute(
        projectDecider,
        projectStream(projectId),
        { type: 'add-member', memberId, name: body.name, role: body.role, key: key.newKey },
        command(),
      );
      return {
        status: 201,
        body: { id: memberId, name: body.name, role: body.role },
        shownKeys: [{ path: ['key'], kind: 'mem', keyId: key.apiKey.id, label: 'key' }],
        position,
      };
    },
  });

  const list = defineRoute({
    method: 'get',
    path: '/members',
    summary: 'The members of the project, in the order in which they came',
    tag: 'Tenancy',
    access: ['owner'],
    query: cursorQuery,
    answers: { 200: cursorPage(memberAnswer) },
    async handle({ query, projectId, read, path }) {
      const place = decodeCursor('members', query.cursor, placeAfterPosition);
      const { limit } = query;
      const { value, position } = await queries.members(
        projectId,
        {
          limit: limit + 1,
          ...(place !== undefined && { after: BigInt(place.after) as Position }),
          ...(place?.asOf !== undefined && { asOf: BigInt(place.asOf) as Position }),
        },
        read,
      );
      const { page, last } = splitPage(value, limit);
      // The walk stays at the position of its first page: who is removed meanwhile is still seen.
      const next =
        last &&
        encodeCursor('members', {
          after: last.position.toString(),
          asOf: place?.asOf ?? position.toString(),
        });
      const items = page.map(({ memberId, name, role }) => ({ id: memberId, name, role }));
      return pageAnswer(items, next, path, position);
    },
  });

  const remove = defineRoute({
    method: 'delete',
    path: '/members/{id}',
    summary: 'Remove a member; the keys of the member are refused from then on',
    tag: 'Tenancy',
    access: ['owner'],
    params: z.object({ id: idField }),
    answers: { 204: null },
    errors: ['not-found', 'last-owner'],
    async handle({ params, projectId, command }) {
      const { position } = await handler.execute(
        projectDecider,
        projectStream(projectId),
        { type: 'remove-member', memberId: params.id },
        command(),
      );
      return { status: 204, position };
    },
  });

  return [add, list, remove];
}

function deviceRoutes(
  handler: CommandHandler,
  queries: TenancyQueries,
  states: StateQueries,
  positions: Positions,
): Route[] {
  const register = defineRoute({
    method: 'post',
    path: '/devices',
    summary: 'Register a device, with its first key',
    tag: 'Tenancy',
    access: ['owner', 'member'],
    body: { content: { 'application/json': linksBody.extend({ device_id: idField }) } },
    answers: { 201: deviceFields.extend({ key: z.string() }) },
    errors: ['device-exists'],
    async handle({ body, projectId, now, entropy, command }) {
      const key = mintKey('dev', entropy, now);
      const links = {
        devEui: body.dev_eui ?? null,
        simCardId: body.sim_card_id ?? null,
        sensorId: body.sensor_id ?? null,
      };
      const createdAt = now.toISOString();
      const { position } = await handler.execute(
        deviceDecider,
        deviceStream(projectId, body.device_id),
        { type: 'register', deviceId: body.device_id, links, createdAt, key: key.newKey },
        command(),
      );
      return {
        status: 201,
        headers: { Location: `/api/v1/devices/${encodeURIComponent(body.device_id)}` },
        body: {
          device_id: body.device_id,
          ...linksAnswer(links),
          created_at: createdAt,
          retired_at: null,
        },
        shownKeys: [{ path: ['key'], kind: 'dev', keyId: key.apiKey.id, label: 'key' }],
        position,
      };
    },
  });

  const list = defineRoute({
    method: 'get',
    path: '/devices',
    summary: 'The devices of the project, by id',
    tag: 'Tenancy',
    access: ['owner', 'member', 'viewer'],
    query: cursorQuery.extend({
      has_dev_eui: booleanQuery,
      retired: booleanQuery,
      seen_after: timeQuery,
      seen_before: timeQuery,
    }),
    answers: { 200: cursorPage(deviceFields.extend({ last_seen_at: timeAnswer.nullable() })) },
    async handle({ query, projectId, read, path }) {
      const place = decodeCursor('devices', query.cursor, placeAfterId);
      const { limit } = query;
      const { value, position } = await queries.devices(
        projectId,
        {
          limit: limit + 1,
          ...(place !== undefined && { after: place.after }),
          ...(place?.asOf !== undefined && { asOf: BigInt(place.asOf) as Position }),
          ...(query.has_dev_eui !== undefined && { hasDevEui: query.has_dev_eui }),
          ...(query.retired !== undefined && { isRetired: query.retired }),
          ...(query.seen_after !== undefined && { seenAfter: query.seen_after }),
          ...(query.seen_before !== undefined && { seenBefore: query.seen_before }),
        },
        read,
      );
      const { page, last } = splitPage(value, limit);
      const next =
        last &&
        encodeCursor('devices', {
          after: last.deviceId,
          asOf: place?.asOf ?? position.toString(),
        });
      const items = page.map((device) => ({
        ...deviceBody(device),
        last_seen_at: jsonTime(device.lastSeenAt),
      }));
      return pageAnswer(items, next, path, position);
    },
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
    async handle({ params, query, projectId, read }) {
      const asOf = query.as_of === undefined ? undefined : await positions.asOf(query.as_of);
      const found = await queries.devices(
        projectId,
        { only: params.id, limit: 1, ...(asOf !== undefined && { asOf }) },
        read,
      );
      const [device] = found.value;
      if (device === undefined) throw notFound();
      const sensor =
        device.sensorId === null
          ? undefined
          : asOf === undefined
            ? await states.sensor(projectId, device.sensorId, read)
            : await states.sensorAt(projectId, device.sensorId, asOf, read);
      const position =
        sensor !== undefined && sensor.position < found.position ? sensor.position : found.position;
      return {
        status: 200,
        body: {
          ...deviceBody(device),
          last_seen_at: jsonTime(sensor?.value?.updatedAt ?? null),
          state: sensor?.value?.state ?? null,
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
    errors: ['not-found', 'device-retired', 'precondition-failed'],
    hasEtag: true,
    async handle({ params, body, projectId, headers, read, command }) {
      const refuse = precondition(headers);
      const links: Partial<DeviceLinks> = {
        ...(body.dev_eui !== undefined && { devEui: body.dev_eui }),
        ...(body.sim_card_id !== undefined && { simCardId: body.sim_card_id }),
        ...(body.sensor_id !== undefined && { sensorId: body.sensor_id }),
      };
      await handler.execute(
        deviceDecider,
        deviceStream(projectId, params.id),
        { type: 'change', deviceId: params.id, links },
        { ...command(), ...(refuse !== undefined && { precondition: refuse }) },
      );
      const found = await queries.devices(projectId, { only: params.id, limit: 1 }, read);
      const [device] = found.value;
      if (device === undefined) throw notFound();
      return {
        status: 200,
        body: deviceBody(device),
        headers: { ETag: etag(device.revision) },
        position: found.position,
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
    errors: ['not-found'],
    async handle({ params, projectId, command }) {
      const { position } = await handler.execute(
        deviceDecider,
        deviceStream(projectId, params.id),
        { type: 'retire', deviceId: params.id },
        command(),
      );
      return { status: 204, position };
    },
  });

  return [register, list, readOne, change, retire];
}

function keyRoutes(handler: CommandHandler, queries: TenancyQueries): Route[] {
  const issueToMember = defineRoute({
    method: 'post',
    path: '/members/{id}/keys',
    summary: 'Issue another key to a member',
    tag: 'Tenancy',
    access: ['owner'],
    params: z.object({ id: idField }),
    body: { content: { 'application/json': z.object({}) }, isOptional: true },
    answers: { 201: keyAnswer.extend({ key: z.string() }) },
    errors: ['not-found'],
    async handle({ params, projectId, now, entropy, command }) {
      const key = mintKey('mem', entropy, now);
      const { position } = await handler.execute(
        projectDecider,
        projectStream(projectId),
        { type: 'issue-key', memberId: params.id, key: key.newKey },
        command(),
      );
      return {
        status: 201,
        body: { id: key.apiKey.id, kind: 'mem', holder: params.id, created_at: now.toISOString() },
        shownKeys: [{ path: ['key'], kind: 'mem', keyId: key.apiKey.id, label: 'key' }],
        position,
      };
    },
  });

  const issueToDevice = defineRoute({
    method: 'post',
    path: '/devices/{id}/keys',
    summary: 'Issue another key to a device; the earlier ones stay valid until they are revoked',
    tag: 'Tenancy',
    access: ['owner'],
    params: z.object({ id: idField }),
    body: { content: { 'application/json': z.object({}) }, isOptional: true },
    answers: { 201: keyAnswer.extend({ key: z.string() }) },
    errors: ['not-found', 'device-retired'],
    async handle({ params, projectId, now, entropy, command }) {
      const key = mintKey('dev', entropy, now);
      const { position } = await handler.execute(
        deviceDecider,
        deviceStream(projectId, params.id),
        { type: 'issue-key', deviceId: params.id, key: key.newKey },
        command(),
      );
      return {
        status: 201,
        body: { id: key.apiKey.id, kind: 'dev', holder: params.id, created_at: now.toISOString() },
        shownKeys: [{ path: ['key'], kind: 'dev', keyId: key.apiKey.id, label: 'key' }],
        position,
      };
    },
  });

  const list = defineRoute({
    method: 'get',
    path: '/keys',
    summary: 'Every key of the project, in the order of issue; never their secrets',
    tag: 'Tenancy',
    access: ['owner'],
    query: cursorQuery,
    answers: { 200: cursorPage(keyAnswer.extend({ revoked_at: timeAnswer.nullable() })) },
    async handle({ query, projectId, read, path }) {
      const place = decodeCursor('keys', query.cursor, placeAfterPosition);
      const { limit } = query;
      const { value, position } = await queries.keys(
        projectId,
        {
          limit: limit + 1,
          ...(place !== undefined && { after: BigInt(place.after) as Position }),
        },
        read,
      );
      const { page, last } = splitPage(value, limit);
      const next = last && encodeCursor('keys', { after: last.position.toString() });
      const items = page.map((key) => ({
        id: key.keyId,
        kind: key.kind,
        holder: key.holder,
        created_at: jsonTime(key.issuedAt),
        revoked_at: jsonTime(key.revokedAt),
      }));
      return pageAnswer(items, next, path, position);
    },
  });

  const revoke = defineRoute({
    method: 'delete',
    path: '/keys/{id}',
    summary: 'Revoke a key: it is refused from the next request on',
    tag: 'Tenancy',
    access: ['owner'],
    params: z.object({ id: idField }),
    answers: { 204: null },
    errors: ['not-found'],
    async handle({ params, projectId, read, command }) {
      // The directory only tells whose stream the key is in; its holder's stream decides.
      const key = await queries.keyHolder(params.id, read);
      if (key === undefined || key.projectId !== projectId) throw notFound();
      const { keyId, holder } = key;
      const { position } =
        key.kind === 'dev'
          ? await handler.execute(
              deviceDecider,
              deviceStream(projectId, holder),
              { type: 'revoke-key', deviceId: holder, keyId },
              command(),
            )
          : await handler.execute(
              projectDecider,
              projectStream(projectId),
              { type: 'revoke-key', keyId },
              command(),
            );
      return { status: 204, position };
    },
  });

  return [issueToMember, issueToDevice, list, revoke];
}

function projectBody({ projectId, name, createdAt }: ProjectView): JsonObject {
  return { id: projectId, name, created_at: jsonTime(createdAt) };
}

function linksAnswer({ devEui, simCardId, sensorId }: DeviceLinks): JsonObject {
  return { dev_eui: devEui, sim_card_id: simCardId, sensor_id: sensorId };
}

function deviceBody(device: DeviceView): JsonObject {
  return {
    device_id: device.deviceId,
    ...linksAnswer(device),
    created_at: jsonTime(device.createdAt),
    retired_at: jsonTime(device.retiredAt),
  };
}

/** The same words for what is missing and for what is another project's. */
function notFound(): LedgerError {
  return new LedgerError('not-found', 'There is nothing here: check the id.');
}
