import { pino, type Logger } from 'pino';

export type { Logger };

/**
 * Logs go to stderr: stdout belongs to the command's own answer. Headers that carry keys are
 * never passed in; the redaction is the second lock on the same door.
 */
export function createLogger(level: string): Logger {
  return pino(
    {
      level,
      redact: {
        paths: [
          'key',
          '*.key',
          'headers.authorization',
          '*.headers.authorization',
          'secret',
          '*.secret',
        ],
        censor: '[redacted]',
      },
    },
    pino.destination({ dest: 2, sync: false }),
  );
}
