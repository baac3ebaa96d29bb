/** What a child process of ours works off, by its first argument. */
export interface Backlog {
  readonly databaseUrl: string;
  /** Undefined: the log is in the database, too. */
  readonly eventStoreUrl?: string;
  readonly projection: string;
  /** How many the projection handles. */
  readonly events: number;
}

/** What a child process that works off a backlog prints. */
export interface BacklogResult {
  readonly events: number;
  readonly elapsedMs: number;
  /** When the work began, and the highest that was sampled during it. */
  readonly rssBeforeBytes: number;
  readonly peakRssBytes: number;
  /** Events that were not applied, where that was counted. */
  readonly lost?: number;
}

const SAMPLE_EVERY_MS = 10;

/** Times the work and samples how much memory the process holds meanwhile. */
export async function measureBacklog(work: () => Promise<number>): Promise<BacklogResult> {
  const rssBeforeBytes = process.memoryUsage.rss();
  let peakRssBytes = rssBeforeBytes;
  const sample = (): void => {
    peakRssBytes = Math.max(peakRssBytes, process.memoryUsage.rss());
  };
  const sampling = setInterval(sample, SAMPLE_EVERY_MS);
  const startedAtMs = performance.now();
  const events = await work();
  const elapsedMs = performance.now() - startedAtMs;
  clearInterval(sampling);
  sample();
  return { events, elapsedMs, rssBeforeBytes, peakRssBytes };
}
