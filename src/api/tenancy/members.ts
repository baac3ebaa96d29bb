import { z } from 'zod';
import type { TenancyCommands } from '../../commands/tenancy/commands.ts';
import { mintKey } from '../../commands/tenancy/api-keys.ts';
import { roleSchema } from '../../events/tenancy.ts';
import type { TenancyQueries } from '../../projections/tenancy/queries.ts';
import { shortId } from '../../shared/ids.ts';
import { idField, nameField } from '../fields.ts';
import { cursorPage, cursorQuery, placeAfterPosition, walkPage } from '../paging.ts';
import { defineRoute, jsonBody, type Route } from '../route.ts';

const memberAnswer = z.object({ id: z.string(), name: z.string(), role: roleSchema });

export function memberRoutes(commands: TenancyCommands, queries: TenancyQueries): Route[] {
  const add = defineRoute({
    method: 'post',
    path: '/members',
    operationId: 'createMember',
    summary: 'Add a member to the project',
    tag: 'Tenancy',
    access: ['owner'],
    body: jsonBody(z.strictObject({ name: nameField, role: roleSchema }), {
      name: 'Ada',
      role: 'viewer',
    }),
    answers: { 201: memberAnswer.extend({ key: z.string() }) },
    async handle({ body, now, entropy, command }) {
      const memberId = shortId(entropy('member', 12));
      const key = mintKey('mem', entropy, now);
      const { position } = await commands.addMember(
        { memberId, name: body.name, role: body.role, key: key.newKey },
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
    operationId: 'listMembers',
    summary: 'List the members of the project, oldest first',
    tag: 'Tenancy',
    access: ['owner'],
    query: cursorQuery,
    takesAsOf: true,
    answers: { 200: cursorPage(memberAnswer) },
    handle: (request) =>
      walkPage(request, {
        name: 'members',
        place: placeAfterPosition,
        isPinned: true,
        rows: (limit, place, asOf) =>
          queries.members(request.projectId, { limit, asOf, ...place }, request.read),
        item: ({ memberId, name, role }) => ({ id: memberId, name, role }),
        placeOf: ({ position }) => ({ after: position }),
      }),
  });

  const remove = defineRoute({
    method: 'delete',
    path: '/members/{id}',
    operationId: 'deleteMember',
    summary: 'Remove a member, whose keys are refused from then on',
    tag: 'Tenancy',
    access: ['owner'],
    params: z.object({ id: idField }),
    answers: { 204: null },
    errors: ['not-found', 'last-owner'],
    async handle({ params, command }) {
      const { position } = await commands.removeMember(params.id, command());
      return { status: 204, position };
    },
  });

  return [add, list, remove];
}
