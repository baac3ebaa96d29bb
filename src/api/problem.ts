import { TooManyRequests } from './rate-limits.ts';
import { errorTable, LedgerError, type ErrorCode, type FieldError } from '../shared/errors.ts';

/** The HTTP status of each code of the table. Nothing else in the service knows HTTP. */
export const statusOf: Readonly<Record<ErrorCode, number>> = {
  'malformed-json': 400,
  'malformed-csv': 400,
  'validation-failed': 422,
  'bad-request': 400,
  'request-timeout': 408,
  'headers-too-large': 431,
  'range-not-satisfiable': 416,
  'unsupported-media-type': 415,
  'body-too-large': 413,
  'state-too-large': 422,
  unauthenticated: 401,
  forbidden: 403,
  'not-found': 404,
  'method-not-allowed': 405,
  'project-exists': 409,
  'device-exists': 409,
  'device-retired': 409,
  'device-transferred': 409,
  'link-taken': 409,
  'last-owner': 409,
  'too-many-webhooks': 409,
  'webhook-ended': 409,
  'projection-busy': 409,
  'projection-not-stopped': 409,
  'replay-ended': 409,
  'precondition-failed': 412,
  'idempotency-key-reused': 422,
  'position-of-another-log': 422,
  'provider-not-configured': 503,
  'read-model-behind': 503,
  'read-too-slow': 503,
  'newer-event-version': 503,
  'store-unavailable': 503,
  'too-many-requests': 429,
  'too-many-batches': 429,
  overloaded: 503,
  'shutting-down': 503,
  'internal-error': 500,
};

/** Whether a repetition of the request may be answered otherwise: then the refusal is not kept. */
export function isTransientCode({ code }: LedgerError): boolean {
  return statusOf[code] >= 500 || statusOf[code] === 429;
}

/** Seconds after which a transient error is probably over. */
const RETRY_AFTER_SECONDS = 1;

/** `application/problem+json` (RFC 9457). */
export interface Problem {
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly detail: string;
  readonly code: ErrorCode;
  readonly instance: string;
  readonly correlation_id: string;
  readonly errors?: readonly FieldError[];
  /** What stands in the way; `Location` says where it is. */
  readonly conflicting?: { readonly kind: string; readonly id: string };
}

/** Where a code is explained: resolves on the service itself. */
export function problemType(code: ErrorCode): string {
  return `/problems/${code}`;
}

/**
 * Every error becomes one of the table: what is not one of it is ours, and says nothing of itself.
 */
export function asLedgerError(error: unknown): LedgerError {
  if (error instanceof LedgerError) return error;
  return new LedgerError(
    'internal-error',
    'An unexpected error occurred: report the correlation_id to the operator.',
    { cause: error },
  );
}

export function problemOf(error: LedgerError, instance: string, correlationId: string): Problem {
  const { code, conflicting } = error;
  const errors = fieldErrorsOf(error);
  return {
    type: problemType(code),
    title: errorTable[code],
    status: statusOf[code],
    detail: error.message,
    code,
    instance,
    correlation_id: correlationId,
    ...(errors !== undefined && { errors }),
    ...(conflicting !== undefined && { conflicting }),
  };
}

/** Where the request is wrong; undefined for an error that is not about its content. */
export function fieldErrorsOf({
  code,
  fields,
  message,
}: LedgerError): readonly FieldError[] | undefined {
  if (code !== 'validation-failed' && code !== 'bad-request') return undefined;
  return fields ?? [{ path: 'request', message }];
}

export function problemHeaders(error: LedgerError): Record<string, string> {
  const status = statusOf[error.code];
  return {
    'Content-Type': 'application/problem+json',
    ...((status === 503 || status === 429) && { 'Retry-After': String(RETRY_AFTER_SECONDS) }),
    ...(error instanceof TooManyRequests && error.headers),
    ...(error.conflicting !== undefined && { Location: locationOf(error.conflicting) }),
    ...(status === 401 && { 'WWW-Authenticate': 'Bearer realm="fleetledger"' }),
  };
}

function locationOf({ kind, id }: { readonly kind: string; readonly id: string }): string {
  return kind === 'device'
    ? `/api/v1/devices/${encodeURIComponent(id)}`
    : `/api/v1/admin/${kind}s/${id}`;
}

/** The same words for what is missing and for what is another project's. */
export function notFound(): LedgerError {
  return new LedgerError('not-found', 'Nothing with this id was found: check the id.');
}
