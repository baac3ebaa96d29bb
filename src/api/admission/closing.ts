import { UNKEPT_RESULTS, type ItemResults } from '../../commands/core/stored-results.ts';
import { LedgerError } from '../../shared/errors.ts';

/** Ends the work for a client that has left. Nobody reads it as an answer. */
export function clientLeft(): LedgerError {
  return new LedgerError(
    'request-timeout',
    'The client closed the connection before the answer was sent.',
  );
}

/**
 * The results of a request without an idempotency key, whose work ends when its response closes.
 * One with a key continues, because a concurrent duplicate may wait for the same run.
 */
export function resultsWhileOpen(isClosed: () => boolean): ItemResults {
  return {
    ...UNKEPT_RESULTS,
    async next(part, run) {
      if (isClosed()) throw clientLeft();
      return await UNKEPT_RESULTS.next(part, run);
    },
  };
}
