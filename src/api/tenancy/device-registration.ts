import { z } from 'zod';
import type { DeviceCommands } from '../../commands/tenancy/device-commands.ts';
import type { CommandContext } from '../../commands/core/context.ts';
import { mintKey, type MintedKey } from '../../commands/tenancy/api-keys.ts';
import type { DeviceLinks } from '../../events/tenancy.ts';
import type { Position } from '../../event-store/port.ts';
import { rowSchema } from '../csv.ts';
import { idField } from '../fields.ts';
import { answerRows, rowResults } from '../row-results.ts';
import { defineRoute, jsonBody, type Route } from '../route.ts';
import { deviceFields, linksAnswer, linksBody } from './devices.ts';

const newDevice = linksBody.extend({ device_id: idField });

/** One device, or many in a table. */
export function deviceRegistrationRoute(devices: DeviceCommands): Route {
  async function register(
    { device_id: deviceId, ...body }: z.infer<typeof newDevice>,
    { newKey }: MintedKey,
    now: Date,
    context: CommandContext,
  ): Promise<{ links: DeviceLinks; createdAt: string; position: Position }> {
    const links = {
      devEui: body.dev_eui ?? null,
      simCardId: body.sim_card_id ?? null,
      sensorId: body.sensor_id ?? null,
    };
    const createdAt = now.toISOString();
    const { position } = await devices.register(
      { deviceId, links, createdAt, key: newKey },
      context,
    );
    return { links, createdAt, position };
  }

  return defineRoute({
    method: 'post',
    path: '/devices',
    operationId: 'createDevice',
    summary: 'Register a device with its first key, or many by CSV',
    tag: 'Tenancy',
    access: ['owner', 'member'],
    body: jsonBody(newDevice, { device_id: 'pump-1', sensor_id: 'pump-1-temperature' }),
    answers: {
      200: rowResults('device_id', { key: z.string().optional() }),
      201: deviceFields.extend({ key: z.string() }),
    },
    headers: { Location: 'The device' },
    errors: ['device-exists', 'link-taken'],
    async handle({ body, now, entropy, command }) {
      const key = mintKey('dev', entropy, now);
      const { links, createdAt, position } = await register(body, key, now, command());
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
    table: {
      columns: { needed: ['device_id'], optional: ['dev_eui', 'sim_card_id', 'sensor_id'] },
      example:
        'device_id,dev_eui,sim_card_id,sensor_id\n' +
        'pump-2,FFA45722AA738240,89440002,pump-2-temperature\n',
      handle: (request) =>
        answerRows(request, {
          schema: rowSchema(newDevice),
          idName: 'device_id',
          async handle(row, ordinal) {
            const { now, entropy, command } = request;
            const label = `key ${ordinal}`;
            const key = mintKey('dev', entropy, now, label);
            const { position } = await register(row, key, now, command({ ordinal }));
            const shownKey = { kind: 'dev', keyId: key.apiKey.id, label } as const;
            return { status: 201, position, shownKey };
          },
        }),
    },
  });
}
