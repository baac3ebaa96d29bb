import { z } from 'zod';
import { defineContract, defineEvent, type EventOf } from './event.ts';

/**
 * A device reported the firmware of one of its components. Stream
 * `firmware-<project>.<device>/<digest of component, version and time>`, which takes one event, so
 * that the log itself refuses the same report again. `reportedAt` is the device's own time.
 */
const firmwareReported = defineEvent(
  'FirmwareReported',
  z.object({
    deviceId: z.string(),
    component: z.string(),
    /** SemVer 2.0, as it was sent. */
    version: z.string(),
    hardware: z.string().exactOptional(),
    reportedAt: z.iso.datetime(),
  }),
);

export const firmwareContract = defineContract({
  categories: ['firmware'],
  events: [firmwareReported],
});
export type FirmwareEvent = EventOf<typeof firmwareReported>;
