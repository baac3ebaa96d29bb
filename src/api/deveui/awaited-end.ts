import type { ReadOptions } from '../../projections/engine/reading/read-models.ts';
import type { DevEuiQueries } from '../../projections/deveui/queries.ts';
import { sleep } from '../../shared/sleep.ts';

const POLL_INTERVAL_MS = 100;

/**
 * Waits until nothing more is asked for a batch, the time is over, or the client has left. The read
 * model is polled, because another process may work on the batch, and no request reports its
 * progress.
 */
export async function awaitEnd(
  queries: DevEuiQueries,
  batch: { readonly projectId: string; readonly batchId: string },
  waitMs: number,
  {
    draining,
    isClosed,
    ...options
  }: ReadOptions & { readonly draining: AbortSignal; readonly isClosed: () => boolean },
): Promise<void> {
  const endsAtMs = performance.now() + waitMs;
  for (;;) {
    const { value } = await queries.summary(batch.projectId, batch.batchId, options);
    const leftMs = endsAtMs - performance.now();
    if (value?.status !== 'Processing' || leftMs <= 0) return;
    if (draining.aborted || isClosed()) return;
    await sleep(Math.min(POLL_INTERVAL_MS, leftMs), draining);
  }
}
