import { z } from 'zod';
import { isKeepableText } from '../shared/text.ts';
import { defineContract, defineEvent, type EventOf, type EventsOf } from './event.ts';

/**
 * A SIM card used so many bytes at a time. Stream `usage-<project>.<what names the record>`, which
 * takes one event, so that the log itself refuses the same record again. `usedAt` is the source's
 * own time.
 */
const usageRecorded = defineEvent(
  'UsageRecorded',
  z.object({
    simCardId: z.string(),
    bytesUsed: z.int().min(0),
    usedAt: z.iso.datetime(),
  }),
);

const keepableText = z.string().refine(isKeepableText, 'must be text that every store keeps');

/** Where a record came from that was not taken. */
const usageOrigin = z.discriminatedUnion('kind', [
  z.object({
    kind: z.literal('kafka'),
    topic: z.string(),
    partition: z.int(),
    /** 64 bits: text. */
    offset: z.string(),
  }),
  /** `index` of the record in the request's body, from 0. */
  z.object({ kind: z.literal('http'), correlationId: z.string(), index: z.int() }),
]);

/**
 * A record was not taken: it cannot be read, or its id stands for another one. Stream
 * `usage-<project>.rejected/<what names it>`, one event each. `record` is how it came, in base64
 * where it is no text that can be kept; what is long is cut.
 */
const usageRejected = defineEvent(
  'UsageRejected',
  z.object({
    reason: z.enum(['malformed-json', 'validation-failed', 'id-reused']),
    detail: keepableText,
    origin: usageOrigin,
    record: z.object({
      encoding: z.enum(['utf-8', 'base64']),
      content: keepableText,
      isCut: z.boolean(),
    }),
  }),
);

export const usageContract = defineContract({
  categories: ['usage'],
  events: [usageRecorded, usageRejected],
});
export type UsageEvent = EventsOf<typeof usageContract>;
export type UsageOrigin = z.infer<typeof usageOrigin>;
export type RejectionReason = EventOf<typeof usageRejected>['data']['reason'];
