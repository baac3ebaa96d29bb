import { z } from 'zod';
import type { Json } from '../shared/json.ts';
import { defineContract, defineEvent, type EventOf } from './event.ts';
import { keyKindSchema } from './tenancy.ts';

/**
 * The life of a request that carries an `Idempotency-Key`
 * (draft-ietf-httpapi-idempotency-key-header). Stream `request-<project>.<digest of the key>`.
 *
 * `RequestReserved` comes before any effect and holds the digest of the request, so that the same
 * key with another request is refused, and a request that died is recognised and run again.
 */
const requestReserved = defineEvent(
  'RequestReserved',
  z.object({ requestDigest: z.string(), route: z.string(), reservedAt: z.iso.datetime() }),
);

/** What was answered, without secrets: those are derived again from the idempotency key. */
const requestAnswered = defineEvent(
  'RequestAnswered',
  z.object({
    status: z.int(),
    headers: z.record(z.string(), z.string()),
    body: z.custom<Json>((value) => value !== undefined),
    /** The keys that the answer showed: where in the body, and how their secrets are derived. */
    shownKeys: z.array(
      z.object({
        path: z.array(z.string()),
        kind: keyKindSchema,
        keyId: z.string(),
        label: z.string(),
      }),
    ),
    /** The position after the effects, as clients have it: it names the log it is of. */
    position: z.string().nullable(),
    /**
     * Where the body is, when it is too large for one append: in the parts of this id; `body` is
     * null.
     */
    bodyId: z.string().exactOptional(),
    /** The same of the shown keys, when they are many; `shownKeys` is empty. */
    shownKeysId: z.string().exactOptional(),
  }),
);

/**
 * The next part of a large body, of many shown keys or of large results, as text of JSON. One whose
 * answer never came belongs to nothing.
 */
const requestBodyPartKept = defineEvent(
  'RequestBodyPartKept',
  z.object({ bodyId: z.string(), text: z.string() }),
);

/**
 * Which items the next part of a streamed body has, from the place `first` on (from 0): before any
 * effect of them, as `RequestReserved` is for a body that is read whole.
 */
const requestItemsReserved = defineEvent(
  'RequestItemsReserved',
  z.object({ first: z.int(), count: z.int(), digest: z.string() }),
);

/**
 * Final results of items of the request, from the place `first` on; null for an item that has none
 * yet. Of several results of an item the first one counts.
 */
const requestItemsAnswered = defineEvent(
  'RequestItemsAnswered',
  z.object({
    first: z.int(),
    results: z.array(z.custom<Json>((value) => value !== undefined)),
    /** Where the results are, when they are too large for one append: `results` is empty. */
    resultsId: z.string().exactOptional(),
    shownKeys: z.array(
      z.object({ index: z.int(), kind: keyKindSchema, keyId: z.string(), label: z.string() }),
    ),
    /** The newest position after their effects, as clients have it. */
    position: z.string().nullable(),
  }),
);

export const requestsContract = defineContract({
  categories: ['request'],
  events: [
    requestReserved,
    requestAnswered,
    requestBodyPartKept,
    requestItemsReserved,
    requestItemsAnswered,
  ],
});
export type RequestEvent =
  | EventOf<typeof requestReserved>
  | EventOf<typeof requestAnswered>
  | EventOf<typeof requestBodyPartKept>
  | EventOf<typeof requestItemsReserved>
  | EventOf<typeof requestItemsAnswered>;
