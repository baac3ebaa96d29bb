import {
  StoppedError,
  type MessageBatch,
  type MessageSource,
  type RejectedMessage,
  type SourceMessage,
  type SourceStatus,
} from '../../src/ingest/source.ts';

const MAX_AT_ONCE = 1_000;

/** A topic in memory, whose consumer group has one member at a time. */
export class InMemoryTopic {
  readonly name: string;
  readonly partitions: SourceMessage[][];
  readonly committed = new Map<number, string>();
  readonly deadLetters: RejectedMessage[] = [];
  member: InMemorySource | undefined;
  readonly #listeners = new Set<() => void>();

  constructor(name: string, partitions: number) {
    this.name = name;
    this.partitions = Array.from({ length: partitions }, () => []);
  }

  send(messages: readonly Omit<SourceMessage, 'offset'>[]): void {
    for (const [index, message] of messages.entries()) {
      const partition = this.partitions[index % this.partitions.length] ?? [];
      partition.push({ ...message, offset: String(partition.length) });
    }
    this.changed();
  }

  changed(): void {
    for (const listener of this.#listeners) listener();
  }

  /** Resolves when something has changed; at the latest when the signal is aborted. */
  async change(signal?: AbortSignal): Promise<void> {
    await new Promise<void>((resolve) => {
      const listener = (): void => {
        this.#listeners.delete(listener);
        signal?.removeEventListener('abort', listener);
        resolve();
      };
      this.#listeners.add(listener);
      signal?.addEventListener('abort', listener);
    });
  }
}

export class InMemorySource implements MessageSource {
  readonly #topic: InMemoryTopic;
  readonly #inWork = new Set<number>();

  constructor(topic: InMemoryTopic) {
    this.#topic = topic;
  }

  get status(): SourceStatus {
    return this.#topic.member === this
      ? { status: 'consuming', partitions: [...this.#topic.partitions.keys()] }
      : { status: 'connecting' };
  }

  async *messages(stopping: AbortSignal): AsyncIterable<MessageBatch> {
    const topic = this.#topic;
    while (topic.member !== undefined && !stopping.aborted) await topic.change(stopping);
    if (stopping.aborted) return;
    topic.member = this;
    try {
      while (!stopping.aborted) {
        const batches = this.#next(stopping);
        if (batches.length === 0) await topic.change(stopping);
        else yield* batches;
      }
      while (this.#inWork.size > 0) await topic.change();
    } finally {
      topic.member = undefined;
      topic.changed();
    }
  }

  #next(signal: AbortSignal): MessageBatch[] {
    return this.#topic.partitions.flatMap((all, partition) => {
      const from = Number(this.#topic.committed.get(partition) ?? 0);
      const messages = all.slice(from, from + MAX_AT_ONCE);
      if (messages.length === 0 || this.#inWork.has(partition)) return [];
      return [this.#batch(partition, messages, signal)];
    });
  }

  #batch(partition: number, messages: readonly SourceMessage[], signal: AbortSignal): MessageBatch {
    const topic = this.#topic;
    this.#inWork.add(partition);
    const end = (): void => {
      this.#inWork.delete(partition);
      topic.changed();
    };
    return {
      topic: topic.name,
      partition,
      messages,
      signal,
      leave: end,
      settle: (rejected) => {
        if (topic.member !== this) return Promise.reject(new StoppedError());
        topic.deadLetters.push(...rejected);
        topic.committed.set(partition, String(Number(messages.at(-1)?.offset) + 1));
        end();
        return Promise.resolve();
      },
    };
  }
}
