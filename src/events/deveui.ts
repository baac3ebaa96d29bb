import { z } from 'zod';
import { defineContract, defineEvent, type EventsOf } from './event.ts';

/**
 * A batch of DevEUIs was asked for. Stream `batch-<project>.<batch>`, with all that follows.
 *
 * `seed` (32 random bytes, in hex) is what its DevEUIs are drawn from, so that whoever takes the
 * batch up again draws the same. `provider` is the provider's address, without credentials: a batch
 * stays with it, as each registration is paid for there. `concurrency`: how many of its
 * DevEUIs may be open.
 */
const batchRequested = defineEvent(
  'BatchRequested',
  z.object({
    batchId: z.string(),
    size: z.int(),
    prefix: z.string(),
    seed: z.string(),
    provider: z.string(),
    concurrency: z.int(),
    requestedAt: z.iso.datetime(),
  }),
);

/** It is resumed after it was stopped or had failed, or with another provider. */
const batchResumed = defineEvent(
  'BatchResumed',
  z.object({ batchId: z.string(), provider: z.string(), concurrency: z.int() }),
);
/** No new requests; those in flight finish, and are recorded behind this. */
const batchStopped = defineEvent('BatchStopped', z.object({ batchId: z.string() }));
const batchCompleted = defineEvent('BatchCompleted', z.object({ batchId: z.string() }));
const batchFailed = defineEvent(
  'BatchFailed',
  z.object({ batchId: z.string(), reason: z.string() }),
);
const batchHidden = defineEvent('BatchHidden', z.object({ batchId: z.string() }));

/**
 * A request is about to leave: in the log before it does. `candidate`: the place of the DevEUI
 * among those that the batch draws, from 0; null when it was drawn before. `attempt`: which one for
 * this DevEUI, from 1.
 */
const devEuiAttempted = defineEvent(
  'DevEuiAttempted',
  z.object({
    batchId: z.string(),
    devEui: z.string(),
    candidate: z.int().nullable(),
    attempt: z.int(),
    sentAt: z.iso.datetime(),
  }),
);

const answered = z.object({
  batchId: z.string(),
  devEui: z.string(),
  attempt: z.int(),
  providerStatus: z.int(),
  endedAt: z.iso.datetime(),
});
/** It counts towards the size of the batch. */
const devEuiRegistered = defineEvent('DevEuiRegistered', answered);
/** Somebody else has it. `reason`: what the provider said; earlier releases did not keep it. */
const devEuiConflicted = defineEvent(
  'DevEuiConflicted',
  answered.extend({ reason: z.string().exactOptional() }),
);
/**
 * It may be ours, and nobody will say: it is in use, and an earlier attempt ended without an
 * answer; or the batch went to another provider, or was hidden, before it was asked for again
 * (`providerStatus` is then null).
 */
const devEuiUnconfirmed = defineEvent(
  'DevEuiUnconfirmed',
  answered.extend({ providerStatus: z.int().nullable(), reason: z.string().exactOptional() }),
);

/**
 * An attempt ended without an answer that says how it is; the DevEUI stays open. `mayBeRegistered`:
 * the provider may have done it. `failures`: so many attempts of this DevEUI in a row, since the
 * provider last answered the batch; an attempt whose process was interrupted is none.
 */
const devEuiAttemptFailed = defineEvent(
  'DevEuiAttemptFailed',
  z.object({
    batchId: z.string(),
    devEui: z.string(),
    attempt: z.int(),
    providerStatus: z.int().nullable(),
    reason: z.string(),
    mayBeRegistered: z.boolean(),
    failures: z.int(),
    endedAt: z.iso.datetime(),
  }),
);

export const deveuiContract = defineContract({
  categories: ['batch'],
  events: [
    batchRequested,
    batchResumed,
    batchStopped,
    batchCompleted,
    batchFailed,
    batchHidden,
    devEuiAttempted,
    devEuiRegistered,
    devEuiConflicted,
    devEuiUnconfirmed,
    devEuiAttemptFailed,
  ],
});

export type BatchEvent = EventsOf<typeof deveuiContract>;
