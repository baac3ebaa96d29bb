/**
 * The one table of errors. A code is stable: clients and dashboards match on it. `title` names the
 * kind of problem; the `detail` of each occurrence says in one sentence what to do about it.
 * HTTP is unknown here: `api/problem.ts` gives each code its status.
 */
export const errorTable = {
  'malformed-json': 'Malformed JSON',
  'malformed-csv': 'Malformed CSV',
  'validation-failed': 'Validation failed',
  'bad-request': 'Bad request',
  'request-timeout': 'Request timeout',
  'headers-too-large': 'Headers too large',
  'range-not-satisfiable': 'Range not satisfiable',
  'unsupported-media-type': 'Unsupported media type',
  'body-too-large': 'Body too large',
  'state-too-large': 'Sensor state too large',
  unauthenticated: 'Authentication required',
  forbidden: 'Forbidden',
  'not-found': 'Not found',
  'method-not-allowed': 'Method not allowed',
  'project-exists': 'Project already exists',
  'device-exists': 'Device already exists',
  'device-retired': 'Device retired',
  'device-transferred': 'Device transferred to another project',
  'link-taken': 'DevEUI, SIM card or sensor already linked',
  'last-owner': 'Last owner cannot be removed',
  'precondition-failed': 'Precondition failed',
  'idempotency-key-reused': 'Idempotency key reused',
  'position-of-another-log': 'Position not in this log',
  'projection-busy': 'Projection busy',
  'projection-not-stopped': 'Projection not stopped',
  'replay-ended': 'Rebuild or verification already ended',
  'provider-not-configured': 'LoRaWAN provider not configured',
  'read-model-behind': 'Read model behind',
  'read-too-slow': 'Read timed out',
  'newer-event-version': 'Event version not supported',
  'store-unavailable': 'Storage unavailable',
  'too-many-requests': 'Too many requests',
  'too-many-batches': 'Too many open batches',
  'too-many-webhooks': 'Too many webhooks',
  'webhook-ended': 'Webhook ended',
  overloaded: 'Service overloaded',
  'shutting-down': 'Service shutting down',
  'internal-error': 'Internal error',
} as const;

export type ErrorCode = keyof typeof errorTable;

export interface FieldError {
  /** The place in the request, for example `data.temperature` or `query.limit`. */
  readonly path: string;
  readonly message: string;
}

/** An error of the table, with what this occurrence of it has to say. */
export class LedgerError extends Error {
  override readonly name = 'LedgerError';
  readonly code: ErrorCode;
  readonly fields: readonly FieldError[] | undefined;
  /** What stands in the way. */
  readonly conflicting: { readonly kind: string; readonly id: string } | undefined;

  constructor(
    code: ErrorCode,
    detail: string,
    options: {
      fields?: readonly FieldError[];
      conflicting?: { readonly kind: string; readonly id: string };
      cause?: unknown;
    } = {},
  ) {
    super(detail, options.cause === undefined ? {} : { cause: options.cause });
    this.code = code;
    this.fields = options.fields;
    this.conflicting = options.conflicting;
  }
}

const TRANSIENT: ReadonlySet<ErrorCode> = new Set([
  'store-unavailable',
  'overloaded',
  'shutting-down',
]);

/**
 * Whether the same call may succeed later, here or in another process, without a change by a
 * person.
 */
export function isTransient(error: unknown): boolean {
  return error instanceof LedgerError && TRANSIENT.has(error.code);
}

/** What an error says; anything may be thrown. */
export function errorMessage(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
