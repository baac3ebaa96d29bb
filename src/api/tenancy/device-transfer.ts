import { z } from 'zod';
import type { TenancyCommands } from '../../commands/tenancy/commands.ts';
import { shortId } from '../../shared/ids.ts';
import { idField, projectIdField } from '../fields.ts';
import { defineRoute, jsonBody, type Route } from '../route.ts';

export function deviceTransferRoute(commands: TenancyCommands): Route {
  return defineRoute({
    method: 'post',
    path: '/devices/{id}/transfer',
    operationId: 'transferDevice',
    summary: 'Transfer a device with its keys to another project',
    tag: 'Tenancy',
    access: ['admin'],
    params: z.object({ id: idField }),
    query: z.object({
      project: projectIdField.meta({ description: 'The project that has the device now' }),
    }),
    body: jsonBody(z.strictObject({ to: projectIdField }), { to: 'another-project' }),
    answers: { 200: z.object({ device_id: z.string(), from: z.string(), to: z.string() }) },
    errors: ['not-found', 'device-exists', 'device-retired', 'device-transferred', 'link-taken'],
    async handle({ params, query, body, now, entropy, command }) {
      const transferId = shortId(entropy('transfer', 16));
      const transfer = { deviceId: params.id, from: query.project, to: body.to, transferId, now };
      const { position } = await commands.transferDevice(transfer, (ordinal) =>
        command({ ordinal }),
      );
      const { deviceId, from, to } = transfer;
      return { status: 200, body: { device_id: deviceId, from, to }, position };
    },
  });
}
