import { Partitioners, type Producer } from 'kafkajs';
import type { Logger } from '../../shared/logger.ts';
import { kafkaClient, type KafkaCluster } from './client.ts';
import { ensureTopics } from './topics.ts';

/** Sends records to the topic of usage, as meters do. */
export class UsageProducer {
  readonly #producer: Producer;
  readonly #topic: string;

  private constructor(producer: Producer, topic: string) {
    this.#producer = producer;
    this.#topic = topic;
  }

  /** Connects, and creates the topic if it is missing. */
  static async open(cluster: KafkaCluster, topic: string, logger: Logger): Promise<UsageProducer> {
    const kafka = kafkaClient(cluster, logger);
    await ensureTopics(kafka, topic);
    // Records have no ids here, so what is sent again after a lost answer would count as other
    // usage.
    const producer = kafka.producer({
      idempotent: true,
      maxInFlightRequests: 1,
      createPartitioner: Partitioners.DefaultPartitioner,
      allowAutoTopicCreation: false,
    });
    await producer.connect();
    return new UsageProducer(producer, topic);
  }

  /** Resolves when the brokers have stored them durably. */
  async send(bodies: readonly string[]): Promise<void> {
    const messages = bodies.map((value) => ({ value }));
    await this.#producer.send({ topic: this.#topic, acks: -1, messages });
  }

  close(): Promise<void> {
    return this.#producer.disconnect();
  }
}
