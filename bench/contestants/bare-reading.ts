/** How the bare client can read a log from its beginning; which is faster depends on the server. */
export const READING_FORMS = ['readAll', 'subscribeToAll'] as const;

export type ReadingForm = (typeof READING_FORMS)[number];

/** What a child process that only reads is told. */
export interface BareReading {
  readonly connectionString: string;
  readonly form: ReadingForm;
  /** What the names of the streams begin with whose events count. */
  readonly prefix: string;
  readonly events: number;
}
