import { LedgerError } from '../shared/errors.ts';
import type { StreamName } from './stream-name.ts';

/**
 * The log no longer holds what this process has read of it: an older copy was restored, or a node
 * took over that had not received everything. What was folded from it is of a past that the log
 * does not know, so the process has to start again.
 */
export class LogWentBackError extends LedgerError {
  constructor(stream: StreamName, known: bigint, found: string) {
    super(
      'store-unavailable',
      `The log went back: this process has read ${stream} up to revision ${known}, and ${found}. ` +
        'The process stops, and has to be started again.',
    );
  }
}

/** An event that this process has read is not there: the log went back, or a node lags behind. */
export class EventMissingError extends LedgerError {
  constructor(stream: StreamName, revision: bigint) {
    super(
      'store-unavailable',
      `The log does not give revision ${revision} of ${stream}, which was read before: try ` +
        'again in a moment.',
    );
  }
}

/**
 * Gives the revision that an append was refused for, which is beyond the expected one.
 * @throws LogWentBackError when it is not
 */
export function revisionBeyond(
  stream: StreamName,
  expected: bigint | 'no-stream',
  actual: bigint | 'no-stream',
): bigint {
  if (actual !== 'no-stream' && (expected === 'no-stream' || actual > expected)) return actual;
  if (expected === 'no-stream' || expected === actual) {
    throw new Error(`the log refused an append to ${stream} at its own revision`);
  }
  const found = actual === 'no-stream' ? 'there is no such stream' : `it ends at ${actual}`;
  throw new LogWentBackError(stream, expected, found);
}
