import { errorMessage } from '../shared/errors.ts';
import { sleep } from '../shared/sleep.ts';
import type { MessageSource, SourceStatus } from './source.ts';
import { UsageIntake, type UsageCounts, type UsageIntakeParts } from './usage-intake.ts';

export interface UsageIngestParts extends UsageIntakeParts {
  readonly messages: MessageSource;
  /** Makes what there must be before anything is recorded. */
  readonly prepare: () => Promise<void>;
}

export type UsageIngestStatus = { readonly status: 'stopped' } | SourceStatus;

const PREPARE_AGAIN_AFTER_MS = 1_000;

/** Takes usage from a source of messages into the log, for as long as it runs. */
export class UsageIngest {
  readonly #parts: UsageIngestParts;
  readonly #intake: UsageIntake;
  readonly #stopping = new AbortController();
  /** Why nothing is taken yet. */
  #failure: string | undefined;
  #done: Promise<void> | undefined;

  constructor(parts: UsageIngestParts) {
    this.#parts = parts;
    this.#intake = new UsageIntake(parts);
  }

  get counts(): UsageCounts {
    return this.#intake.counts;
  }

  get status(): UsageIngestStatus {
    if (this.#done === undefined) return { status: 'stopped' };
    if (this.#failure !== undefined) return { status: 'failing', reason: this.#failure };
    const { status } = this.#parts.messages;
    const { delay } = this.#intake;
    return status.status === 'consuming' && delay !== undefined
      ? { status: 'failing', reason: delay }
      : status;
  }

  /** A fault that needs attention although ingest continues. */
  get warning(): string | undefined {
    return this.#intake.warning;
  }

  start(): void {
    this.#done = this.#run();
  }

  /** Finishes the batches in work. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#done;
    this.#done = undefined;
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping;
    await this.#prepare(signal);
    for await (const batch of this.#parts.messages.messages(signal)) {
      // The batch is not awaited, since other partitions do not wait for this one.
      void this.#intake.take(batch);
    }
  }

  async #prepare(signal: AbortSignal): Promise<void> {
    const { prepare, logger } = this.#parts;
    while (!signal.aborted) {
      try {
        await prepare();
        this.#failure = undefined;
        return;
      } catch (error) {
        const level = this.#failure === undefined ? 'warn' : 'debug';
        logger[level]({ err: error }, 'ingest cannot begin, and tries again');
        this.#failure = errorMessage(error);
      }
      await sleep(PREPARE_AGAIN_AFTER_MS, signal);
    }
  }
}
