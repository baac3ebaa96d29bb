import type { Queryable } from '../../../database/database.ts';
import { LedgerError } from '../../../shared/errors.ts';

/**
 * The client waits a little longer than the server, since its own time-out costs the connection.
 */
const MARGIN_MS = 5_000;
/** PostgreSQL's `query_canceled`, for example after `statement_timeout`. */
const QUERY_CANCELED = '57014';

/** The work itself takes too long, so it is useless to try the same again. */
export class TooSlowError extends Error {
  override readonly name = 'TooSlowError';
}

/**
 * Runs `work` in a transaction whose `statement_timeout` is the limit. No statement begins after
 * the limit, so all of it is over within twice that time.
 * @throws TooSlowError
 */
export async function withinLimit<T>(
  tx: Queryable,
  limitMs: number,
  work: (limited: Queryable) => Promise<T>,
): Promise<T> {
  const startedAt = performance.now();
  const elapsedMs = (): number => performance.now() - startedAt;
  const tooSlow = (cause?: unknown): TooSlowError =>
    new TooSlowError(`It takes longer than ${limitMs / 1_000} s.`, { cause });
  try {
    return await work({
      async query(statement) {
        if (elapsedMs() > limitMs) throw tooSlow();
        return tx.query(statement, { timeoutMs: limitMs + MARGIN_MS });
      },
    });
  } catch (error) {
    // An operator may cancel a statement, too. Clocks of server and client may differ by a little.
    if (isCanceled(error) && elapsedMs() > 0.9 * limitMs) throw tooSlow(error);
    throw error;
  }
}

function isCanceled(error: unknown): boolean {
  const cause = error instanceof LedgerError ? error.cause : error;
  return cause instanceof Error && 'code' in cause && cause.code === QUERY_CANCELED;
}
