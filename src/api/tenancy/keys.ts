import { z } from 'zod';
import { mintKey } from '../../commands/tenancy/api-keys.ts';
import type { TenancyCommands } from '../../commands/tenancy/commands.ts';
import type { KeyDirectory } from '../../projections/tenancy/key-directory/key-directory.ts';
import type { TenancyQueries } from '../../projections/tenancy/queries.ts';
import type { ErrorCode } from '../../shared/errors.ts';
import { idField, timeAnswer } from '../fields.ts';
import { cursorPage, cursorQuery, placeAfterPosition, walkPage } from '../paging.ts';
import { notFound } from '../problem.ts';
import { defineRoute, jsonBody, jsonTime, type Route } from '../route.ts';

const keyAnswer = z.object({
  id: z.string(),
  kind: z.enum(['mem', 'dev']),
  holder: z.string(),
  created_at: timeAnswer,
});

export function keyRoutes(
  commands: TenancyCommands,
  queries: TenancyQueries,
  directory: KeyDirectory,
): Route[] {
  const issueToMember = issueRoute(commands, {
    path: '/members/{id}/keys',
    operationId: 'createMemberKey',
    summary: 'Issue another key to a member',
    kind: 'mem',
    errors: ['not-found'],
  });

  const issueToDevice = issueRoute(commands, {
    path: '/devices/{id}/keys',
    operationId: 'createDeviceKey',
    summary: 'Issue another key to a device; earlier keys stay valid',
    kind: 'dev',
    errors: ['not-found', 'device-retired', 'device-transferred'],
  });

  const list = defineRoute({
    method: 'get',
    path: '/keys',
    operationId: 'listKeys',
    summary: 'List the keys of the project, oldest first, without secrets',
    tag: 'Tenancy',
    access: ['owner'],
    query: cursorQuery,
    takesAsOf: true,
    answers: { 200: cursorPage(keyAnswer.extend({ revoked_at: timeAnswer.nullable() })) },
    handle: (request) =>
      walkPage(request, {
        name: 'keys',
        place: placeAfterPosition,
        isPinned: true,
        rows: (limit, place, asOf) =>
          queries.keys(request.projectId, { limit, asOf, ...place }, request.read),
        item: (key) => ({
          id: key.keyId,
          kind: key.kind,
          holder: key.holder,
          created_at: jsonTime(key.issuedAt),
          revoked_at: jsonTime(key.revokedAt),
        }),
        placeOf: ({ position }) => ({ after: position }),
      }),
  });

  const revoke = defineRoute({
    method: 'delete',
    path: '/keys/{id}',
    operationId: 'revokeKey',
    summary: 'Revoke a key: it is refused from the next request on',
    tag: 'Tenancy',
    access: ['owner'],
    params: z.object({ id: idField }),
    answers: { 204: null },
    errors: ['not-found', 'device-transferred', 'last-owner'],
    async handle({ params, projectId, command }) {
      // The directory only tells whose stream the key is in; its holder's stream decides. It is not
      // the read model, which may be paused, or far behind.
      const key = await directory.find(params.id);
      if (key === undefined || key.projectId !== projectId) throw notFound();
      const { kind, holder, keyId } = key;
      const { position } = await commands.revokeKey({ kind, id: holder }, keyId, command());
      return { status: 204, position };
    },
  });

  return [issueToMember, issueToDevice, list, revoke];
}

interface Issuing {
  readonly path: `/${string}/{id}/keys`;
  readonly operationId: string;
  readonly summary: string;
  readonly kind: 'mem' | 'dev';
  readonly errors: readonly ErrorCode[];
}

function issueRoute(
  commands: TenancyCommands,
  { path, operationId, summary, kind, errors }: Issuing,
): Route {
  return defineRoute({
    method: 'post',
    path,
    operationId,
    summary,
    tag: 'Tenancy',
    access: ['owner'],
    params: z.object({ id: idField }),
    body: { ...jsonBody(z.strictObject({}), {}), isOptional: true },
    answers: { 201: keyAnswer.extend({ key: z.string() }) },
    errors,
    async handle({ params, now, entropy, command }) {
      const { apiKey, newKey } = mintKey(kind, entropy, now);
      const { position } = await commands.issueKey({ kind, id: params.id }, newKey, command());
      return {
        status: 201,
        body: { id: apiKey.id, kind, holder: params.id, created_at: now.toISOString() },
        shownKeys: [{ path: ['key'], kind, keyId: apiKey.id, label: 'key' }],
        position,
      };
    },
  });
}
