import pRetry from 'p-retry';
import { asLedgerError, isPassing } from './failures.ts';

const RETRY_FOR_MS = 5_000;

/** A server that is away for a moment is not noticed. */
export function retried<T>(attempt: () => Promise<T>): Promise<T> {
  return pRetry(attempt, {
    retries: 100,
    minTimeout: 50,
    maxTimeout: 500,
    maxRetryTime: RETRY_FOR_MS,
    randomize: true,
    shouldRetry: ({ error }) => isPassing(error),
  });
}

/** @throws LedgerError `store-unavailable`, for callers of the log */
export async function untilAnswered<T>(attempt: () => Promise<T>): Promise<T> {
  try {
    return await retried(attempt);
  } catch (error) {
    throw asLedgerError(error);
  }
}
