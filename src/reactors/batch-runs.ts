import type { StreamName } from '../event-store/stream-name.ts';
import type { BatchRun } from './batch-run.ts';
import type { OpenBatch } from './open-batches.ts';

/** The batches being worked on, each by one run at a time. */
export class BatchRuns {
  readonly #begin: (batch: OpenBatch) => BatchRun;
  readonly #running = new Map<StreamName, BatchRun>();
  /** Everything that was started, until it has ended. */
  readonly #ending = new Map<StreamName, Promise<void>>();
  #isHalted = false;

  constructor(begin: (batch: OpenBatch) => BatchRun) {
    this.#begin = begin;
  }

  /** Begins a run when the one before it has ended, which is halted. */
  start(batch: OpenBatch, onEnded: () => void): void {
    const { stream } = batch;
    this.halt(stream);
    const before = this.#ending.get(stream) ?? Promise.resolve();
    const ended = before.then(async () => {
      if (this.#isHalted) return;
      const run = this.#begin(batch);
      this.#running.set(stream, run);
      await run.done;
      if (this.#running.get(stream) === run) this.#running.delete(stream);
      // Halted with all others, it may have left something to be done.
      if (!this.#isHalted && this.#ending.get(stream) === ended) onEnded();
    });
    this.#ending.set(stream, ended);
    void ended.finally(() => {
      if (this.#ending.get(stream) === ended) this.#ending.delete(stream);
    });
  }

  halt(stream: StreamName): void {
    this.#running.get(stream)?.halt();
  }

  haltAll(): void {
    this.#isHalted = true;
    for (const run of this.#running.values()) run.halt();
  }

  async ended(): Promise<void> {
    this.haltAll();
    await Promise.all(this.#ending.values());
  }
}
