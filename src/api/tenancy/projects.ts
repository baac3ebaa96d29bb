import { z } from 'zod';
import type { TenancyCommands } from '../../commands/tenancy/commands.ts';
import { mintKey } from '../../commands/tenancy/api-keys.ts';
import type { ProjectView, TenancyQueries } from '../../projections/tenancy/queries.ts';
import { shortId } from '../../shared/ids.ts';
import type { JsonObject } from '../../shared/json.ts';
import type { Caller } from '../authentication.ts';
import { idField, nameField, projectIdField, timeAnswer } from '../fields.ts';
import { cursorPage, cursorQuery, placeAfterId, walkPage } from '../paging.ts';
import { notFound } from '../problem.ts';
import { defineRoute, jsonBody, jsonTime, type Route } from '../route.ts';

const projectAnswer = z
  .object({ id: z.string(), name: z.string(), created_at: timeAnswer })
  .meta({ id: 'Project' });

export function projectRoutes(commands: TenancyCommands, queries: TenancyQueries): Route[] {
  const create = defineRoute({
    method: 'post',
    path: '/projects',
    operationId: 'createProject',
    summary: 'Create a project with its first owner',
    tag: 'Tenancy',
    access: ['admin'],
    body: jsonBody(z.strictObject({ id: projectIdField.optional(), name: nameField }), {
      name: 'My fleet',
    }),
    answers: {
      201: projectAnswer.extend({
        owner: z.object({ id: z.string(), role: z.literal('owner'), key: z.string() }),
      }),
    },
    headers: { Location: 'The project' },
    errors: ['project-exists'],
    async handle({ body, now, entropy, command }) {
      const projectId = body.id ?? shortId(entropy('project', 12));
      const memberId = shortId(entropy('owner', 12));
      const key = mintKey('mem', entropy, now);
      const createdAt = now.toISOString();
      const { position } = await commands.createProject(
        {
          projectId,
          name: body.name,
          createdAt,
          owner: { memberId, name: 'owner', key: key.newKey },
        },
        command(),
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
    operationId: 'listProjects',
    summary: 'List projects, by id: all for the admin, one for a member',
    tag: 'Tenancy',
    access: ['admin', 'owner', 'member', 'viewer'],
    query: cursorQuery,
    takesAsOf: true,
    answers: { 200: cursorPage(projectAnswer) },
    handle: (request) =>
      walkPage(request, {
        name: 'projects',
        place: placeAfterId,
        rows: (limit, place, asOf) =>
          queries.projects({ limit, asOf, ...ownOf(request), ...place }, request.read),
        item: projectBody,
        placeOf: ({ projectId }) => ({ after: projectId }),
      }),
  });

  const read = defineRoute({
    method: 'get',
    path: '/projects/{id}',
    operationId: 'getProject',
    summary: 'Get a project',
    tag: 'Tenancy',
    access: ['admin', 'owner', 'member', 'viewer'],
    params: z.object({ id: idField }),
    takesAsOf: true,
    answers: { 200: projectAnswer },
    errors: ['not-found'],
    async handle({ params, caller, projectId, asOf, read: options }) {
      if (caller.kind !== 'admin' && params.id !== projectId) throw notFound();
      const page = { only: params.id, limit: 1, asOf };
      const { value, position } = await queries.projects(page, options);
      const [project] = value;
      if (project === undefined) throw notFound();
      return { status: 200, body: projectBody(project), position };
    },
  });

  return [create, list, read];
}

function ownOf({ caller }: { readonly caller: Caller }): { readonly only?: string } {
  return caller.kind === 'admin' ? {} : { only: caller.projectId };
}

function projectBody({ projectId, name, createdAt }: ProjectView): JsonObject {
  return { id: projectId, name, created_at: jsonTime(createdAt) };
}
