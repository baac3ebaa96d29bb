import { Partitioners, type Producer } from 'kafkajs';
import type { Logger } from '../../shared/logger.ts';
import { kafkaClient } from './client.ts';
import { ensureTopics } from './topics.ts';

/** Sends records to the topic of usage, as meters do. */
export class UsageProducer {
  readonly #producer: Producer;
  readonly #topic: string;

  private constructor(producer: Producer, topic: string) {
    this.#producer = producer;
    this.#topic = topic;
  }

  /** Connected, and the topic is there. */
  static async open(
    brokers: readonly string[],
    topic: string,
    logger: Logger,
  ): Promise<UsageProducer> {
    const kafka = kafkaClient(brokers, logger);
    await ensureTopics(kafka, topic);
    // Without it, what is sent again after a lost answer would be other usage: records have no ids here.
    const producer = kafka.producer({
      idempotent: true,
      maxInFlightRequests: 1,
      createPartitioner: Partitioners.DefaultPartitioner,
      allowAutoTopicCreation: false,
    });
    await producer.connect();
    return new UsageProducer(producer, topic);
  }

  /** Settles when the brokers have them durably. */
  async send(bodies: readonly string[]): Promise<void> {
    const messages = bodies.map((value) => ({ value }));
    await this.#producer.send({ topic: this.#topic, acks: -1, messages });
  }

  close(): Promise<void> {
    return this.#producer.disconnect();
  }
}
