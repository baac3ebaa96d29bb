import { AccessDeniedError, ErrorType, isCommandError } from '@eventstore/db-client';
import { LedgerError } from '../../shared/errors.ts';

/**
 * What the client reports when a server or a network is unavailable for a moment. `unknown` is
 * among them, since a connection that breaks within a call is reported so. A refused user is among
 * them, too: a changed password can be corrected while the process runs.
 */
const TRANSIENT: ReadonlySet<string> = new Set([
  ErrorType.ACCESS_DENIED,
  ErrorType.CANCELLED,
  ErrorType.DEADLINE_EXCEEDED,
  ErrorType.NOT_LEADER,
  ErrorType.TIMEOUT,
  ErrorType.UNAVAILABLE,
  ErrorType.UNKNOWN,
]);

/** No answer came in time. The client bounds neither reads nor appends itself. */
export class NoAnswerError extends Error {
  override readonly name = 'NoAnswerError';

  constructor(timeoutMs: number) {
    super(`no answer from the event store in ${timeoutMs} ms`);
  }
}

/** The server has named a revision that it does not give to readers. */
export class NotReadableError extends Error {
  override readonly name = 'NotReadableError';

  constructor(nameOnServer: string, revision: bigint) {
    super(
      `the event store refused an append to ${nameOnServer}, which cannot be read at ${revision}`,
    );
  }
}

/** Whether the same call may succeed in a moment. What an append has done by then is unknown. */
export function isTransientFailure(error: unknown): boolean {
  if (error instanceof NoAnswerError) return true;
  if (!(error instanceof Error) || error instanceof LedgerError) return false;
  if (isCommandError(error)) return TRANSIENT.has(error.type);
  // What the connection itself throws: no node found by gossip, a name that is not resolved.
  return !isMistake(error);
}

/** Whether the server refuses the user: to ask it again at once would not help. */
export function isRefusedUser(error: unknown): error is AccessDeniedError {
  return error instanceof AccessDeniedError;
}

/** The server holds what no ledger has written. */
export class UnexpectedLogError extends Error {
  override readonly name = 'UnexpectedLogError';
}

/**
 * Whether the error comes from a defect in this code or the package, or from a changed log: waiting
 * does not help.
 */
function isMistake(error: Error): boolean {
  return (
    error instanceof UnexpectedLogError ||
    error instanceof TypeError ||
    error instanceof RangeError ||
    error instanceof SyntaxError
  );
}

/** What is thrown to callers of the log. */
export function asStoreError(error: unknown): unknown {
  if (error instanceof LedgerError || !isTransientFailure(error)) return error;
  const detail = isRefusedUser(error)
    ? 'The event store refuses the user of this service: ask the operator to check its password ' +
      'and rights.'
    : 'The event store is unavailable or too slow: try again in a moment.';
  return new LedgerError('store-unavailable', detail, { cause: error });
}
