import { z } from 'zod';
import type { CommandHandler } from '../../commands/handler.ts';
import { mintKey } from '../../commands/keys.ts';
import {
  deviceDecider,
  deviceStream,
  projectDecider,
  projectStream,
} from '../../commands/tenancy.ts';
import type { Position } from '../../projections/engine/read-model.ts';
import type { TenancyQueries } from '../../projections/tenancy/tenancy-queries.ts';
import { idField, timeAnswer } from '../fields.ts';
import {
  cursorPage,
  cursorQuery,
  decodeCursor,
  encodeCursor,
  pageAnswer,
  placeAfterPosition,
  splitPage,
} from '../paging.ts';
import { notFound } from '../problem.ts';
import { defineRoute, jsonTime, type Route } from '../route.ts';

const keyAnswer = z.object({
  id: z.string(),
  kind: z.enum(['mem', 'dev']),
  holder: z.string(),
  created_at: timeAnswer,
});

export function keyRoutes(handler: CommandHandler, queries: TenancyQueries): Route[] {
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
