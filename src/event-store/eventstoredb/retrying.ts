import pRetry from 'p-retry';
import { asStoreError, isRefusedUser, isTransientFailure, NotReadableError } from './failures.ts';
import type { Reading } from './reading.ts';

const RETRY_FOR_MS = 5_000;
/** What the server was writing when it refused an append is written by then, or given up. */
const READABLE_WITHIN_MS = 3_000;

/** Retries so long that a server that is unavailable for a moment is not noticed. */
export function retried<T>(attempt: () => Promise<T>): Promise<T> {
  return pRetry(attempt, {
    retries: 100,
    minTimeout: 50,
    maxTimeout: 500,
    maxRetryTime: RETRY_FOR_MS,
    randomize: true,
    shouldRetry: ({ error }) => isTransientFailure(error) && !isRefusedUser(error),
  });
}

/** @throws LedgerError `store-unavailable`, for callers of the log */
export async function untilAnswered<T>(attempt: () => Promise<T>): Promise<T> {
  try {
    return await retried(attempt);
  } catch (error) {
    throw asStoreError(error);
  }
}

/**
 * Waits until a stream can be read at the revision that the server refused an append for. The
 * server decides on events that it is still writing, so for a moment after the refusal a reader may
 * find nothing, or not yet the event that came first.
 * @throws NotReadableError when that moment does not end: the server may have died over that event
 */
export function untilReadable(
  reading: Reading,
  nameOnServer: string,
  revision: bigint,
  withinMs = READABLE_WITHIN_MS,
): Promise<void> {
  const attempt = async (): Promise<void> => {
    const page = { from: revision, direction: 'forwards', maxCount: 1 } as const;
    const { events } = await reading.stream(nameOnServer, page);
    if (events.length === 0) throw new NotReadableError(nameOnServer, revision);
  };
  return pRetry(attempt, {
    retries: 1_000,
    minTimeout: 2,
    factor: 1.5,
    maxTimeout: 100,
    maxRetryTime: withinMs,
    randomize: true,
    shouldRetry: ({ error }) => error instanceof NotReadableError,
  });
}
