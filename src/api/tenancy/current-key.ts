import { z } from 'zod';
import type { Caller } from '../authentication.ts';
import { defineRoute, type Route } from '../route.ts';

/**
 * What a client may show to whoever holds its key: a viewer, for example, gets no form to write
 * with.
 */
export function currentKeyRoute(): Route {
  return defineRoute({
    method: 'get',
    operationId: 'getCurrentKey',
    path: '/key',
    summary: 'What the key of this request is for: its project, its holder and its role',
    tag: 'Tenancy',
    access: ['admin', 'owner', 'member', 'viewer', 'device'],
    answers: {
      200: z.object({
        id: z.string(),
        kind: z.enum(['admin', 'member', 'device']),
        project_id: z.string().nullable().meta({ description: 'None of an admin key' }),
        holder: z.string().nullable().meta({ description: 'The member or the device' }),
        role: z.enum(['owner', 'member', 'viewer']).nullable(),
      }),
    },
    async handle({ caller }) {
      return {
        status: 200,
        body: {
          id: caller.keyId,
          kind: caller.kind,
          project_id: caller.kind === 'admin' ? null : caller.projectId,
          holder: holderOf(caller),
          role: caller.kind === 'member' ? caller.role : null,
        },
      };
    },
  });
}

function holderOf(caller: Caller): string | null {
  switch (caller.kind) {
    case 'admin':
      return null;
    case 'member':
      return caller.memberId;
    case 'device':
      return caller.deviceId;
  }
}
