import { z } from 'zod';
import type { ProjectionCommands } from '../../commands/projections/commands.ts';
import type { ProjectionAdministration } from '../../projections/engine/administration.ts';
import type { Positions } from '../../event-store/positions.ts';
import { verificationBody } from '../../projections/engine/administration-json.ts';
import type { Replay } from '../../projections/engine/replaying/replays.ts';
import { uuidOf } from '../../shared/ids.ts';
import { timeAnswer } from '../fields.ts';
import { defineRoute, type Route } from '../route.ts';
import { projectionParams } from './projections.ts';
import { replayParams } from './rebuilds.ts';

const row = z.unknown().meta({ description: 'The row; null if that side has none' });

const verificationAnswer = z
  .object({
    id: z.string(),
    projection: z.string(),
    status: z.enum(['running', 'completed', 'cancelled', 'failed']),
    position: z.string(),
    rows: z.int().meta({ description: 'The number of rows compared' }),
    differing_total: z
      .int()
      .meta({ description: 'The number of rows that differ, of which the first 500 are listed' }),
    differing: z.array(
      z.object({
        table: z.string(),
        key: z.record(z.string(), z.unknown()),
        live: row,
        replayed: row,
      }),
    ),
    started_at: timeAnswer,
    ended_at: timeAnswer.nullable(),
    error: z.string().nullable(),
  })
  .meta({ id: 'Verification' });

export function verificationRoutes(
  commands: ProjectionCommands<Replay>,
  administration: ProjectionAdministration,
  positions: Positions,
): Route[] {
  const request = defineRoute({
    method: 'post',
    path: '/admin/projections/{name}/verify',
    operationId: 'verifyProjection',
    summary: 'Verify a projection: replay the log and compare every row',
    tag: 'Administration',
    access: ['admin'],
    params: projectionParams,
    answers: { 202: verificationAnswer },
    headers: { Location: 'The verification' },
    errors: ['not-found', 'projection-busy'],
    async handle({ params, entropy, command }) {
      const id = uuidOf(entropy('verification', 16));
      const replay = await commands.requestReplay('verification', params.name, id, command());
      return {
        status: 202,
        headers: { Location: `/api/v1/admin/verifications/${id}` },
        body: verificationBody(replay, positions),
      };
    },
  });

  const read = defineRoute({
    method: 'get',
    path: '/admin/verifications/{id}',
    operationId: 'getVerification',
    summary: 'Get a verification and the rows that differ',
    tag: 'Administration',
    access: ['admin'],
    params: replayParams,
    answers: { 200: verificationAnswer },
    errors: ['not-found'],
    async handle({ params }) {
      const replay = await administration.replay('verification', params.id);
      return { status: 200, body: verificationBody(replay, positions) };
    },
  });

  const cancel = defineRoute({
    method: 'delete',
    path: '/admin/verifications/{id}',
    operationId: 'cancelVerification',
    summary: 'Cancel a verification',
    tag: 'Administration',
    access: ['admin'],
    params: replayParams,
    answers: { 200: verificationAnswer },
    errors: ['not-found', 'replay-ended'],
    async handle({ params, command }) {
      const replay = await commands.cancelReplay('verification', params.id, command());
      return { status: 200, body: verificationBody(replay, positions) };
    },
  });

  return [request, read, cancel];
}
