/** How long a DevEUI waits before it is asked for again. */
export interface Backoff {
  /** After the first failure; twice as long after each further one. */
  readonly minMs: number;
  readonly maxMs: number;
}

/** Of what a provider asks for; beyond that it is asked again all the same. */
const MAX_RETRY_AFTER_MS = 60_000;

/**
 * Half of it is random ("equal jitter"), so that what failed together is not sent again together,
 * and yet the provider has some rest.
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
