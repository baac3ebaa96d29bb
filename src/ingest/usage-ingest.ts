import type { UsageCounts } from './usage-batch.ts';
import { Refusals } from './refusals.ts';
import { UsageSession, type UsageSessionParts, type UsageSessionStatus } from './kafka/session.ts';
import { sleep } from '../shared/sleep.ts';
import { errorMessage } from '../shared/errors.ts';

export interface UsageIngestParts extends UsageSessionParts {
  /** What there must be before anything is recorded. */
  readonly prepare: () => Promise<void>;
}

export type UsageIngestStatus = { readonly status: 'stopped' } | UsageSessionStatus;

const RESTART_AFTER_MS = 1_000;
/** A session that goes on for so long is no longer the last one's failure. */
const KNOWN_AFTER_MS = 5_000;

/**
 * Takes usage from a topic into the log, for as long as it runs: whatever ends a session with the brokers, another
 * one is begun.
 */
export class UsageIngest {
  readonly counts: UsageCounts = {
    recorded: 0,
    duplicates: 0,
    deadLetters: { 'malformed-json': 0, 'validation-failed': 0, 'id-reused': 0 },
  };
  readonly #parts: UsageIngestParts;
  readonly #refusals = new Refusals();
  readonly #stopping = new AbortController();
  #session: UsageSession | undefined;
  #failure: string | undefined;
  #failedAtMs = 0;
  #done: Promise<void> | undefined;

  constructor(parts: UsageIngestParts) {
    this.#parts = parts;
  }

  get status(): UsageIngestStatus {
    if (this.#done === undefined) return { status: 'stopped' };
    const status = this.#session?.status ?? { status: 'connecting' };
    if (this.#failure === undefined) return status;
    // Until it is known that this attempt goes better, the last one says more: a batch that cannot be read ends
    // each session soon after it has begun.
    const isKnown = performance.now() - this.#failedAtMs > KNOWN_AFTER_MS;
    return status.status === 'connecting' || !isKnown
      ? { status: 'failing', reason: this.#failure }
      : status;
  }

  /** A fault that needs attention although ingest continues. */
  get warning(): string | undefined {
    return this.#refusals.warning;
  }

  start(): void {
    this.#done = this.#run();
  }

  /** What is being recorded is recorded and committed. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#done;
    this.#done = undefined;
  }

  async #run(): Promise<void> {
    const { prepare, logger } = this.#parts;
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      try {
        await prepare();
        this.#session = new UsageSession(this.#parts, {
          counts: this.counts,
          refusals: this.#refusals,
        });
        await this.#session.run(signal);
        this.#failure = undefined;
      } catch (error) {
        const reason = errorMessage(error);
        const isNews = reason !== this.#failure;
        logger[isNews ? 'warn' : 'debug']({ err: error }, 'ingest waits, and then begins again');
        this.#failure = reason;
        this.#failedAtMs = performance.now();
      }
      this.#session = undefined;
      await sleep(RESTART_AFTER_MS, signal);
    }
  }
}
