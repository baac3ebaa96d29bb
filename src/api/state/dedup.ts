import { z } from 'zod';
import { dedupStrategySchema, type StateCommands } from '../../commands/state/commands.ts';
import { idField, projectIdField } from '../fields.ts';
import { notFound } from '../problem.ts';
import { defineRoute, jsonBody, type Route } from '../route.ts';

export function dedupRoutes(commands: StateCommands): Route[] {
  const setSensorDedup = defineRoute({
    method: 'put',
    path: '/sensors/{id}/dedup',
    operationId: 'setSensorDedup',
    summary: 'Set how repeated patches of a sensor are recognized',
    tag: 'State',
    access: ['owner', 'member'],
    params: z.object({ id: idField }),
    body: jsonBody(dedupStrategySchema, { strategy: 'window', seconds: 30 }),
    answers: { 200: dedupStrategySchema },
    async handle({ params, body, command }) {
      const { position } = await commands.setSensorDedup(params.id, body, command());
      return { status: 200, body, position };
    },
  });

  const setProjectDedup = defineRoute({
    method: 'put',
    path: '/projects/{id}/dedup',
    operationId: 'setProjectDedup',
    summary: 'Set how repeated patches are recognized by default',
    tag: 'State',
    access: ['owner', 'member'],
    params: z.object({ id: projectIdField }),
    body: jsonBody(dedupStrategySchema, { strategy: 'window', seconds: 30 }),
    answers: { 200: dedupStrategySchema },
    errors: ['not-found'],
    async handle({ params, body, projectId, command }) {
      if (params.id !== projectId) throw notFound();
      const { position } = await commands.setProjectDedup(body, command());
      return { status: 200, body, position };
    },
  });

  return [setSensorDedup, setProjectDedup];
}
