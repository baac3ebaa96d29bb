import { errorMessage } from '../../shared/errors.ts';
import type { Logger } from '../../shared/logger.ts';
import { sleep } from '../../shared/sleep.ts';
import type { MessageBatch, MessageSource, SourceStatus } from '../source.ts';
import { KafkaSession, type KafkaTopic } from './session.ts';

const RESTART_AFTER_MS = 1_000;
/** A session that lasts for so long does not fail as the one before it did. */
const KNOWN_AFTER_MS = 5_000;

/** The messages of a topic, as a member of its consumer group; a session that fails is replaced. */
export class KafkaSource implements MessageSource {
  readonly #topic: KafkaTopic;
  readonly #logger: Logger;
  #session: KafkaSession | undefined;
  #failure: string | undefined;
  #failedAtMs = 0;

  constructor(topic: KafkaTopic, logger: Logger) {
    this.#topic = topic;
    this.#logger = logger;
  }

  get status(): SourceStatus {
    const status = this.#session?.status ?? { status: 'connecting' };
    if (this.#failure === undefined) return status;
    // A batch that cannot be read ends each session soon after it has begun: until it is known that
    // this session is better, the failure of the last one says more.
    const isKnown = performance.now() - this.#failedAtMs > KNOWN_AFTER_MS;
    return status.status === 'connecting' || !isKnown
      ? { status: 'failing', reason: this.#failure }
      : status;
  }

  async *messages(stopping: AbortSignal): AsyncIterable<MessageBatch> {
    while (!stopping.aborted) {
      this.#session = new KafkaSession(this.#topic, this.#logger);
      try {
        yield* this.#session.batches(stopping);
        this.#failure = undefined;
      } catch (error) {
        const reason = errorMessage(error);
        const level = reason === this.#failure ? 'debug' : 'warn';
        this.#logger[level]({ err: error }, 'the connection to Kafka ended, and is made again');
        this.#failure = reason;
        this.#failedAtMs = performance.now();
      }
      this.#session = undefined;
      await sleep(RESTART_AFTER_MS, stopping);
    }
  }
}
