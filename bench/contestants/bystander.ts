import { runChild } from '../child.ts';

export interface Watch {
  readonly url: string;
  /** The key of a member of a project that nobody attacks. */
  readonly key: string;
  readonly durationMs: number;
}

export interface Seen {
  /** How long each `GET /health/live` took, asked every 50 ms. */
  readonly healthMs: readonly number[];
  /** How long each request of the honest client took: a patch, then a read of the same sensor. */
  readonly clientMs: readonly number[];
  /** The resident memory of the service. */
  readonly peakMemoryBytes: number;
}

/** An honest client and a health check, from a process of their own. */
export function watch(options: Watch): Promise<Seen> {
  return runChild(new URL('bystander-child.ts', import.meta.url), {
    args: [JSON.stringify(options)],
  });
}
