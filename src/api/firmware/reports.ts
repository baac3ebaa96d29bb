import { z } from 'zod';
import type { FirmwareCommands } from '../../commands/firmware/commands.ts';
import { LedgerError } from '../../shared/errors.ts';
import { timestampField } from '../fields.ts';
import { defineRoute, jsonBody, type Route } from '../route.ts';
import { versionField } from './version-field.ts';

/** Clocks of devices are wrong by hours; what is further off is no time of a report. */
const MAX_AHEAD_MS = 24 * 60 * 60 * 1_000;
const MAX_NAME_LENGTH = 128;

const nameText = z
  .string()
  .min(1, `must have 1 to ${MAX_NAME_LENGTH} characters`)
  .max(MAX_NAME_LENGTH, `must have 1 to ${MAX_NAME_LENGTH} characters`);

const reportBody = z.object({
  version: versionField,
  timestamp: timestampField,
  component: nameText.default('main'),
  hardware: nameText.optional(),
});

export function reportRoutes(commands: FirmwareCommands): Route[] {
  const report = defineRoute({
    method: 'post',
    path: '/firmware',
    operationId: 'createFirmwareReport',
    summary: 'Report the firmware version of a component',
    tag: 'Firmware',
    access: ['device'],
    body: jsonBody(reportBody, { version: '1.0.0', timestamp: 1_767_225_600 }),
    answers: { 202: z.object({ message: z.string(), event_id: z.string() }) },
    isInvalid400: true,
    async handle({ body, caller, now, command }) {
      if (caller.kind !== 'device') throw new Error('only devices are let in');
      const { version, component, hardware, timestamp: reportedAt } = body;
      if (reportedAt.getTime() > now.getTime() + MAX_AHEAD_MS) throw tooFarAhead();
      const { eventId, position } = await commands.report(
        { deviceId: caller.deviceId, component, version, hardware, reportedAt },
        command(),
      );
      // In the words that devices in the field wait for.
      return { status: 202, body: { message: 'Update Accepted.', event_id: eventId }, position };
    },
  });
  return [report];
}

function tooFarAhead(): LedgerError {
  const message = 'must not be more than a day in the future';
  return new LedgerError('bad-request', `Fix body.timestamp: ${message}.`, {
    fields: [{ path: 'body.timestamp', message }],
  });
}
