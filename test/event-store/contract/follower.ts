import { EventEmitter, once } from 'node:events';
import { expect, onTestFinished } from 'vitest';
import type { Batch, EventStore, Position, RecordedEvent } from '../../../src/event-store/port.ts';
import type { TestProject } from './test-project.ts';

/** No batch may be larger, so that a slow consumer, or a log of large events, fits in memory. */
const MAX_EVENTS_PER_BATCH = 5_000;
export const MAX_BYTES_PER_BATCH = 16 * 1024 * 1024;

/** Shorter than a test may take, so that a test that waits in vain says what for. */
const PATIENCE_MS = 40_000;

export interface FollowOptions {
  readonly project: TestProject;
  readonly after: Position;
  readonly types?: readonly string[];
}

/**
 * A subscription, kept running beside the test, that checks every batch as it comes: nothing goes
 * back, nothing comes twice, nothing but what was asked for.
 */
export class Follower {
  readonly batches: Batch[] = [];
  /** Those of the project. */
  readonly events: RecordedEvent[] = [];
  readonly after: Position;
  readonly types: readonly string[] | undefined;
  readonly #project: TestProject;
  readonly #abort = new AbortController();
  readonly #steps = new EventEmitter();
  #over = false;
  readonly #ended: Promise<void>;

  constructor(store: EventStore, { project, after, types }: FollowOptions) {
    this.#project = project;
    this.after = after;
    this.types = types;
    this.#ended = this.#run(store);
    // Whoever waits learns of the error; before that it must not end the process.
    this.#ended.catch(() => undefined);
    onTestFinished(() => this.stop());
  }

  /** The checkpoint: everything up to here was received. */
  get position(): Position {
    return this.batches.at(-1)?.position ?? this.after;
  }

  async reaches(position: Position): Promise<void> {
    const patience = AbortSignal.timeout(PATIENCE_MS);
    while (this.position < position) {
      if (this.#over) {
        await this.#ended;
        throw new Error(`a subscription was stopped at ${this.position}, before ${position}`);
      }
      await once(this.#steps, 'step', { signal: patience }).catch(() => {
        const { length } = this.events;
        throw new Error(
          `a subscription stands at ${this.position}, before ${position}, with ${length} events`,
        );
      });
    }
  }

  /** Throws what ended the subscription, if something did before this. */
  async stop(): Promise<void> {
    this.#abort.abort();
    await this.#ended;
  }

  async #run(store: EventStore): Promise<void> {
    const subscription = store.subscribe({
      after: this.after,
      signal: this.#abort.signal,
      ...(this.types && { types: this.types }),
    });
    try {
      for await (const batch of subscription) {
        checkBatch(batch, this.position, this.types);
        this.batches.push(batch);
        this.events.push(...this.#project.own([batch]));
        this.#steps.emit('step');
      }
    } finally {
      this.#over = true;
      this.#steps.emit('step');
    }
    expect(this.#abort.signal.aborted, 'a subscription ended unasked').toBe(true);
  }
}

export function checkBatch(batch: Batch, after: Position, types?: readonly string[]): void {
  let last = after;
  for (const { position, type } of batch.events) {
    if (position <= last) throw new Error(`event at ${position} was given after ${last}`);
    if (types && !types.includes(type))
      throw new Error(`${type} was given, asked for ${types.join(', ')}`);
    last = position;
  }
  if (batch.position < last) throw new Error(`checkpoint ${batch.position} lies before ${last}`);
  expect(batch.events.length).toBeLessThanOrEqual(MAX_EVENTS_PER_BATCH);
}

/** Checks the batches of a reading as they come, and gives them all. */
export async function collectBatches(
  source: AsyncIterable<Batch>,
  after: Position,
  types?: readonly string[],
): Promise<Batch[]> {
  const batches: Batch[] = [];
  for await (const batch of source) {
    checkBatch(batch, batches.at(-1)?.position ?? after, types);
    batches.push(batch);
  }
  return batches;
}
