import { z } from 'zod';
import type { JsonObject } from '../shared/json.ts';
import { defineContract, defineEvent, type EventOf } from './event.ts';

/** How a sensor, or a whole project, tells a repeated patch from a new one. */
export const dedupStrategySchema = z.discriminatedUnion('strategy', [
  z.strictObject({ strategy: z.literal('unchanged') }),
  z.strictObject({ strategy: z.literal('message-id') }),
  z.strictObject({
    strategy: z.literal('sequence'),
    bits: z.int().min(2).max(52).exactOptional().meta({
      description: 'The width of the counter in bits: it wraps to 0 after its highest number',
    }),
  }),
  z.strictObject({
    strategy: z.literal('window'),
    seconds: z.number().positive().max(86_400),
  }),
  z.strictObject({ strategy: z.literal('none') }),
]);
export type DedupStrategy = z.infer<typeof dedupStrategySchema>;

const jsonObject = z.custom<JsonObject>(
  (value) => typeof value === 'object' && value !== null && !Array.isArray(value),
);

/** A merge patch (RFC 7396) was applied to a sensor's state. Stream `sensor-<project>.<sensor>`. */
const sensorPatched = defineEvent(
  'SensorPatched',
  z.object({
    sensorId: z.string(),
    patch: jsonObject,
    messageId: z.string().exactOptional(),
    sequence: z.number().exactOptional(),
    /** The window it was judged in; the fold keeps digests of patches for just as long. */
    windowSeconds: z.number().exactOptional(),
    /**
     * Which setting of the project's strategy it was taken under; earlier releases gave none.
     */
    memory: z.number().exactOptional(),
    /** When the service received it (RFC 3339): what windows are measured by. */
    receivedAt: z.iso.datetime(),
  }),
);

/** A sensor got a dedup strategy of its own. Stream `sensor-<project>.<sensor>`. */
const sensorDedupSet = defineEvent(
  'SensorDedupSet',
  z.object({
    sensorId: z.string(),
    strategy: dedupStrategySchema,
    /** Numbers what is remembered from here on; earlier releases gave none. */
    memory: z.number().exactOptional(),
  }),
);

/** The project's dedup strategy changed. Stream `dedup-<project>.project`. */
const projectDedupSet = defineEvent(
  'ProjectDedupSet',
  z.object({ strategy: dedupStrategySchema, memory: z.number().exactOptional() }),
);

/**
 * A message id was seen for the first time: the stream `message-<project>.<sensor>/<message>` takes
 * one event, so that the log itself refuses the second. `sensorRevision` is where the sensor stood,
 * hence where the search for the patch of that message begins.
 */
const messageClaimed = defineEvent(
  'MessageClaimed',
  z.object({ sensorId: z.string(), messageId: z.string(), sensorRevision: z.string().nullable() }),
);

export const stateContract = defineContract({
  categories: ['dedup', 'message', 'sensor'],
  events: [sensorPatched, sensorDedupSet, projectDedupSet, messageClaimed],
});
export type SensorEvent = EventOf<typeof sensorPatched> | EventOf<typeof sensorDedupSet>;
export type ProjectDedupEvent = EventOf<typeof projectDedupSet>;
