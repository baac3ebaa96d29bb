/** PostgreSQL cannot run here. The message is one sentence that names what to do. */
export class EmbeddedServerError extends Error {
  override readonly name: string = 'EmbeddedServerError';
}

/** Two services over one data directory: the second one gets this. */
export class DataDirectoryInUse extends EmbeddedServerError {
  override readonly name = 'DataDirectoryInUse';
  /** Unknown when the holder ended while it was asked. */
  readonly holderPid: number | undefined;

  constructor(dataDir: string, holderPid: number | undefined) {
    super(
      `another process (pid ${holderPid ?? 'unknown'}) is serving this data directory: ${dataDir}`,
    );
    this.holderPid = holderPid;
  }
}

export function belongsToAnother(file: string, cause: unknown): EmbeddedServerError {
  return new EmbeddedServerError(
    `${file} belongs to another user: run as that user, or set DATA_DIR to a folder of your own`,
    { cause },
  );
}

/** The `code` of an operating system or PostgreSQL error. */
export function codeOf(error: unknown): string | undefined {
  if (typeof error !== 'object' || error === null || !('code' in error)) return undefined;
  return typeof error.code === 'string' ? error.code : undefined;
}
