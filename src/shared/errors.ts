/**
 * The one table of errors. A code is stable: clients and dashboards match on it. `title` names the
 * kind of problem; the `detail` of each occurrence says in one sentence what to do about it.
 * HTTP is unknown here: `api/problem.ts` gives each code its status.
 */
export const errorTable = {
  'malformed-json': 'The body is not valid JSON',
  'malformed-csv': 'The body is not valid CSV',
  'validation-failed': 'The request breaks a rule',
  'bad-request': 'The request is not valid',
  'request-timeout': 'The request took too long to arrive',
  'headers-too-large': 'The headers are too large',
  'range-not-satisfiable': 'The range cannot be given',
  'unsupported-media-type': 'The content type is not supported',
  'body-too-large': 'The body is too large',
  'state-too-large': 'The state of the sensor would become too large',
  unauthenticated: 'A valid key is needed',
  forbidden: 'The key does not allow this',
  'not-found': 'There is no such thing',
  'method-not-allowed': 'The method is not supported here',
  'project-exists': 'A project with this id exists',
  'device-exists': 'A device with this id exists',
  'device-retired': 'The device is retired',
  'device-transferred': 'The device goes to another project',
  'link-taken': 'Another device has this DevEUI, SIM card or sensor',
  'last-owner': 'The last owner of a project, and its last key, cannot be removed',
  'precondition-failed': 'The precondition does not hold',
  'idempotency-key-reused': 'The idempotency key belongs to another request',
  'position-of-another-log': 'The position belongs to another log',
  'projection-busy': 'A rebuild or verification of the projection is running',
  'projection-not-stopped': 'The projection is not stopped',
  'replay-ended': 'The rebuild or verification has ended',
  'provider-not-configured': 'No LoRaWAN provider is configured',
  'read-model-behind': 'The read model has not reached the position yet',
  'read-too-slow': 'The read took too long',
  'newer-event-version': 'A newer release has written what this one cannot read',
  'store-unavailable': 'The store is away',
  'too-many-requests': 'Too many requests',
  'too-many-batches': 'Too many batches are open',
  overloaded: 'Too much is waiting',
  'shutting-down': 'The process is shutting down',
  'internal-error': 'Something went wrong on our side',
} as const;

export type ErrorCode = keyof typeof errorTable;

export interface FieldError {
  /** Where in the request: `data.temperature`, `query.limit`. */
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

/** Whether the same may succeed later: the store is away, or has too much to do. */
export function mayPass(error: unknown): boolean {
  return (
    error instanceof LedgerError &&
    (error.code === 'store-unavailable' || error.code === 'overloaded')
  );
}
