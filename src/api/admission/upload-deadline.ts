import { LedgerError } from '../../shared/errors.ts';
import { UPLOAD_GRACE_MS, UPLOAD_MIN_BYTES_PER_SECOND } from './limits.ts';

/**
 * Calls `fail` when a body comes too slowly: after the first 30 s, less than 16 KiB/s on average.
 * Gives what stops the watch.
 */
export function watchUpload(
  receivedBytes: () => number,
  fail: (error: LedgerError) => void,
): () => void {
  const startedAtMs = performance.now();
  let timer: NodeJS.Timeout;
  const check = (): void => {
    const allowedMs = UPLOAD_GRACE_MS + (receivedBytes() / UPLOAD_MIN_BYTES_PER_SECOND) * 1_000;
    const leftMs = allowedMs - (performance.now() - startedAtMs);
    if (leftMs > 0) {
      timer = setTimeout(check, leftMs);
      return;
    }
    fail(
      new LedgerError(
        'request-timeout',
        'The body did not arrive in time: send it again, in smaller parts.',
      ),
    );
  };
  timer = setTimeout(check, UPLOAD_GRACE_MS);
  return () => clearTimeout(timer);
}
