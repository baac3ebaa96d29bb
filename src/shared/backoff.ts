/** How long something that failed waits before it is tried again. */
export interface Backoff {
  /** After the first failure; twice as long after each further one. */
  readonly minMs: number;
  readonly maxMs: number;
}

/** The other side may ask for a longer wait; beyond this it is tried again all the same. */
const MAX_RETRY_AFTER_MS = 60_000;

/**
 * Half of the wait is random ("equal jitter"), so that what failed together is not tried again
 * together, and yet the other side has some rest.
 */
export function retryDelayMs(
  { minMs, maxMs }: Backoff,
  failures: number,
  retryAfterMs = 0,
  random: () => number = Math.random,
): number {
  const ceilingMs = Math.min(maxMs, minMs * 2 ** Math.max(0, failures - 1));
  const backoffMs = (ceilingMs / 2) * (1 + random());
  return Math.max(backoffMs, Math.min(retryAfterMs, MAX_RETRY_AFTER_MS));
}
